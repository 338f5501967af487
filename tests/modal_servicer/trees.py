"""Trees of files as values: what a volume holds after a commit, and what a container's copy of it has become."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A path of a tree: a file by its bytes' SHA-256, a directory, or a symlink with its target."""

    kind: str  # file | directory | symlink
    content: str = ""
    size: int = 0
    mode: int = 0o644
    mtime: int = 0


Tree = dict[str, Entry]
# How a file on disk is known to be as it was: its size, its time in nanoseconds, its inode.
Marks = dict[str, tuple[int, int, int]]
TICK_NS = 50_000_000  # more than the clock of a file system steps at once


def walk(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below, with its status; a link is itself."""
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(folder, name)
            with suppress(FileNotFoundError):  # gone while we look
                yield path.relative_to(top).as_posix(), path.lstat()


def marked(top: Path) -> Marks:
    """The marks of all files below, but for those of just now: they may change again within one tick of their clock."""
    settled = time.time_ns() - TICK_NS
    return {
        name: (seen.st_size, seen.st_mtime_ns, seen.st_ino)
        for name, seen in walk(top)
        if stat.S_ISREG(seen.st_mode) and seen.st_mtime_ns < settled
    }


def read(top: Path, known: Tree, marks: Marks, keep: Callable[[Path], str]) -> Tree:
    """The tree on disk; a file whose marks did not change is the known one, any other is kept in the store."""
    tree: Tree = {}
    for name, seen in walk(top):
        path = top / name
        if stat.S_ISLNK(seen.st_mode):
            tree[name] = Entry("symlink", os.readlink(path))
        elif stat.S_ISDIR(seen.st_mode):
            tree[name] = Entry("directory", mode=stat.S_IMODE(seen.st_mode))
        elif marks.get(name) == (seen.st_size, seen.st_mtime_ns, seen.st_ino) and name in known:
            tree[name] = known[name]
        else:
            with suppress(FileNotFoundError):
                tree[name] = Entry("file", keep(path), seen.st_size, stat.S_IMODE(seen.st_mode), int(seen.st_mtime))
    return tree


def merged(committed: Tree, base: Tree, mine: Tree) -> Tree:
    """The committed tree with what changed between `base` and `mine`: per file, the last writer wins."""
    tree = dict(committed)
    for name in base.keys() - mine.keys():
        tree.pop(name, None)
    for name, entry in mine.items():
        if base.get(name) != entry:
            tree[name] = entry
    for name in list(tree):  # a file whose directory another one removed brings it back
        for parent in Path(name).parents:
            if parent.as_posix() not in (".", *tree):
                tree[parent.as_posix()] = Entry("directory", mode=0o755)
    return tree


def write(top: Path, tree: Tree, old: Tree, source: Callable[[str], Path]) -> None:
    """Make the disk hold the tree, given that it holds the old one; files that stay are not touched."""
    for name in sorted(old.keys() - tree.keys(), reverse=True):
        path = top / name
        path.rmdir() if old[name].kind == "directory" else path.unlink()
    for name in sorted(tree):
        entry, path = tree[name], top / name
        if old.get(name) == entry:
            continue
        if name in old and old[name].kind != "directory":
            path.unlink()
        if entry.kind == "directory":
            path.mkdir(exist_ok=True)
            path.chmod(entry.mode)
        elif entry.kind == "symlink":
            path.symlink_to(entry.content)
        else:
            shutil.copyfile(source(entry.content), path)
            path.chmod(entry.mode)
            os.utime(path, (entry.mtime, entry.mtime))


def open_files(top: Path, namespace: str) -> list[str]:
    """What the processes of a PID namespace hold open below: descriptors, memory maps, working directories."""
    inodes = {(seen.st_dev, seen.st_ino): name for name, seen in walk(top)}
    top_seen = top.stat()
    inodes[(top_seen.st_dev, top_seen.st_ino)] = "."
    held = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or _link(process / "ns" / "pid") != namespace:
            continue
        links = [process / "cwd"]
        for folder in ("fd", "map_files"):
            try:
                links += list((process / folder).iterdir())
            except OSError:
                continue
        for link in links:
            try:
                seen = link.stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) in inodes:
                held.append(inodes[seen.st_dev, seen.st_ino])
    return sorted(set(held))


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
