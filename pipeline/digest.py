"""Content digests: sha256 of a file's bytes, and of a directory as the sorted list of its files' names, sizes and digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class FileRecord(BaseModel):
    """One file of an artifact: its size in bytes and the sha256 of its bytes, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


def of_bytes(data: bytes) -> str:
    """sha256 of `data`, in hex."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> FileRecord:
    """Size and sha256 of the file at `path`, read in blocks."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(size=file.tell(), sha256=digest)


def of_json(value: Any) -> str:
    """sha256 of `value` as canonical JSON: sorted names, no spaces, no NaN."""
    return of_bytes(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
    )


def of_files(files: Mapping[str, FileRecord]) -> str:
    """The content digest of an artifact: what its files are called and hold, whatever made them and when."""
    return of_json([[name, files[name].size, files[name].sha256] for name in sorted(files)])


def files_below(folder: Path) -> list[Path]:
    """Every regular file below `folder`, sorted by relative POSIX path."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix()
    )
