"""Reads raw files row by row: text, HTML, JSON, JSON lines, parquet and tables, plain or compressed (.gz, .zst)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from pipeline.errors import SourceError

Format = Literal["auto", "text", "html", "json", "jsonl", "parquet", "table", "orange"]
Row = dict[str, Any]

SUFFIXES: dict[str, Format] = {
    ".txt": "text", ".md": "text", ".rst": "text", ".html": "html", ".htm": "html", ".xhtml": "html", ".json": "json",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".csv": "table", ".tsv": "table", ".tab": "table",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}


def format_of(name: str) -> Format | None:
    """The format that the suffix of `name` tells (``pages.jsonl.zst`` → jsonl), or None."""
    return SUFFIXES.get(_suffix(name))


def _suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in COMPRESSED else path).suffix


def rows(path: Path, name: str, form: Format) -> Iterator[Row]:
    """Each row of one file. Text and HTML are one row whose `text` is a string or the page's bytes. Raises SourceError."""
    readers: dict[str, Callable[[IO[bytes], str], Iterator[Row]]] = {
        "text": _text, "html": _html, "json": _json, "jsonl": _jsonl, "parquet": _parquet, "table": _table, "orange": _orange,
    }  # fmt: skip
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression=COMPRESSED.get(PurePosixPath(name.lower()).suffix)) as file:
            yield from readers[form](file, name)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as fault:
        raise SourceError(
            f"{name} cannot be read as {form}: {fault}", mend="give the source's format=…, or take the file out"
        ) from None


def _text(file: IO[bytes], name: str) -> Iterator[Row]:
    yield {"text": file.read().decode("utf-8-sig", errors="replace")}


def _html(file: IO[bytes], name: str) -> Iterator[Row]:
    yield {"text": file.read()}


def _json(file: IO[bytes], name: str) -> Iterator[Row]:
    try:
        value = json.loads(file.read())
    except ValueError as fault:
        raise SourceError(f"{name} is not JSON: {fault}") from None
    items = (
        value.values() if isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()) else value
    )
    for item in [items] if isinstance(items, dict) else items:
        yield item if isinstance(item, dict) else {"text": item}


def _jsonl(file: IO[bytes], name: str) -> Iterator[Row]:
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as fault:
            raise SourceError(f"{name}, line {number} is not JSON: {fault}") from None
        yield item if isinstance(item, dict) else {"text": item}


def _parquet(file: IO[bytes], name: str) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(io.BytesIO(file.read())).iter_batches(batch_size=1024):
        yield from batch.to_pylist()


def _table(file: IO[bytes], name: str) -> Iterator[Row]:
    yield from csv.DictReader(_lines(file), delimiter="," if _suffix(name) == ".csv" else "\t")


def _orange(file: IO[bytes], name: str) -> Iterator[Row]:
    """Orange's .tab: a row of names, one of types and one of roles before the data."""
    for number, row in enumerate(csv.DictReader(_lines(file), delimiter="\t")):
        if number >= 2:
            yield row


def _lines(file: IO[bytes]) -> io.TextIOWrapper:
    csv.field_size_limit(1 << 30)
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def text_of(value: object) -> str:
    """A field's value as text: a string as it is; of a conversation one line per turn, the messages of a turn beside each other."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return text_of(next((value[key] for key in ("text", "content", "value") if key in value), ""))
    if isinstance(value, (list, tuple)):
        return "\n".join(line for line in (text_of(item).replace("\n", " ").strip() for item in value) if line)
    return str(value)
