"""A Modal Volume as fsspec sees it (``modal://VOLUME/path``), so that a store lies there as it does in any object store.

Small records go through Modal's API, which puts one only if it is absent and shows it to everybody at once. In a container
that mounts the Volume, files go through the mount: they are committed before the first record after them is written, and
the mount is reloaded where a file is asked for that it does not show yet.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from fsspec.spec import AbstractFileSystem

T = TypeVar("T")


class Place(NamedTuple):
    """A path on a Volume: the Volume's name, and what is below it without a leading slash."""

    volume: str
    path: str


class Mount:
    """The mount of one Volume in this container. What is open holds off a commit or a reload, which Modal refuses meanwhile."""

    def __init__(self, folder: Path, volume: Any) -> None:
        self.folder, self._volume = folder, volume
        self._condition, self._open, self._dirty = threading.Condition(), 0, False

    @contextmanager
    def using(self, *, writing: bool = False) -> Iterator[Path]:
        """The folder, for as long as a file in it is open."""
        with self._condition:
            self._open += 1
        try:
            yield self.folder
        finally:
            with self._condition:
                self._open -= 1
                self._dirty |= writing
                self._condition.notify_all()

    def commit(self) -> None:
        """Make what was written here durable; nothing where nothing was."""
        with self._condition:
            self._condition.wait_for(lambda: not self._open)
            if self._dirty:
                self._volume.commit()
                self._dirty = False

    def reload(self) -> None:
        """Show what others have committed."""
        with self._condition:
            self._condition.wait_for(lambda: not self._open)
            self._volume.reload()


MOUNTS: dict[str, Mount] = {}
"""Of this container, by the name of the Volume. Outside of one there are none."""


def volume(name: str) -> Any:
    """The Volume of this name; asked for at its first use, by whoever we are to Modal now."""
    import modal

    return _volume(name, modal.Client.from_env())


@lru_cache(maxsize=16)
def _volume(name: str, client: Any) -> Any:
    import modal

    return modal.Volume.from_name(name, client=client)


def _asked(work: Callable[[], T]) -> T:
    """What `work` returns; Modal's own errors become those that a file system raises, in one line."""
    import modal

    try:
        return work()
    except modal.exception.NotFoundError as fault:
        raise FileNotFoundError(str(fault)) from None
    except modal.exception.Error as fault:
        first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        kind = PermissionError if isinstance(fault, (modal.exception.AuthError,)) else ConnectionError
        raise kind(f"Modal: {first}") from None


class VolumeFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files on Modal Volumes; the first part of a path is the name of the Volume."""

    protocol = "modal"
    root_marker = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        import modal  # noqa: F401  (one that is missing is told when the store is opened)

    def _place(self, path: str) -> Place:
        name, _, rest = self._strip_protocol(path).strip("/").partition("/")
        return Place(name, rest)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What lies directly below `path`. Raises FileNotFoundError."""
        return self._listed(path, recursive=False, detail=detail)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Every file below `path`, sorted; none where there is no such directory."""
        try:
            found = [one for one in self._listed(path, recursive=True) if withdirs or one["type"] == "file"]
        except FileNotFoundError:
            found = []
        found.sort(key=lambda one: str(one["name"]))
        return {one["name"]: one for one in found} if detail else [one["name"] for one in found]

    def _listed(self, path: str, *, recursive: bool, detail: bool = True) -> list[Any]:
        place = self._place(path)
        entries = _asked(lambda: volume(place.volume).listdir(f"/{place.path}", recursive=recursive))
        found = []
        for entry in entries:
            kind = "directory" if entry.type.name == "DIRECTORY" else "file"
            name = f"{place.volume}/{entry.path.strip('/')}"
            found.append({"name": name, "size": entry.size, "type": kind})
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What is known of one file or directory. Raises FileNotFoundError."""
        place = self._place(path)
        name = f"{place.volume}/{place.path}".rstrip("/")
        found = self._listed(path, recursive=False)
        own = [one for one in found if one["name"] == name and one["type"] == "file"]
        return own[0] if own else {"name": name, "size": 0, "type": "directory"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file, as everybody sees it now. Raises FileNotFoundError."""
        place = self._place(path)
        data = _asked(lambda: b"".join(volume(place.volume).read_file(place.path)))
        return data[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a record, after all that was put before it. Raises FileExistsError for one to be created that is there."""
        place = self._place(path)
        if place.volume in MOUNTS:
            MOUNTS[place.volume].commit()

        def put() -> None:
            with volume(place.volume).batch_upload(force=mode != "create") as batch:
                batch.put_file(io.BytesIO(value), f"/{place.path}")

        _asked(put)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        """Copy a file there. In a container it is durable once the next record is written."""
        place = self._place(rpath)
        if place.volume not in MOUNTS:

            def put() -> None:
                with volume(place.volume).batch_upload(force=True) as batch:
                    batch.put_file(lpath, f"/{place.path}")

            return _asked(put)
        with MOUNTS[place.volume].using(writing=True) as folder:
            target = folder / place.path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
            try:
                shutil.copyfile(lpath, partial)
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Copy a file from there. Raises FileNotFoundError."""
        place = self._place(rpath)
        if place.volume in MOUNTS:
            return self._copied(MOUNTS[place.volume], place.path, lpath)
        with Path(lpath).open("wb") as file:
            _asked(lambda: file.writelines(volume(place.volume).read_file(place.path)))

    def _copied(self, mount: Mount, path: str, lpath: str) -> None:
        for last in (False, True):
            with contextlib.suppress(FileNotFoundError), mount.using() as folder:
                shutil.copyfile(folder / path, lpath)
                return
            if not last:
                mount.reload()
        raise FileNotFoundError(path)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove a file or directory. Raises FileNotFoundError."""
        place = self._place(path)
        _asked(lambda: volume(place.volume).remove_file(f"/{place.path}", recursive=recursive))

    def _open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:
        if mode != "rb":
            raise NotImplementedError(mode)
        file, place = tempfile.SpooledTemporaryFile(1 << 24), self._place(path)  # noqa: SIM115  (who opened it closes it)
        _asked(lambda: file.writelines(volume(place.volume).read_file(place.path)))
        file.seek(0)
        return file
