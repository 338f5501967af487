"""Documents as rows and shards: one form of id, one size of shard, the same bytes for the same rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.kinds import DOCUMENT_COLUMNS, write_shard

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_ROWS, SHARD_CHARACTERS = 2_000, 4_000_000
"""A shard ends at whichever comes first: small enough that two workers share a small corpus."""


def document(text: str, where: str, *, source: str, url: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    """One row. The id (128 bits, hex) comes from the source's name, the place in it and the text; never from a machine's path."""
    mark = "\0".join((source, where, text)).encode("utf-8", "surrogatepass")
    shown = {name: value for name, value in metadata.items() if value not in ("", None)}
    return {
        "id": hashlib.blake2b(mark, digest_size=16).hexdigest(),
        "text": text.encode("utf-8", "replace").decode(),
        "source": source,
        "url": url,
        "metadata": json.dumps(shown, sort_keys=True, ensure_ascii=False, default=str),
    }


def table(rows: list[dict[str, str]]) -> pa.Table:
    """The rows as an arrow table of string columns."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in DOCUMENT_COLUMNS])
    return pa.Table.from_pylist(rows, schema=schema)


def write_documents(folder: Path, stem: str, documents: Iterable[dict[str, str]]) -> int:
    """Write `documents` as ``<stem>-000.parquet``, ``<stem>-001.parquet``, … and return how many there were."""
    total = number = size = 0
    rows: list[dict[str, str]] = []
    for row in documents:
        rows.append(row)
        size += len(row["text"])
        if len(rows) >= SHARD_ROWS or size >= SHARD_CHARACTERS:
            write_shard(folder / f"{stem}-{number:03d}.parquet", table(rows))
            total, number, size, rows = total + len(rows), number + 1, 0, []
    if rows:
        write_shard(folder / f"{stem}-{number:03d}.parquet", table(rows))
    return total + len(rows)
