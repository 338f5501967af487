"""Adopts an artifact made elsewhere: copies it into the store, checks it against its kind and publishes it with its origin.

Its content is its identity: the stage that stands for it in a dag has the content digest as its only setting, so that the
key is known here and the manifest lies where that stage will look for it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import canonical, digest
from pipeline.code import code_record
from pipeline.elsewhere import Foreign, look, pour
from pipeline.errors import SourceError, UsageError
from pipeline.files import check_writable
from pipeline.machine import Meter, environment, machine
from pipeline.manifest import Manifest
from pipeline.messages import nearest
from pipeline.named import name_of
from pipeline.stage import Stage
from pipeline.store import Attempt, Store
from pipeline.tables import size
from pipeline.who import who

KINDS = "stages.adopt"
"""Where the kinds are found by name, as the dags of dags/ are."""


@dataclass(frozen=True)
class Kind:
    """How one kind of artifact is brought in.

    `stage` stands for it in a dag, with the setting `digest`. `layout` says under which name each file that belongs to the
    artifact is kept; what it does not name is left out. `check` raises SourceError where those files, still under their own
    names, are not of the kind, and returns what a person should know of them.
    """

    stage: type[Stage[Any]]
    layout: Callable[[Sequence[str]], Mapping[str, str]]
    check: Callable[[Path], list[str]]


@dataclass(frozen=True)
class Adopted:
    """The manifest of what was brought in, whether it was here already, what was left out, and what to know of it."""

    manifest: Manifest
    known: bool
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def kinds() -> dict[str, Kind]:
    """Every kind that can be adopted, by the word that the command line has for it."""
    found: dict[str, Kind] = importlib.import_module(KINDS).KINDS
    return found


def adopt(
    word: str, address: str, store: Store, *, licence: str = "", most: int, waiting: Callable[[], None] = lambda: None
) -> Adopted:
    """Bring in what is at `address` as the kind `word`, `most` bytes at most. The same content adds nothing twice.

    Raises UsageError for an unknown kind or an address of no use, SourceError for files that are not of the kind.
    """
    kind, found, meter = _kind(word), look(address), Meter()
    layout = kind.layout([file.name for file in found.files])
    left_out = [file.name for file in found.files if file.name not in layout] + [f"{name}/" for name in found.folders]
    check_writable(store.files)
    stage, code = kind.stage.stage_name(), code_record(kind.stage)
    with store.attempt(stage, _until_known(found.address), code.digest, waiting) as copy:
        try:
            _copy([file for file in found.files if file.name in layout], copy.workspace.scratch, most)
            notes = kind.check(copy.workspace.scratch)
            for name, kept in layout.items():
                os.replace(copy.workspace.scratch / name, copy.workspace.data / kept)
            files = copy.workspace.seal()
            made = kind.stage(digest=digest.of_files(files))
            key = canonical.key(made, {})
            with store.attempt(stage, key, code.digest, waiting) as attempt:
                known = _here(store, stage, key)
                manifest = known or Manifest(
                    stage=stage, label=made.label, key=key, attempt=attempt.name, kind=made.makes.kind(), source=name_of(kind.stage),
                    settings=canonical.settings(made), inputs={}, files=files, digest=digest.of_files(files), code=code,
                    environment=environment(), machine=machine(), cost=meter.cost(), metrics={}, run="adopted",
                    executor="adopt", created=time.time(), origin=_origin(found.address, licence),
                )  # fmt: skip
                if not known:
                    store.publish(
                        Attempt(stage, key, attempt.name, copy.workspace, resumed=False, depot=attempt.depot), manifest
                    )
                shutil.rmtree(attempt.workspace.folder)
        finally:
            shutil.rmtree(copy.workspace.folder, ignore_errors=True)
    return Adopted(manifest, bool(known), tuple(left_out), tuple(notes))


def _kind(word: str) -> Kind:
    known = kinds()
    if word not in known:
        guess = nearest(word, list(known))
        raise UsageError(
            f"{word!r} is no kind that can be adopted" + (f"; did you mean {guess!r}?" if guess else ""),
            mend="the kinds are: " + ", ".join(known),
        )
    return known[word]


def _until_known(address: str) -> str:
    """The key under which a copy is made, before its content is known: two copies of one address wait for each other."""
    return digest.of_bytes(address.encode())[: canonical.KEY_LENGTH]


def _copy(files: Sequence[Foreign], folder: Path, most: int) -> None:
    told = sum(file.size or 0 for file in files)
    if told > most:
        raise SourceError(f"it holds {size(told)}, more than {size(most)}", mend="raise --max-gb if it is meant")
    room = most
    for file in files:
        room -= pour(file, folder / file.name, room)


def _here(store: Store, stage: str, key: str) -> Manifest | None:
    """The attempt that was adopted before, unless its data was dropped to save space."""
    return next((found for found in store.attempts(stage, key) if not store.is_dropped(found)), None)


def _origin(address: str, licence: str) -> dict[str, str]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"from": address, "who": who(), "when": when} | ({"licence": licence} if licence else {})
