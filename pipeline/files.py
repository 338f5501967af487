"""The few verbs that a store needs of a file system, and a plain directory that has them; object stores stand in `object_files`.

Records are created once, whole, and never overwritten. `local` is where scratch, logs and databases of this machine lie.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from pipeline import verified
from pipeline.cache import cache_folder
from pipeline.digest import FileRecord, of_file
from pipeline.errors import StoreError
from pipeline.store_faults import Unsound, explaining
from pipeline.verified import Stamp


class Files(Protocol):
    """Files below one root. Names are relative POSIX paths. Every verb raises StoreError where the store does not do it."""

    url: str
    local: Path
    remote: bool
    """Whether what is written lies elsewhere than below `local`."""

    def read(self, name: str) -> bytes:
        """The bytes of `name`. Raises FileNotFoundError."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file or directory `name`."""
        ...

    def children(self, name: str) -> list[str]:
        """The names directly below the directory `name`, sorted; none where it does not exist."""
        ...

    def below(self, name: str) -> list[str]:
        """Every file at any depth below the directory `name`, relative to it, sorted; none where it does not exist."""
        ...

    def digest(self, name: str) -> FileRecord:
        """Size and digest of the file `name`, every byte of it read anew. Raises FileNotFoundError."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write `name` in one act; False, and nothing changed, where it exists already."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` in one act, whatever is there."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file or directory `name`, if it is there."""
        ...

    def lay(self, name: str, file: str, data: bytes) -> None:
        """Write `file` into the directory published at `name`, in one act, whatever is there. Nobody sees half of it."""
        ...

    def open(self, name: str, files: Mapping[str, FileRecord], rendered: Collection[str] = ()) -> Path:
        """A local directory with what was published at `name`, every file of it verified against `files`.

        What `rendered` names may be there or not, whatever it holds.
        Raises FileNotFoundError where there is none, and Unsound for a file that is not as recorded.
        """
        ...

    def check(self) -> None:
        """Raise StoreError where nothing can be written."""
        ...


class LocalFiles:
    """A directory of this machine, touched without fsspec: publishing is a rename."""

    remote = False

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

    def below(self, name: str) -> list[str]:
        found, start = [], len(str(self.local / name)) + 1
        with explaining(self.url):
            for folder, _, files in os.walk(self.local / name):  # asked five times a second of a run's events: no stat
                found += [f"{folder}/{file}"[start:] for file in files]
        return sorted(found)

    def digest(self, name: str) -> FileRecord:
        with explaining(self.url, reading=True):
            return of_file(self.local / name)

    def create(self, name: str, data: bytes) -> bool:
        return self._write(name, data, os.link)

    def replace(self, name: str, data: bytes) -> None:
        self._write(name, data, os.replace)

    def lay(self, name: str, file: str, data: bytes) -> None:
        self._write(f"{name}/{file}", data, os.replace, self.local / name)  # half a file within would be a stray

    def _write(
        self, name: str, data: bytes, into_place: Callable[[Path, Path], None], beside: Path | None = None
    ) -> bool:
        with explaining(self.url):
            target = self.local / name
            partial = (beside or target).with_name(f".{target.name}.{uuid.uuid4().hex}")
            partial.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                into_place(partial, target)
                _sync_directory(target.parent)
                return True
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        with explaining(self.url):
            path = self.local / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def publish(self, folder: Path, name: str, stamps: Mapping[str, Stamp]) -> None:
        """Move the directory `folder` to `name`. `stamps` are of its files, known to be sound."""
        with explaining(self.url):
            place = self.local / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, place)
            verified.remember(verified.memory_of(place), stamps)
            _sync_directory(place.parent)

    def withdraw(self, name: str, folder: Path) -> None:
        """Undo a `publish` that was cut short: `folder` is again what it was."""
        with explaining(self.url):
            if (self.local / name).exists():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(self.local / name, folder)

    def open(self, name: str, files: Mapping[str, FileRecord], rendered: Collection[str] = ()) -> Path:
        path = self.local / name
        with explaining(self.url, reading=True):
            if not path.is_dir():
                raise FileNotFoundError(str(path))
            wrong = verified.faulty(path, files, rendered)
        if wrong:
            raise Unsound(f"{path / wrong[0]}")
        return path

    def check(self) -> None:
        with explaining(self.url):
            there = next(path for path in (self.local, *self.local.parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise StoreError(
                f"the store {self.url} is not writable", mend="change its permissions or give another with --store"
            )


def _sync_directory(path: Path) -> None:
    """Make the names in a directory survive a crash of the machine, as the bytes of its files do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_root(url: str) -> Files:
    """The file system that `url` names; nothing is written. Raises StoreError for a scheme or place that cannot be a store."""
    scheme, separator, path = url.partition("://")
    if separator and scheme != "file":
        return _object_files(scheme, url)
    root = Path(os.path.abspath(Path(path if separator else url).expanduser()))
    with explaining(str(root)):
        there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir():
        raise StoreError(
            f"the store {root} cannot be made: {there} is not a directory", mend="give another with --store"
        )
    return LocalFiles(root)


def _object_files(scheme: str, url: str) -> Files:
    from pipeline.object_files import SCHEMES, ObjectFiles

    if scheme not in SCHEMES:
        raise StoreError(
            f"a store at {scheme}:// is not supported", mend="give --store a local directory, or s3://bucket/prefix"
        )
    return ObjectFiles(url, cache_folder() / "stores")


def check_writable(files: Files) -> None:
    """Raise StoreError where nothing can be written below the root of `files`."""
    files.check()
