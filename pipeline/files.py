"""The few verbs that a store needs of a file system, twice: a plain directory, and any fsspec file system.

Records are created once, whole, and never overwritten. `local` is where scratch, logs and databases of this machine lie.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipeline import digest, verified
from pipeline.cache import cache_folder
from pipeline.digest import FileRecord
from pipeline.errors import StoreError
from pipeline.store_faults import explaining
from pipeline.verified import Stamp

SERVED = ("file", "memory")
"""Schemes opened through fsspec. Object stores come with their leases and conditional writes, and are refused until then."""


class Files(Protocol):
    """Files below one root. Names are relative POSIX paths. Every verb raises StoreError where the store does not do it."""

    url: str
    local: Path

    def read(self, name: str) -> bytes:
        """The bytes of `name`. Raises FileNotFoundError."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file or directory `name`."""
        ...

    def children(self, name: str) -> list[str]:
        """The names directly below the directory `name`, sorted; none where it does not exist."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write `name` in one act; False, and nothing changed, where it exists already."""
        ...

    def publish(self, folder: Path, name: str, stamps: Mapping[str, Stamp]) -> None:
        """Put all of the local directory `folder` at `name`; it may be moved. `stamps` are of files known to be sound."""
        ...

    def withdraw(self, name: str, folder: Path) -> None:
        """Undo a `publish` that was cut short: `folder` is again what it was."""
        ...

    def open(self, name: str, files: Mapping[str, FileRecord]) -> Path:
        """A local directory with what `publish` put at `name`, every file of it verified against `files`.

        Raises FileNotFoundError where there is none, and Unsound for a file that is not as recorded.
        """
        ...


class Unsound(Exception):
    """A file, named in full, is not what its manifest says: missing, altered, or not of the artifact at all."""


class LocalFiles:
    """A directory of this machine, touched without fsspec: publishing is a rename."""

    def __init__(self, root: Path) -> None:
        self.local, self.url = root, str(root)

    def read(self, name: str) -> bytes:
        with explaining(self.url, reading=True):
            return (self.local / name).read_bytes()

    def exists(self, name: str) -> bool:
        with explaining(self.url):
            return (self.local / name).exists()

    def children(self, name: str) -> list[str]:
        try:
            with explaining(self.url, reading=True):
                return sorted(entry.name for entry in os.scandir(self.local / name))
        except FileNotFoundError:
            return []

    def create(self, name: str, data: bytes) -> bool:
        with explaining(self.url):
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            try:
                with partial.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                return self._link(partial, target)
            finally:
                partial.unlink(missing_ok=True)

    def _link(self, partial: Path, target: Path) -> bool:
        try:
            os.link(partial, target)
        except FileExistsError:
            return False
        _sync_directory(target.parent)
        return True

    def publish(self, folder: Path, name: str, stamps: Mapping[str, Stamp]) -> None:
        with explaining(self.url):
            place = self.local / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, place)
            verified.remember(verified.memory_of(place), stamps)
            _sync_directory(place.parent)

    def withdraw(self, name: str, folder: Path) -> None:
        with explaining(self.url):
            if (self.local / name).exists():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(self.local / name, folder)

    def open(self, name: str, files: Mapping[str, FileRecord]) -> Path:
        path = self.local / name
        with explaining(self.url, reading=True):
            if not path.is_dir():
                raise FileNotFoundError(str(path))
            wrong = verified.faulty(path, files)
        if wrong:
            raise Unsound(f"{path / wrong[0]}")
        return path


class FsspecFiles:
    """Any fsspec file system; artifacts are uploaded, and come back into a verified cache on this machine."""

    def __init__(self, url: str, cache: Path) -> None:
        from fsspec.core import url_to_fs

        self.fs, self.base = url_to_fs(url)
        self.url, self.local = url, cache / hashlib.sha256(url.encode()).hexdigest()[:16]
        self.local.mkdir(parents=True, exist_ok=True)

    def _at(self, name: str) -> str:
        return f"{self.base}/{name}".rstrip("/")

    def read(self, name: str) -> bytes:
        data: bytes = self.fs.cat_file(self._at(name))
        return data

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self._at(name)))

    def children(self, name: str) -> list[str]:
        try:
            found = self.fs.ls(self._at(name), detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def create(self, name: str, data: bytes) -> bool:
        self.fs.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
        if self.fs.exists(self._at(name)):
            return False
        partial = f"{self._at(name)}.{uuid.uuid4().hex}.part"
        self.fs.pipe_file(partial, data)
        self.fs.mv(partial, self._at(name))
        return True

    def publish(self, folder: Path, name: str, stamps: Mapping[str, Stamp]) -> None:
        for path in digest.files_below(folder):
            target = self._at(f"{name}/{path.relative_to(folder).as_posix()}")
            self.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self.fs.put_file(str(path), target)

    def withdraw(self, name: str, folder: Path) -> None:
        pass  # publish copies: the scratch is whole, and what was uploaded is overwritten by the next publish

    def open(self, name: str, files: Mapping[str, FileRecord]) -> Path:
        place = self.local / "cache" / name
        if place.is_dir():
            return place
        if not self.fs.exists(self._at(name)):
            raise FileNotFoundError(self._at(name))
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        for relative, record in files.items():
            target = partial / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(self._at(f"{name}/{relative}"), str(target))
            if digest.of_file(target) != record:
                shutil.rmtree(partial)
                raise Unsound(f"{self._at(name)}/{relative}")
        os.replace(partial, place)
        return place


def _sync_directory(path: Path) -> None:
    """Make the names in a directory survive a crash of the machine, as the bytes of its files do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_root(url: str) -> Files:
    """The file system that `url` names; nothing is written. Raises StoreError for a scheme or place that cannot be a store."""
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in SERVED:
        raise StoreError(f"a store at {scheme}:// is not supported yet", mend="give --store a local directory")
    if separator:
        return FsspecFiles(url, cache_folder() / "stores")
    root = Path(os.path.abspath(Path(url).expanduser()))
    with explaining(str(root)):
        there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir():
        raise StoreError(
            f"the store {root} cannot be made: {there} is not a directory", mend="give another with --store"
        )
    return LocalFiles(root)


def check_writable(files: Files) -> None:
    """Raise StoreError where nothing can be written below the root of `files`."""
    with explaining(files.url):
        there = next(path for path in (files.local, *files.local.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StoreError(
            f"the store {files.url} is not writable", mend="change its permissions or give another with --store"
        )
