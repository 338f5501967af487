"""What source files hold, kept in the user's cache by time, size and inode, so that none is read twice unchanged.

Everything looked at, or looked for in vain, is noted in `seen`: while that stands as it stood, so does what came of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any

from pipeline.code_cache import Cache
from pipeline.code_scan import FORM, Scan, scan
from pipeline.errors import DagError

RACY_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again within one tick of its clock: not trusted."""

Stamp = list[int]
"""Time of change in ns, size and inode of a file; empty for a path where none is."""


def stamp_of(path: str) -> Stamp:
    """The stamp of a regular file; a folder has its inode alone, and with a closing slash the time of its list too."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if stat.S_ISDIR(found.st_mode):
        return [found.st_mtime_ns, found.st_ino] if path.endswith("/") else [found.st_ino]
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def trusted(stamp: Stamp, read: int) -> bool:
    """Whether a file read at `read` (ns) and still bearing this stamp must hold the same bytes."""
    return len(stamp) < 2 or read - stamp[0] > RACY_NS


class Files:
    """Answers what files hold and which exist."""

    def __init__(self) -> None:
        self._cache = Cache(f"code-{FORM}-files.json", "files")
        self.seen: dict[str, Stamp] = {}

    def stamp(self, path: str) -> Stamp:
        """The stamp at `path`, noted as seen; the first look within one reading counts."""
        if path not in self.seen:
            self.seen[path] = stamp_of(path)
        return self.seen[path]

    def is_file(self, path: str) -> bool:
        """Whether a regular file lies there."""
        return len(self.stamp(path)) == 3

    def is_folder(self, path: str) -> bool:
        """Whether a folder lies there."""
        return len(self.stamp(path)) == 1

    def scan(self, path: str, shown: str) -> Scan:
        """What the Python file at `path` says. Raises DagError, naming it as `shown`, for a syntax error."""
        kept = self._entry(path)
        if "scan" not in kept:
            try:
                kept["scan"] = scan(_read(path))
            except SyntaxError as fault:
                where = f"{shown}:{fault.lineno}" if fault.lineno else shown
                message = f"{where} cannot be read as Python: {fault.msg}"
                raise DagError(message, mend=f"mend the syntax of {path}") from None
            self._cache.dirty = True
        found: Scan = kept["scan"]
        return found

    def digest(self, path: str) -> str:
        """The first twelve hex digits of the sha256 of the file's bytes."""
        return str(self._entry(path)["bytes"])

    def _entry(self, path: str) -> dict[str, Any]:
        files = self._cache.section("files")
        stamp, kept = self.stamp(path), files.get(path)
        if kept is not None and kept["stamp"] == stamp and trusted(stamp, kept["read"]):
            return dict_of(kept)
        fresh: dict[str, Any] = {"stamp": stamp, "read": time.time_ns(), "bytes": _digest(path)}
        if kept is not None and kept["bytes"] == fresh["bytes"]:
            if kept["stamp"] == stamp:  # from now on it is trusted, if it has rested long enough
                kept["read"] = fresh["read"]
                self._cache.dirty |= trusted(stamp, fresh["read"])
                return dict_of(kept)
            fresh |= {"scan": kept["scan"]} if "scan" in kept else {}
        files[path] = fresh
        self._cache.dirty = True
        return fresh

    def save(self) -> None:
        """Write the cache if anything new was read, without the files that are gone."""
        if self._cache.dirty:
            files = self._cache.section("files")
            for path in [path for path in files if not os.path.exists(path)]:
                del files[path]
        self._cache.save()


def dict_of(value: Any) -> dict[str, Any]:
    """A value of the cache, by its type."""
    found: dict[str, Any] = value
    return found


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
