"""The few verbs that a store needs of a file system. Records are created once, whole, and never overwritten."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from pipeline.errors import StoreError


class LocalFiles:
    """Files below a local directory. Names are relative POSIX paths."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        """The bytes of `name`. Raises FileNotFoundError."""
        return (self.root / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether there is a file or directory `name`."""
        return (self.root / name).exists()

    def children(self, name: str) -> list[str]:
        """The names directly below the directory `name`, sorted; none where it does not exist."""
        try:
            return sorted(entry.name for entry in os.scandir(self.root / name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, name: str, data: bytes) -> bool:
        """Write `name` in one atomic act; False, and nothing changed, where it exists already."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, target)
            return True
        except FileExistsError:
            return False
        finally:
            partial.unlink(missing_ok=True)


def open_root(url: str) -> LocalFiles:
    """The file system that `url` names. Raises StoreError for a scheme that is not served, or a root that cannot be made."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme not in ("file", "local"):
        raise StoreError(f"a store at {scheme}:// is not supported yet", mend="give --store a local directory")
    root = Path(rest if separator else url).expanduser()
    root = Path(os.path.abspath(root))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StoreError(f"the store {root} cannot be made: {fault.strerror}", mend="give another directory with --store") from None
    if not os.access(root, os.W_OK):
        raise StoreError(f"the store {root} is not writable", mend="change its permissions or give another with --store")
    return LocalFiles(root)
