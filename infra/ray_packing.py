"""How what a shard is called with travels to another machine: what it names of the stage's inputs, it finds there as well.

A path below an input stands for what the store has at that place, and is opened on the machine that unpacks it: a file by
itself, an artifact when its path is asked for. What names any other place of this machine stays here.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ray import cloudpickle

from pipeline.artifact import Artifact
from pipeline.errors import StoreError
from pipeline.manifest import Manifest
from pipeline.object_files import ObjectFiles
from pipeline.store import Store, place_of

_pickle: Any = cloudpickle
ROOT = Path("/")
"""Also a mark in texts, and the same on every machine."""
store_at = cache(Store)
"""The store at a URL, opened once in a process."""


class Stays(Exception):
    """What was to be sent names a place that only this machine has."""


class _Packer(_pickle.CloudPickler):  # type: ignore[misc]
    """Pickles all but the paths below inputs, for which it puts their places in the store."""

    def __init__(self, file: io.BytesIO, store: Store, inputs: Sequence[Manifest]) -> None:
        super().__init__(file)
        self._root, self._inputs = store.local, [f"{place_of(made)}/data" for made in inputs]

    def persistent_id(self, thing: Any) -> Any:
        """The place, with what stands there; None for what is pickled as usual. Raises Stays."""
        if isinstance(thing, Artifact) and not thing.promised:
            return type(thing), self._place(thing.path)
        if not isinstance(thing, str | PurePath) or not os.path.isabs(thing) or "\0" in str(thing):
            return None
        path = Path(thing)
        if path.is_relative_to(self._root) or (path != ROOT and os.path.lexists(path)):
            return type(thing), self._place(path)
        return None

    def _place(self, path: Path) -> str:
        for place in self._inputs:
            if path.is_relative_to(self._root / place):
                return path.relative_to(self._root).as_posix()
        raise Stays(str(path))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, store: Store) -> None:
        super().__init__(file)
        self._store = store

    def persistent_load(self, pid: Any) -> Any:
        kind, place = pid
        if issubclass(kind, Artifact):
            return kind.later(partial(_opened, self._store, place))
        return kind(_opened(self._store, place))


def packed(what: Any, store: Store, inputs: Sequence[Manifest]) -> bytes:
    """What `unpacked` makes the same of on another machine. Raises Stays where it would not be the same there."""
    file = io.BytesIO()
    _Packer(file, store, inputs).dump(what)
    return file.getvalue()


def unpacked(data: bytes, store: Store) -> Any:
    """What was packed, with its files on this machine."""
    return _Unpacker(io.BytesIO(data), store).load()


@cache
def _manifest(store: Store, attempt: str) -> Manifest:
    made = store.manifest(attempt)
    if made is None:
        raise StoreError(f"{store.url}/{attempt} has gone", mend="run the same command again")
    return made


def _opened(store: Store, place: str) -> Path:
    """The verified copy on this machine of what lies at `place` (``stage/key/attempt/data/…``): no more than that is fetched."""
    parts = PurePosixPath(place).parts
    made, name = _manifest(store, "/".join(parts[:3])), "/".join(parts[4:])
    if not name:
        return store.data(made)
    files = {one: record for one, record in made.files.items() if one == name or one.startswith(f"{name}/")}
    assert isinstance(store.files, ObjectFiles)
    return store.files.some("/".join(parts[:4]), files) / name
