"""Reads raw files row by row: text, HTML, JSON, JSON lines, parquet and tables, plain or compressed (.gz, .zst)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from pipeline.errors import SourceError
from stages.text.packages import LARGEST

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
    with _opened(path, name, form) as file:
        yield from readers[form](file, name)


def json_lines(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """The number and the value of each line of one file that is not blank. Raises SourceError, naming file and line."""
    with _opened(path, name, "jsonl") as file:
        yield from _values(file, name)


@contextmanager
def _opened(path: Path, name: str, form: Format) -> Iterator[IO[bytes]]:
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression=COMPRESSED.get(PurePosixPath(name.lower()).suffix)) as file:
            yield file
    except (pa.ArrowException, OSError, csv.Error) as fault:
        raise SourceError(
            f"{name} cannot be read as {form}: {fault}", mend="give the source's format=…, or take the file out"
        ) from None


def _whole(file: IO[bytes], name: str) -> bytes:
    """All bytes of a file, unpacked; no more than LARGEST, for a few packed bytes may hold more than fits in memory."""
    blocks, size = [], 0
    while block := file.read(1 << 20):
        blocks.append(block)
        size += len(block)
        _bound(size, name)
    return b"".join(blocks)


def _bound(size: int, place: str) -> None:
    if size > LARGEST:
        message = f"{place} holds more than {LARGEST >> 30} GiB, which is too much to read at once"
        raise SourceError(message, mend="cut it into smaller ones, or take it out")


def _text(file: IO[bytes], name: str) -> Iterator[Row]:
    yield {"text": _whole(file, name).decode("utf-8-sig", errors="replace")}


def _html(file: IO[bytes], name: str) -> Iterator[Row]:
    yield {"text": _whole(file, name)}


def _json(file: IO[bytes], name: str) -> Iterator[Row]:
    try:
        value = json.loads(_whole(file, name))
    except ValueError as fault:
        raise SourceError(f"{name} is not JSON: {fault}") from None
    items = (
        value.values() if isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()) else value
    )
    for item in [items] if isinstance(items, dict) else items:
        yield item if isinstance(item, dict) else {"text": item}


def _jsonl(file: IO[bytes], name: str) -> Iterator[Row]:
    for _, item in _values(file, name):
        yield item if isinstance(item, dict) else {"text": item}


def _values(file: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(file, name), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as fault:
            message = f"{name}, line {number} is not JSON: {fault}"
            raise SourceError(message, mend="write one JSON object a line") from None
        yield number, value


def _parquet(file: IO[bytes], name: str) -> Iterator[Row]:
    import pyarrow.parquet as pq

    whole = file if file.seekable() else io.BytesIO(_whole(file, name))
    for batch in pq.ParquetFile(whole).iter_batches(batch_size=1024):
        yield from batch.to_pylist()


def _table(file: IO[bytes], name: str) -> Iterator[Row]:
    yield from csv.DictReader(_table_lines(file, name), delimiter="," if _suffix(name) == ".csv" else "\t")


def _orange(file: IO[bytes], name: str) -> Iterator[Row]:
    """Orange's .tab: a row of names, one of types and one of roles before the data."""
    for number, row in enumerate(csv.DictReader(_table_lines(file, name), delimiter="\t")):
        if number >= 2:
            yield row


def _table_lines(file: IO[bytes], name: str) -> Iterator[str]:
    csv.field_size_limit(1 << 30)
    return _lines(file, name, newline="")


def _lines(file: IO[bytes], name: str, newline: str | None = None) -> Iterator[str]:
    """Each line with its end; a mark of byte order before the first is dropped. Raises SourceError for other than UTF-8."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    number = 0
    while line := text.readline(LARGEST + 1):
        number += 1
        place = f"{name}, line {number}"
        _bound(len(line), place)
        try:
            line.encode()  # what was no UTF-8 stands in it as half characters
        except UnicodeEncodeError:
            raise SourceError(f"{place} is not UTF-8", mend="save it as UTF-8") from None
        yield line


def text_of(value: object) -> str:
    """A field's value as text: a string as it is; of a conversation one line per turn, the messages of a turn beside each other."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return text_of(next((value[key] for key in ("text", "content", "value") if key in value), ""))
    if isinstance(value, (list, tuple)):
        return "\n".join(line for line in (text_of(item).replace("\n", " ").strip() for item in value) if line)
    return str(value)
