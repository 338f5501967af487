"""Scans and digests of source files, kept in the user's cache by time, size and inode, so that an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.code_scan import FORM, Scan, scan
from pipeline.errors import DagError

RACY_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within one tick of its clock: its bytes are compared too."""


def cache_file() -> Path:
    """Where scans are kept: corpusmill/code-<form>.json below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "corpusmill" / f"code-{FORM}.json"


class Files:
    """Answers what a file holds; `save` writes the cache where something new was learnt."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._packages: dict[str, Any] = {}
        self._dirty = False
        self._loaded: Path | None = None

    def load(self) -> None:
        """Read the cache, once for each place it may lie in; one that cannot be read is as good as none."""
        path = cache_file()
        if path == self._loaded:
            return
        self._loaded = path
        try:
            kept = json.loads(path.read_bytes())
            files, packages = dict(kept["files"]), dict(kept["packages"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._known = {**files, **self._known}
        self._packages = packages

    def scan(self, path: str, shown: str) -> Scan:
        """What the Python file at `path` says. Raises DagError, naming it as `shown`, for a syntax error."""
        kept = self._entry(path)
        if "scan" not in kept:
            try:
                kept["scan"] = scan(Path(path).read_bytes())
            except SyntaxError as fault:
                where = f"{shown}:{fault.lineno}" if fault.lineno else shown
                raise DagError(f"{where} cannot be read as Python: {fault.msg}", mend=f"mend the syntax of {path}") from None
            self._dirty = True
        found: Scan = kept["scan"]
        return found

    def digest(self, path: str) -> str:
        """The first twelve hex digits of the sha256 of the file's bytes."""
        return str(self._entry(path)["bytes"])

    def _entry(self, path: str) -> dict[str, Any]:
        found = os.stat(path)
        stamp = [found.st_mtime_ns, found.st_size, found.st_ino]
        kept = self._known.get(path)
        if kept is not None and kept.get("stamp") == stamp and kept.get("read", 0) - found.st_mtime_ns > RACY_NS:
            return kept
        read = time.time_ns()
        bytes_digest = _digest(path)
        if kept is not None and kept.get("stamp") == stamp and kept.get("bytes") == bytes_digest:
            return kept
        fresh: dict[str, Any] = {"stamp": stamp, "read": read, "bytes": bytes_digest}
        if kept is not None and kept.get("bytes") == bytes_digest and "scan" in kept:
            fresh["scan"] = kept["scan"]
        self._known[path] = fresh
        self._dirty = True
        return fresh

    def versions(self, modules: set[str]) -> dict[str, str]:
        """The version of each installed distribution that provides one of the top-level `modules`."""
        from pipeline.code_packages import installed, site

        state = site()
        if self._packages.get("site") != state:
            self._packages = {"site": state, "found": {}}
        found: dict[str, dict[str, str]] = self._packages["found"]
        if missing := sorted(modules - found.keys()):
            found.update(installed(missing))
            self._dirty = True
        return {name: version for module in sorted(modules) for name, version in sorted(found[module].items())}

    def save(self) -> None:
        """Write the cache if anything was learnt, atomically; a folder that cannot be written costs only time."""
        if not self._dirty:
            return
        self._dirty = False
        path = cache_file()
        files = {name: kept for name, kept in self._known.items() if os.path.exists(name)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"files": files, "packages": self._packages}, file, separators=(",", ":"))
                os.replace(partial, path)
            except OSError:
                os.unlink(partial)
        except OSError:
            pass


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
