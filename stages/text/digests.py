"""Finds the files of a local source and digests their content; what is known of an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

from pipeline import digest
from pipeline.cache import cache_folder

WILD = re.compile(r"[*?\[{]")

RACY_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again within one tick of its clock: it is read again."""


def find(path: Path) -> dict[str, Path]:
    """Files by name relative to the folder, or to the part of a pattern before its first wildcard. Hidden files do not count."""
    if path.is_file():
        return {path.name: path}
    if path.is_dir():
        return _below(path, "**")
    parts = path.parts
    wild = next((index for index, part in enumerate(parts) if WILD.search(part)), None)
    if wild is None:
        return {}
    return _below(Path(*parts[:wild]), "/".join(parts[wild:]))


def _below(root: Path, pattern: str) -> dict[str, Path]:
    wanted = matcher(pattern)
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if not name.startswith(".") and wanted.fullmatch(relative) and path.is_file():
                found[relative] = path
    return dict(sorted(found.items()))


def matcher(pattern: str) -> re.Pattern[str]:
    """A glob over POSIX paths as a regular expression: ``**`` crosses folders, ``*`` and ``?`` do not, ``{a,b}`` chooses."""
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    pieces = re.split(r"(\*\*/|\*\*|[*?{},])", pattern)
    depth, out = 0, []
    for piece in pieces:
        depth += {"{": 1, "}": -1}.get(piece, 0)
        literal = piece not in tokens or (piece == "," and depth == 0)
        out.append(re.escape(piece) if literal else tokens[piece])
    try:
        return re.compile("".join(out))
    except re.error as fault:
        raise ValueError(f"the pattern {pattern!r} is malformed: {fault}") from None


def of(files: dict[str, Path]) -> str:
    """The sha256 of one file, or of several the sha256 of the canonical JSON list of [name, sha256]."""
    digests = by_name(files)
    return next(iter(digests.values())) if len(digests) == 1 else _of_list(digests)


def with_names(files: dict[str, Path]) -> str:
    """The sha256 of the canonical JSON list of [name, sha256], of one file too: what it is called says how it is read."""
    return _of_list(by_name(files))


def _of_list(digests: dict[str, str]) -> str:
    return digest.of_json([[name, digests[name]] for name in sorted(digests)])


def by_name(files: dict[str, Path]) -> dict[str, str]:
    """sha256 of each file; those whose path, size, time and inode are as remembered, and not of just now, are not read."""
    if not files:
        return {}
    record = _record(files)
    known = _load(record)
    now: dict[str, list[object]] = {}
    for path in files.values():
        place, stat = str(path.absolute()), path.stat()
        stamp = [stat.st_mtime_ns, stat.st_size, stat.st_ino]
        before, read = known.get(place, []), time.time_ns()
        same = before[:3] == stamp and len(before) == 5 and int(str(before[4])) - stat.st_mtime_ns > RACY_NS
        now[place] = before if same else [*stamp, digest.of_file(path).sha256, read]
    if now != known:
        _save(record, now)
    return {name: str(now[str(path.absolute())][3]) for name, path in files.items()}


def _record(files: dict[str, Path]) -> Path:
    name, path = next(iter(files.items()))
    mark = f"{path.absolute()}\0{name}\0{len(files)}"
    return cache_folder() / "digests" / f"{hashlib.sha256(mark.encode()).hexdigest()[:32]}.json"


def _load(record: Path) -> dict[str, list[object]]:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache: without it everything is read again
    return known if isinstance(known, dict) else {}


def _save(record: Path, stamps: dict[str, list[object]]) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False, encoding="utf-8") as file:
            json.dump(stamps, file)
        os.replace(file.name, record)
    except OSError:
        return  # a read-only home costs time, never a plan
