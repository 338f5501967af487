"""Tables that are not of their kind are refused before they enter the store, in a sentence that names the file and the way."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.store import Store
from stages.kinds import Chats
from tests.adopting import refused, taken

TURN = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
DOCUMENT = {"id": "1", "text": "tale", "source": "x", "url": "", "metadata": "{}"}
CHAT = {"messages": TURN}
CHOICE = {"prompt": TURN[:1], "chosen": TURN[1:], "rejected": TURN[1:]}


def write(folder: Path, row: dict[str, Any], name: str = "a.parquet") -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row]), folder / name)
    return folder


@pytest.mark.parametrize(("kind", "row"), [("documents", DOCUMENT), ("chats", CHAT), ("preferences", CHOICE)])
def test_tables_of_the_right_columns_are_numbered_in_the_order_of_their_names(
    tmp_path: Path, kind: str, row: dict[str, Any]
) -> None:
    for number, name in enumerate(("data-b.parquet", "data-a.parquet")):
        write(tmp_path / "theirs", row | {"number": number}, name)
    made = taken(kind, tmp_path / "theirs").manifest
    folder = Store(str(tmp_path / "store")).data(made)
    assert [shard.name for shard in Chats(folder).shards()] == ["part-00000.parquet", "part-00001.parquet"]
    assert [found["number"] for found in Chats(folder).rows()] == [1, 0]


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("documents", {"text": "tale"}, "a.parquet has no column 'id'; it has: text\n  → bring raw text in with Collect("),
        ("documents", DOCUMENT | {"metadata": {"a": 1}}, "the column 'metadata' of a.parquet is struct<a: int64>, not text"),
        ("documents", DOCUMENT | {"id": None}, "the column 'id' of a.parquet is null, not text"),
        ("chats", {"conversations": TURN}, "a.parquet has no column 'messages'; it has: conversations"),
        ("chats", {"messages": [{"from": "gpt", "value": "Hi"}]}, "not a list of {role, content}"),
        ("chats", {"messages": "Hi"}, "the column 'messages' of a.parquet is string, not a list of {role, content}"),
        ("chats", CHAT | {"metadata": {"split": "train"}}, "the column 'metadata' of a.parquet is struct"),
        ("preferences", CHOICE | {"rejected": "Hi"}, "the column 'rejected' of a.parquet is string"),
    ],
)  # fmt: skip
def test_a_wrong_column_is_named_with_the_way_to_bring_it_in(
    tmp_path: Path, kind: str, row: dict[str, Any], said: str
) -> None:
    assert said in refused(kind, write(tmp_path / "theirs", row))


def test_a_row_without_its_text_or_its_turns_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([DOCUMENT, DOCUMENT | {"text": None}])
    pq.write_table(table, write(tmp_path / "texts", DOCUMENT) / "b.parquet")
    assert "b.parquet has rows without 'text' (among rows 1 to 2 of all)" in refused("documents", tmp_path / "texts")
    for place, messages in (("none", []), ("null", None), ("half", [{"role": "user", "content": None}])):
        table = pa.Table.from_pylist([CHAT, {"messages": messages}])
        (tmp_path / place).mkdir()
        pq.write_table(table, tmp_path / place / "a.parquet")
        assert "a.parquet has rows without 'messages'" in refused("chats", tmp_path / place)


def test_files_that_are_no_parquet_hold_nothing_or_are_not_text_are_refused(tmp_path: Path) -> None:
    for name in ("words", "empty", "bytes", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "words" / "a.parquet").write_text("PAR1 is how it begins, and no more")
    assert "a.parquet cannot be read as parquet" in refused("documents", tmp_path / "words")
    pq.write_table(pa.Table.from_pylist([DOCUMENT]).slice(0, 0), tmp_path / "empty" / "a.parquet")
    assert "there is not one row in these documents" in refused("documents", tmp_path / "empty")
    raw = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe"))
    table = pa.table({name: raw if name == "text" else pa.array(["x"]) for name in DOCUMENT})
    pq.write_table(table, tmp_path / "bytes" / "a.parquet")
    assert "UTF" in refused("documents", tmp_path / "bytes")
    assert "there is no .parquet file\n  → bring raw text in with Collect" in refused("documents", tmp_path / "none")


def test_a_test_split_is_never_trained_on_by_mistake(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"):
        write(tmp_path / "theirs", CHAT, name)
    assert "of several splits (test-00000-of-00001.parquet, train-00000" in refused("chats", tmp_path / "theirs")
