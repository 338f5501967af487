"""Whether the files of an artifact are what its manifest says. A digest is not taken again while a file's stamp stands.

The stamps lie beside the data, in data-verified.json. They are a memory of this machine, never identity: losing them costs time.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pipeline import digest
from pipeline.digest import FileRecord

Stamp = tuple[int, int, int]
"""Time of the last change in nanoseconds, size in bytes, inode."""


def memory_of(folder: Path) -> Path:
    """Where the stamps of the files below `folder` are remembered: beside it."""
    return folder.with_name(f"{folder.name}-verified.json")


def stamp(path: Path) -> Stamp:
    """What tells a file from one that was changed or replaced since. Raises FileNotFoundError."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def faulty(
    folder: Path, files: Mapping[str, FileRecord], rendered: Collection[str] = (), *, anew: bool = False
) -> list[str]:
    """The names, sorted, of files below `folder` that are missing, not as recorded in `files`, or not in it nor in `rendered`.

    What is found sound is remembered beside `folder`; with `anew`, every digest is taken whatever is remembered.
    """
    memory = memory_of(folder)
    known = {} if anew else _remembered(memory)
    sound: dict[str, Stamp] = {}
    for name, record in files.items():
        if seen := _sound(folder / name, record, known.get(name)):
            sound[name] = seen
    if sound != known:
        remember(memory, sound)
    strays = {path.relative_to(folder).as_posix() for path in digest.files_below(folder)}
    strays -= {*files, *rendered}
    return sorted((set(files) - set(sound)) | strays)


def lacking(folder: Path, files: Mapping[str, FileRecord]) -> list[str]:
    """The names of `files` that are missing below `folder` or not as recorded, whatever else lies there."""
    known = _remembered(memory_of(folder))
    return [name for name, record in files.items() if not _sound(folder / name, record, known.get(name))]


def _sound(path: Path, record: FileRecord, known: Stamp | None) -> Stamp | None:
    """The stamp of a file that is as recorded."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        seen = stamp(path)
        if seen[1] == record.size and (known == seen or digest.of_file(path) == record):
            return seen
    return None


def add(folder: Path, names: Iterable[str]) -> None:
    """Remember that the files of these names below `folder` are sound."""
    memory = memory_of(folder)
    remember(memory, _remembered(memory) | {name: stamp(folder / name) for name in names})


def remember(memory: Path, stamps: Mapping[str, Stamp]) -> None:
    """Keep the stamps of files that are known to be sound; where that cannot be, digests are taken again."""
    partial = memory.with_name(f".{memory.name}.{uuid.uuid4().hex}")
    try:
        partial.write_text(json.dumps(stamps), encoding="utf-8")
        os.replace(partial, memory)
    except OSError:  # a store that is full, or only to be read
        partial.unlink(missing_ok=True)


def _remembered(memory: Path) -> dict[str, Stamp]:
    try:
        read = json.loads(memory.read_bytes())
        return {str(name): (int(a), int(b), int(c)) for name, (a, b, c) in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
