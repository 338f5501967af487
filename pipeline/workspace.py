"""The scratch of one attempt: files count only once committed, so that a killed stage resumes at its last commit.

::

    <folder>/data/         what becomes the artifact
    <folder>/scratch/      what the stage keeps for itself (checkpoints, intermediate shards)
    <folder>/resume/AT/    the state from which an attempt with more of a setting can go on
    <folder>/part/         shards being written
    <folder>/commits/N.json  numbered, immutable records: tag, value, and size, time and digest of each file
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline import digest, verified
from pipeline.digest import FileRecord
from pipeline.errors import StageFailed
from pipeline.verified import Stamp

KEPT = "kept"


class Commits(Protocol):
    """Where commits are kept beyond this machine, and come from."""

    records: list[dict[str, Any]]

    def fetch(self, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Bring the files of these names and stamps into `folder`, as far as they can be had as they were."""
        ...

    def commit(self, number: int, records: list[dict[str, Any]], folder: Path) -> None:
        """Make `records` and their files durable."""
        ...


class Workspace:
    """Opens the scratch at `folder`, dropping every file that no commit names and every commit whose files are gone.

    With `elsewhere`, commits are kept there instead of in the folder, and files that are missing here come from there.
    """

    def __init__(self, folder: Path, elsewhere: Commits | None = None) -> None:
        self.folder, self._elsewhere = folder, elsewhere
        self.data, self.scratch, self.resume = folder / "data", folder / "scratch", folder / "resume"
        shutil.rmtree(folder / "part", ignore_errors=True)
        # a shard that outlived the process before this one goes on writing where nobody looks
        self._parts, self._commits = folder / "part" / uuid.uuid4().hex[:8], folder / "commits"
        for directory in (self.data, self.scratch, self._parts, self._commits):
            directory.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, tuple[int, int, FileRecord]] = {}
        self._values: dict[str, Any] = {}
        self._number = 0
        self.stamps: dict[str, Stamp] = {}
        self._recover()

    def _recover(self) -> None:
        numbered = sorted(path for path in self._commits.glob("*.json") if path.stem.isdecimal())
        records = [record for record in map(_read, numbered) if record is not None]
        if self._elsewhere:
            records = self._elsewhere.records
        latest: dict[tuple[str, str], Any] = {}
        newest: dict[str, Any] = {}
        for record in records:
            for name, stamp in record["files"].items():
                known = FileRecord(size=stamp["size"], sha256=stamp["sha256"])
                self._files[name] = (stamp["size"], stamp["mtime_ns"], known)
                latest[record["tag"], name] = newest[name] = stamp
            for name in record.get("gone", ()):
                self._files.pop(name, None)
        if self._elsewhere:
            missing = [name for name in self._files if not self._unchanged(name)]
            self._elsewhere.fetch(self.folder, {name: newest[name] for name in missing})
        self._files = {name: stamp for name, stamp in self._files.items() if self._unchanged(name)}
        standing = []
        for record in records:
            files = record["files"].items()
            if all(name in self._files and stamp == latest[record["tag"], name] for name, stamp in files):
                self._values[record["tag"]] = record["value"]
                standing.append(record)
        self._files = {name: self._files[name] for record in standing for name in record["files"]}
        self._number = max((int(path.stem) for path in numbered), default=0)
        self._sweep()
        if self._elsewhere and standing:
            self._elsewhere.commit(0, standing, self.folder)

    def _sweep(self) -> None:
        trees = (self.data, self.scratch, self.resume)
        for path in [path for tree in trees for path in digest.files_below(tree)]:
            if path.relative_to(self.folder).as_posix() not in self._files:
                path.unlink()
        for directory in sorted((path for tree in trees for path in tree.rglob("*")), reverse=True):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
        self._keep_only(self.kept())

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
            if target.relative_to(self.folder).as_posix() in self._files:
                raise StageFailed(
                    f"two shards wrote a file named {target.name}", mend="give each shard's files a name of its own"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            moved.append(target)
        shutil.rmtree(part)
        self._record(moved, tag, value)

    def commit(self, path: Path, tag: str = "", value: Any = None) -> None:
        """Make the file or directory at `path` (below data or scratch) durable; a later commit of it replaces this one."""
        found = digest.files_below(path) if path.is_dir() else [path]
        gone = [name for name in self._files if not (self.folder / name).exists()]
        for name in gone:
            del self._files[name]
        self._record(found, tag or f"path:{path.relative_to(self.folder).as_posix()}", value, gone)

    def mark(self, tag: str, value: Any) -> None:
        """Commit a value that no file goes with, in place of an earlier one of that tag."""
        if self._values.get(tag) != value:
            self._record([], tag, value)

    def keep(self, path: Path, at: float) -> None:
        """Move the file or directory at `path` to resume/, durable, in place of what was kept; the state at `at` is kept once."""
        if self.kept() == at:
            return shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder = self.resume / folder_at(at)
        folder.mkdir(parents=True)
        os.replace(path, folder / path.name)
        self.commit(folder, KEPT, at)
        self._keep_only(at)

    def kept(self) -> float | None:
        """What the state in resume/ stands for; None where nothing was kept."""
        at: float | None = self._values.get(KEPT)
        return at

    def _keep_only(self, at: float | None) -> None:
        for folder in self.resume.glob("*"):
            if at is None or folder.name != folder_at(at):
                shutil.rmtree(folder)

    def _record(self, paths: list[Path], tag: str, value: Any, gone: Sequence[str] = ()) -> None:
        files = {}
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            mtime_ns = _backdate(path)
            _sync(path)
            record = digest.of_file(path)
            self._files[name] = (record.size, mtime_ns, record)
            files[name] = {"size": record.size, "mtime_ns": mtime_ns, "sha256": record.sha256}
        self._number += 1
        entry = {"tag": tag, "value": value, "files": files, "gone": list(gone)}
        if self._elsewhere:
            self._elsewhere.commit(self._number, [entry], self.folder)
        else:
            target = self._commits / f"{self._number:06d}.json"
            partial = target.with_suffix(".tmp")
            partial.write_text(json.dumps(entry), encoding="utf-8")
            _sync(partial)
            os.replace(partial, target)
        self._values[tag] = value

    def seal_kept(self) -> dict[str, FileRecord]:
        """The record of every file below resume/."""
        below = {path: path.relative_to(self.folder).as_posix() for path in digest.files_below(self.resume)}
        return {path.relative_to(self.resume).as_posix(): self._files[name][2] for path, name in below.items()}

    def seal(self, rendered: Collection[str] = ()) -> dict[str, FileRecord]:
        """The record of every file below data/, reusing digests taken at commit where size and time still agree.

        What has one of the names in `rendered` is removed: it may have come along from an input, and is of that.
        """
        sealed = {}
        for name in rendered:
            (self.data / name).unlink(missing_ok=True)
        for path in digest.files_below(self.data):
            name, within = path.relative_to(self.folder).as_posix(), path.relative_to(self.data).as_posix()
            known = name in self._files and self._unchanged(name)
            if not known:
                _backdate(path)
                _sync(path)
            self.stamps[within] = verified.stamp(path)  # before the digest: what is written after it shows
            sealed[within] = self._files[name][2] if known else digest.of_file(path)
        return sealed


def folder_at(at: float) -> str:
    """The name of the folder in which the state at `at` is kept."""
    return f"{at:.15g}"


def _read(path: Path) -> dict[str, Any] | None:
    """The record at `path`, or None where a crash of the machine left it unreadable."""
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        stamps = record["files"].values()
        whole = (
            "tag" in record
            and "value" in record
            and all({"size", "mtime_ns", "sha256"} <= stamp.keys() for stamp in stamps)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def _backdate(path: Path) -> int:
    """Set the time of a file some seconds back, so that a write within one tick of the clock still changes it."""
    past = path.stat().st_mtime_ns - 10_000_000_000
    os.utime(path, ns=(past, past))
    return path.stat().st_mtime_ns


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
