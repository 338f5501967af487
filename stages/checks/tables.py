"""Documents, Chats and Preferences made elsewhere: parquet files whose columns have the names and types that stages read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SourceError
from stages.kinds import DOCUMENT_COLUMNS
from stages.text.origins import by_source, from_sources
from stages.tuning.conversations import about

if TYPE_CHECKING:
    import pyarrow as pa

OTHERWISE = {
    "documents": "bring raw text in with Collect(source=…, text_field=…), which reads parquet, JSON lines, text and HTML",
    "chats": "bring JSON lines in with CollectChats(source=…), or write the column `messages`: a list of {role, content}",
    "preferences": "write the columns prompt, chosen and rejected, each a list of {role, content}",
}
"""The way for what cannot be taken as it is."""

TEXT, MESSAGES = "text", "a list of {role, content}"
"""What a column holds, as messages name it."""

SPLITS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
"""First words of the names that data sets give to the files of a split."""


def layout(kind: str, names: Sequence[str]) -> dict[str, str]:
    """Every parquet file, numbered in the order of the names. Raises SourceError where there is none, or several splits."""
    found = sorted(name for name in names if name.endswith(".parquet") and not name.startswith("."))
    if not found:
        raise SourceError("there is no .parquet file", mend=OTHERWISE[kind])
    words = {SPLITS.get(re.split("[^a-z]", name.lower())[0], "") for name in found}
    if len(words) > 1:
        raise SourceError(
            f"the files are of several splits ({found[0]}, {found[-1]}), which would be trained on together",
            mend="adopt the files of one split, from a folder of their own",
        )
    width = max(5, len(str(len(found) - 1)))
    return {name: f"part-{number:0{width}d}.parquet" for number, name in enumerate(found)}


def documents(folder: Path) -> list[str]:
    """Check texts: five columns of text, with an id and a text in every row."""
    return _check(folder, "documents", dict.fromkeys(DOCUMENT_COLUMNS, TEXT), whole=("id", "text"))


def chats(folder: Path) -> list[str]:
    """Check conversations: messages in every row; `metadata`, where there is one, is text."""
    return _check(folder, "chats", {"messages": MESSAGES}, perhaps={"metadata": TEXT}, whole=("messages",))


def preferences(folder: Path) -> list[str]:
    """Check choices: three lists of messages in every row."""
    names = ("prompt", "chosen", "rejected")
    return _check(folder, "preferences", dict.fromkeys(names, MESSAGES), whole=names)


def from_documents(folder: Path, name: str) -> dict[str, float]:
    """The documents of each source, as metrics."""
    import pyarrow.parquet as pq

    parts = [pq.read_table(path, columns=["source"]) for path in sorted(folder.glob("*.parquet"))]
    return from_sources("documents", [by_source(part["source"].to_pylist()) for part in parts])


def from_chats(folder: Path, name: str) -> dict[str, float]:
    """The conversations to train on, as metrics: all of the one source `name`."""
    import pyarrow.parquet as pq

    total = 0
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            if "metadata" not in file.schema_arrow.names:
                total += file.metadata.num_rows
                continue
            for batch in file.iter_batches(batch_size=4096, columns=["metadata"]):
                said = map(about, batch.column("metadata").to_pylist())
                total += sum(one.get("split", "train") == "train" for one in said)
    return from_sources("chats", [{name: total}])


def _check(
    folder: Path, kind: str, columns: dict[str, str], *, perhaps: dict[str, str] | None = None, whole: Sequence[str]
) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    for path in sorted(folder.glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                there = {name: form for name, form in (perhaps or {}).items() if name in file.schema_arrow.names}
                _check_types(path.name, kind, file.schema_arrow, columns | there)
                for batch in file.iter_batches(batch_size=4096, columns=[*columns, *there]):
                    batch.validate(full=True)  # strings are UTF-8, offsets lie within
                    _check_rows(path.name, kind, batch, columns, whole, rows)
                    rows += batch.num_rows
        except (pa.ArrowException, OSError) as fault:
            first = str(fault).splitlines()[0]
            raise SourceError(f"{path.name} cannot be read as parquet: {first}", mend=OTHERWISE[kind]) from None
    if not rows:
        raise SourceError(f"there is not one row in these {kind}", mend="give files that hold something")
    return []


def _check_types(name: str, kind: str, schema: pa.Schema, columns: dict[str, str]) -> None:
    for column, wanted in columns.items():
        if column not in schema.names:
            raise SourceError(
                f"{name} has no column {column!r}; it has: {', '.join(schema.names)}", mend=OTHERWISE[kind]
            )
        found = schema.field(column).type
        if not (_is_text(found) if wanted == TEXT else _is_messages(found)):
            raise SourceError(f"the column {column!r} of {name} is {found}, not {wanted}", mend=OTHERWISE[kind])


def _is_text(found: pa.DataType) -> bool:
    import pyarrow as pa

    return any(test(found) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_messages(found: pa.DataType) -> bool:
    import pyarrow as pa

    if not (pa.types.is_list(found) or pa.types.is_large_list(found)) or not pa.types.is_struct(found.value_type):
        return False
    fields = {field.name: field.type for field in found.value_type}
    return all(name in fields and _is_text(fields[name]) for name in ("role", "content"))


def _check_rows(
    name: str, kind: str, batch: pa.RecordBatch, columns: dict[str, str], whole: Sequence[str], before: int
) -> None:
    import pyarrow.compute as pc

    for column in whole:
        values = batch.column(column)
        gap = values.null_count > 0
        if columns[column] == MESSAGES and not gap:
            turns = values.flatten()
            gap = bool(pc.any(pc.equal(pc.list_value_length(values), 0)).as_py()) or turns.null_count > 0
            gap = gap or any(turns.field(part).null_count for part in ("role", "content"))
        if gap:
            raise SourceError(
                f"{name} has rows without {column!r} (among rows {before:,} to {before + batch.num_rows - 1:,} of all)",
                mend="take those rows out: every one needs it",
            )
