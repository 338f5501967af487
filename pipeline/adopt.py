"""Adopts an artifact made elsewhere: copies it into the store, checks it against its kind and publishes it with its origin.

Its content is its identity: the stage that stands for it in a dag has the content digest as its only setting, so that the
key is known here and the manifest lies where that stage will look for it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import canonical, digest
from pipeline.code import code_record
from pipeline.counted import counted
from pipeline.elsewhere import Foreign, look, pour
from pipeline.errors import SourceError, StoreError, UsageError
from pipeline.files import check_writable
from pipeline.lease import held
from pipeline.machine import Meter, environment, machine
from pipeline.manifest import Manifest, SourceRecord
from pipeline.messages import nearest
from pipeline.named import name_of
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.store_faults import explaining
from pipeline.tables import size
from pipeline.who import who
from pipeline.workspace import Workspace

KINDS = "stages.adopt"
"""Where the kinds are found by name, as the dags of dags/ are."""


@dataclass(frozen=True)
class Kind:
    """How one kind of artifact is brought in.

    `stage` stands for it in a dag, with the setting `digest`. `layout` says under which name each file that belongs to the
    artifact is kept; what it does not name is left out. `check` raises SourceError where those files, still under their own
    names, are not of the kind, and returns what a person should know of them. `count` gives the metrics ``from.SOURCE.documents``
    of the files as they are kept, where NAME, what the address is called, stands for what names no source itself.
    """

    stage: type[Stage[Any]]
    layout: Callable[[Sequence[str]], Mapping[str, str]]
    check: Callable[[Path], list[str]]
    count: Callable[[Path, str], Mapping[str, float]] = lambda folder, name: {}


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
    word: str,
    address: str,
    store: Store,
    *,
    licence: str = "",
    most: int,
    tell: Callable[[str], None] = lambda line: None,
) -> Adopted:
    """Bring in what is at `address` as the kind `word`, `most` bytes at most. The same content adds nothing twice.

    `tell` hears what takes long: that a copy begins, or that another process makes the same one.
    Raises UsageError for an unknown kind or an address of no use, SourceError for files that are not of the kind.
    """
    from pipeline.rendering import render

    kind, found, meter, warning = _kind(word), look(address), Meter(), ""
    with _told(found.address):
        layout = kind.layout([file.name for file in found.files])
        _check_size([file for file in found.files if file.name in layout], most)
    left_out = [file.name for file in found.files if file.name not in layout] + [f"{name}/" for name in found.folders]
    check_writable(store.files)
    waiting = partial(tell, "another process is adopting this; waiting for it")
    stage, code = kind.stage.stage_name(), code_record(kind.stage)
    with explaining(str(store.local)), _copying(store, stage, found.address, waiting) as copy:
        _copy([file for file in found.files if file.name in layout], copy.scratch, most, tell)
        with _told(found.address):
            notes = kind.check(copy.scratch)
        for name, kept in layout.items():
            os.replace(copy.scratch / name, copy.data / kept)
        files = copy.seal(kind.stage.makes.rendered)
        made = kind.stage(digest=digest.of_files(files))
        metrics = dict(kind.count(copy.data, _called(found.address)))
        key = canonical.key(made, {})
        with store.attempt(stage, key, code.digest, waiting) as attempt:
            known = _here(store, stage, key)
            manifest = known or Manifest(
                stage=stage, label=made.label, key=key, attempt=attempt.name, kind=made.makes.kind(), source=name_of(kind.stage),
                settings=canonical.settings(made), inputs={}, files=files, digest=digest.of_files(files), code=code,
                environment=environment(), machine=machine(), cost=meter.cost(), metrics=metrics, run="adopted",
                executor="adopt", created=time.time(), origin=_origin(found.address, licence),
                rendered=made.makes.rendered,
                sources={
                    name: SourceRecord(at=found.address, licence=licence, revision=digest.of_files(files))
                    for name in counted(metrics) or [_called(found.address)]
                },
            )  # fmt: skip
            scratch, attempt.workspace = attempt.workspace, copy
            if not known:
                store.publish(attempt, manifest)
                warning = render(store, manifest)
            shutil.rmtree(scratch.folder)
    return Adopted(manifest, bool(known), tuple(left_out), (*notes, *([warning] if warning else [])))


def _kind(word: str) -> Kind:
    known = kinds()
    if word not in known:
        guess = nearest(word, list(known))
        raise UsageError(
            f"{word!r} is no kind that can be adopted" + (f"; did you mean {guess!r}?" if guess else ""),
            mend="the kinds are: " + ", ".join(known),
        )
    return known[word]


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What is wrong with the files names the address that they came from."""
    try:
        yield
    except SourceError as fault:
        raise SourceError(f"{address}: {fault.message}", mend=fault.mend) from None


@contextmanager
def _copying(store: Store, stage: str, address: str, waiting: Callable[[], None]) -> Iterator[Workspace]:
    """An empty place on this machine for a copy, before its content and so its key is known; nothing of it is left after.

    Two copies of one address wait for each other. What a killed one left is swept by the next, or by gc.
    """
    folder = store.local / ".partial" / stage / digest.of_bytes(address.encode())[: canonical.KEY_LENGTH]
    with held(folder / "lease", waiting):
        copy = Workspace(folder / "copy")
        try:
            yield copy
        finally:
            shutil.rmtree(copy.folder, ignore_errors=True)


def _check_size(files: Sequence[Foreign], most: int) -> None:
    told = sum(file.size or 0 for file in files)
    if told > most:
        raise SourceError(f"it holds {size(told)}, more than {size(most)}", mend="raise --max-gb if it is meant")


def _copy(files: Sequence[Foreign], folder: Path, most: int, tell: Callable[[str], None]) -> None:
    room = most
    for file in files:
        tell(f"copying {file.name}" + (f", {size(file.size)}" if file.size is not None else ""))
        room -= pour(file, folder / file.name, room)


def _here(store: Store, stage: str, key: str) -> Manifest | None:
    """What was adopted before, unless its data was dropped to save space or is no longer as it was."""
    for found in store.attempts(stage, key):
        with contextlib.suppress(StoreError):
            if not store.is_dropped(found):
                store.data(found)
                return found
    return None


def _called(address: str) -> str:
    """The last part of the address, without what says how a file is read."""
    return PurePosixPath(address).name.partition(".")[0] or address


def _origin(address: str, licence: str) -> dict[str, str]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"from": address, "who": who(), "when": when} | ({"licence": licence} if licence else {})
