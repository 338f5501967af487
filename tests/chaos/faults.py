"""Named faults: from outside, functions of the product are wrapped so that kill -9 strikes at their n-th call, in the middle."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Strike = Callable[[], None]

BOTH = ("mid-write", "mid-commit", "between data and manifest", "before sweeping", "mid-checkpoint")
LOCAL = (*BOTH, "mid-manifest")
REMOTE = (*BOTH, "at lease renewal", "store unreachable")
FULL = "disk full"
TIMED = "at a time drawn"


def install(name: str, nth: int, mark: str) -> None:
    """Let the fault `name` strike this process when it passes the place for the `nth` time."""
    left = nth

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def cut_off() -> None:
        """Say that the place is reached, and go on once the store has gone: who asked kills this process then."""
        nonlocal left
        left -= 1
        if left == 0:
            Path(mark).touch()
            while not Path(f"{mark}.gone").exists():
                time.sleep(0.01)

    own: dict[str, Strike] = {"store unreachable": cut_off, TIMED: Path(mark).touch}
    _FAULTS[name](own.get(name, strike))


def _wrap(place: str, around: Callable[..., Any]) -> None:
    """Replace ``module:name`` or ``module:Class.name`` by `around(original, *arguments)`."""
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    setattr(owner, name, lambda *arguments, **options: around(original, *arguments, **options))


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _mid_write(strike: Strike) -> None:
    """Half of a file of a shard or a checkpoint is there, and no commit names it."""

    def around(record: Any, space: Any, paths: list[Path], *rest: Any, **options: Any) -> Any:
        if paths:
            kept = paths[-1].read_bytes()
            _halve(paths[-1])
            strike()
            paths[-1].write_bytes(kept)
        return record(space, paths, *rest, **options)

    _wrap("pipeline.workspace:Workspace._record", around)


def _mid_commit(strike: Strike) -> None:
    """The files are there, and half of the record that names them."""

    def around(sync: Any, path: Path) -> Any:
        if path.suffix == ".tmp":
            kept = path.read_bytes()
            _halve(path)
            strike()
            path.write_bytes(kept)
        return sync(path)

    _wrap("pipeline.workspace:_sync", around)


def _no_manifest(strike: Strike) -> None:
    """All of the data is in its place, and no manifest."""

    def around(create: Any, store: Any, name: str, record: Any) -> Any:
        if name.endswith("/manifest.json"):
            strike()
        return create(store, name, record)

    _wrap("pipeline.store:Store._create", around)


def _mid_manifest(strike: Strike) -> None:
    """The manifest is written in full beside its place, and not in it."""

    def around(link: Any, source: Any, target: Any, **options: Any) -> Any:
        if str(target).endswith("/manifest.json"):
            strike()
        return link(source, target, **options)

    _wrap("os:link", around)


def _not_swept(strike: Strike) -> None:
    """The attempt exists, and its scratch too."""

    def around(create: Any, store: Any, name: str, record: Any) -> Any:
        created = create(store, name, record)
        if name.endswith("/manifest.json"):
            strike()
        return created

    _wrap("pipeline.store:Store._create", around)


def _mid_checkpoint(strike: Strike) -> None:
    """Half of a checkpoint is there."""

    def around(save: Any, path: Path, state: Any) -> Any:
        partial = path.with_name(path.name + ".tmp")
        save(path, state)
        shutil.copy(path, partial)
        _halve(partial)
        kept = path.read_bytes()
        path.unlink()
        strike()
        partial.unlink()
        path.write_bytes(kept)

    _wrap("stages.train:save_state", around)


def _at_renewal(strike: Strike) -> None:
    """The holder of a lease is about to renew it."""
    importlib.import_module("pipeline.object_lease").PERIOD = 0.3  # type: ignore[attr-defined]

    def around(replace: Any, files: Any, name: str, data: bytes) -> Any:
        if name.endswith("/lease") and threading.current_thread().name == "lease":
            strike()
        return replace(files, name, data)

    _wrap("pipeline.object_files:ObjectFiles.replace", around)


def _cut_off(strike: Strike) -> None:
    """The store goes away in the middle of an upload."""

    def around(put: Any, files: Any, path: Path, name: str) -> Any:
        strike()
        return put(files, path, name)

    _wrap("pipeline.object_files:ObjectFiles.put", around)


def _at_work(strike: Strike) -> None:
    """A stage has begun; who asked draws a time from then on."""

    def around(emit: Any, emitter: Any, kind: str, **data: Any) -> Any:
        emit(emitter, kind, **data)
        if data.get("state") in ("started", "resumed"):
            strike()

    _wrap("pipeline.stream:Emitter.__call__", around)


def _full(strike: Strike) -> None:
    """The disk is full, and the stage is about to say so."""

    def around(no_space: Any, fault: BaseException) -> Any:
        found = no_space(fault)
        if found:
            strike()
        return found

    _wrap("pipeline.store_faults:no_space", around)


_FAULTS: dict[str, Callable[[Strike], None]] = {
    "mid-write": _mid_write,
    "mid-commit": _mid_commit,
    "between data and manifest": _no_manifest,
    "mid-manifest": _mid_manifest,
    "before sweeping": _not_swept,
    "mid-checkpoint": _mid_checkpoint,
    "at lease renewal": _at_renewal,
    "store unreachable": _cut_off,
    FULL: _full,
    TIMED: _at_work,
}
