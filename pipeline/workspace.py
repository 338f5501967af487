"""The scratch of one attempt: files count only once committed, so that a killed stage resumes at its last commit.

::

    <folder>/data/         what becomes the artifact
    <folder>/scratch/      what the stage keeps for itself (checkpoints, intermediate shards)
    <folder>/part/         shards being written
    <folder>/commits/N.json  numbered, immutable records: tag, value, and size, time and digest of each file
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline import digest
from pipeline.digest import FileRecord


class Workspace:
    """Opens the scratch at `folder`, dropping every file that no commit names and every commit whose files are gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.scratch = folder / "data", folder / "scratch"
        self._parts, self._commits = folder / "part", folder / "commits"
        shutil.rmtree(self._parts, ignore_errors=True)
        for directory in (self.data, self.scratch, self._parts, self._commits):
            directory.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, tuple[int, int, FileRecord]] = {}
        self._values: dict[str, Any] = {}
        self._number = 0
        self._recover()

    def _recover(self) -> None:
        records = [_read(path) for path in sorted(self._commits.glob("[0-9]*.json"))]
        for record in records:
            for name, stamp in record["files"].items():
                self._files[name] = (stamp["size"], stamp["mtime_ns"], FileRecord(size=stamp["size"], sha256=stamp["sha256"]))
        self._files = {name: stamp for name, stamp in self._files.items() if self._unchanged(name)}
        for record in records:
            if all(name in self._files for name in record["files"]):
                self._values[record["tag"]] = record["value"]
        kept = {name for record in records if record["tag"] in self._values for name in record["files"] if name in self._files}
        for path in [*digest.files_below(self.data), *digest.files_below(self.scratch)]:
            if path.relative_to(self.folder).as_posix() not in kept:
                path.unlink()
        for directory in sorted((*self.data.rglob("*"), *self.scratch.rglob("*")), reverse=True):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
        self._files = {name: self._files[name] for name in kept}
        self._number = max((int(path.stem) for path in self._commits.glob("[0-9]*.json")), default=0)

    def _unchanged(self, name: str) -> bool:
        size, mtime_ns, _ = self._files[name]
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return False
        return (found.st_size, found.st_mtime_ns) == (size, mtime_ns)

    def values(self) -> dict[str, Any]:
        """The value of every commit in force, by its tag."""
        return dict(self._values)

    def part(self, name: str) -> Path:
        """A fresh empty directory in which one shard may write before it is committed."""
        folder = self._parts / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def adopt(self, part: Path, into: Path, tag: str, value: Any) -> None:
        """Move what a shard wrote in `part` to the same names below `into`, and commit it under `tag` with `value`."""
        moved = []
        for path in digest.files_below(part):
            target = into / path.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            moved.append(target)
        shutil.rmtree(part)
        self._record(moved, tag, value)

    def commit(self, path: Path, tag: str = "", value: Any = None) -> None:
        """Make the file or directory at `path` (below data or scratch) durable; a later commit of it replaces this one."""
        found = digest.files_below(path) if path.is_dir() else [path]
        self._record(found, tag or f"path:{path.relative_to(self.folder).as_posix()}", value)

    def _record(self, paths: list[Path], tag: str, value: Any) -> None:
        files = {}
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            _sync(path)
            record, mtime_ns = digest.of_file(path), path.stat().st_mtime_ns
            self._files[name] = (record.size, mtime_ns, record)
            files[name] = {"size": record.size, "mtime_ns": mtime_ns, "sha256": record.sha256}
        self._number += 1
        target = self._commits / f"{self._number:06d}.json"
        partial = target.with_suffix(".tmp")
        partial.write_text(json.dumps({"tag": tag, "value": value, "files": files}), encoding="utf-8")
        _sync(partial)
        os.replace(partial, target)
        self._values[tag] = value

    def seal(self) -> dict[str, FileRecord]:
        """The record of every file below data/, reusing digests taken at commit where size and time still agree."""
        sealed = {}
        for path in digest.files_below(self.data):
            name = path.relative_to(self.folder).as_posix()
            known = name in self._files and self._unchanged(name)
            sealed[path.relative_to(self.data).as_posix()] = self._files[name][2] if known else digest.of_file(path)
        return sealed


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
