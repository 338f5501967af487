"""Collect: every format to the same columns, the same bytes wherever the files lie, and one clear error where nothing is found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Context, DagError, StageFailed
from pipeline.errors import SourceError
from pipeline.workspace import Workspace
from stages.collect import Collect
from stages.kinds import DOCUMENT_COLUMNS, Documents
from stages.sources import Source
from stages.text import readers


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def collected(work: Path, **settings: Any) -> Documents:
    ctx, out = Context.local(work), Documents(work / "data")
    Collect(**settings).run(out, ctx)
    return out


def texts(documents: Documents) -> list[str]:
    return [row["text"] for row in documents.rows()]


def test_a_folder_of_text_becomes_a_document_per_file_in_order_of_names(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    (raw / "b.txt").write_text("Second.\r\n")
    (raw / "a.md").write_text("First.")
    (raw / "deep" / "c.txt").write_text("Third.")
    (raw / "picture.png").write_bytes(b"\x89PNG")
    out = collected(tmp_path / "work", source=Source(at=str(raw), licence="MIT"), name="mine")
    rows = list(out.rows())
    assert [row["text"] for row in rows] == ["First.", "Second.", "Third."]
    assert [row["url"] for row in rows] == ["a.md", "b.txt", "deep/c.txt"]
    assert set(rows[0]) == set(DOCUMENT_COLUMNS) and rows[0]["source"] == "mine"
    assert json.loads(rows[0]["metadata"]) == {"licence": "MIT"}
    assert len({row["id"] for row in rows}) == 3


def test_the_same_files_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    shards = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.txt").write_text("A tale.")
        shards.append(collected(tmp_path / f"work-{place}", source=str(tmp_path / place)).shards()[0].read_bytes())
    assert shards[0] == shards[1] and str(tmp_path).encode() not in shards[0]


def test_html_becomes_its_main_text_by_either_extractor(tmp_path: Path) -> None:
    paragraph = "The fox met the hen at the gate, and they spoke for a while about the weather and the farmer. " * 4
    page = f"<html><body><nav>Home About</nav><script>var x</script><article><h1>Tale</h1><p>{paragraph}</p></article></body></html>"
    (tmp_path / "page.html").write_text(page)
    for extractor in ("resiliparse", "trafilatura"):
        (text,) = texts(collected(tmp_path / extractor, source=str(tmp_path / "page.html"), extractor=extractor))
        assert "The fox met the hen" in text and "var x" not in text and "<p>" not in text


def test_json_lines_compressed_or_not_are_read_by_field(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"body": f"Tale {n}.", "who": "Ann"}) for n in range(3))
    (tmp_path / "a.jsonl").write_text(lines + "\n\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with pa.CompressedOutputStream(str(tmp_path / "c.jsonl.zst"), "zstd") as file:
        file.write(lines.encode())
    out = collected(tmp_path / "work", source=str(tmp_path / "*.jsonl*"), text_field="body", metadata_fields=("who",))
    assert texts(out) == ["Tale 0.", "Tale 1.", "Tale 2."] * 3
    assert all(json.loads(row["metadata"])["who"] == "Ann" for row in out.rows())
    assert len({row["id"] for row in out.rows()}) == 9


def test_a_conversation_becomes_a_line_per_turn(tmp_path: Path) -> None:
    talk = {
        "x1": {"messages": [[{"text": "Hi"}, {"text": "there"}], [{"text": "Hello"}]]},
        "x2": {"messages": [{"role": "user", "content": "Who\nis it?"}, {"role": "assistant", "content": "Me."}]},
    }
    (tmp_path / "talk.json").write_text(json.dumps(talk))
    assert texts(collected(tmp_path / "work", source=str(tmp_path / "talk.json"), text_field="messages")) == [
        "Hi there\nHello",
        "Who is it?\nMe.",
    ]


def test_parquet_and_tables_are_read_by_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["From parquet."]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text('content,n\n"From a table, quoted.",1\n')
    (tmp_path / "c.tsv").write_text("content\tn\nFrom tabs.\t1\n")
    out = collected(tmp_path / "work", source=str(tmp_path), text_field="content")
    assert texts(out) == ["From parquet.", "From a table, quoted.", "From tabs."]


def test_an_orange_table_has_two_rows_that_are_not_data_and_its_own_paragraph_mark(tmp_path: Path) -> None:
    (tmp_path / "tales.tab").write_text("Title\tContent\nstring\tstring\n\tinclude=True\nFox\tOne.   Two.\n")
    out = collected(
        tmp_path / "work",
        source=str(tmp_path / "tales.tab"),
        format="orange",
        text_field="Content",
        paragraph_mark="  ",
    )
    assert texts(out) == ["One.\n\nTwo."]


def test_a_text_is_cut_where_split_matches(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("CHAPTER 1\nOne.\nCHAPTER 2\nTwo.\n")
    out = collected(tmp_path / "work", source=str(tmp_path / "book.txt"), split=r"(?m)^CHAPTER \d+$")
    assert texts(out) == ["One.", "Two."]
    assert len({row["id"] for row in out.rows()}) == 2


def test_a_limit_stops_after_so_many_documents_over_all_files(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": f"{name}{n}"}) for n in range(3)))
    assert texts(collected(tmp_path / "work", source=str(tmp_path / "*.jsonl"), limit=4)) == ["a0", "a1", "a2", "b0"]


def test_many_documents_become_several_shards(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"Tale {n}"}) for n in range(4500)))
    out = collected(tmp_path / "work", source=str(tmp_path / "a.jsonl"))
    assert [path.name for path in out.shards()] == [
        "part-00000-000.parquet",
        "part-00000-001.parquet",
        "part-00000-002.parquet",
    ]
    assert texts(out) == [f"Tale {n}" for n in range(4500)]


def test_nothing_to_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(StageFailed, match="no file of a known format"):
        collected(tmp_path / "work-1", source=str(tmp_path / "picture.png"))
    with pytest.raises(StageFailed, match="none of 1 texts has any content"):
        collected(tmp_path / "work-2", source=str(tmp_path / "empty.txt"))


def test_a_missing_field_and_a_broken_line_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(SourceError, match="has no field 'text'; it has: body"):
        collected(tmp_path / "work-1", source=str(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"text": \n')
    with pytest.raises(SourceError, match=r"b\.jsonl, line 2 is not JSON"):
        collected(tmp_path / "work-2", source=str(tmp_path / "b.jsonl"))
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match=r"c\.parquet cannot be read as parquet"):
        collected(tmp_path / "work-3", source=str(tmp_path / "c.parquet"))


def test_bytes_that_are_no_text_are_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n{"text": "\xff"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2 is not UTF-8"):
        collected(tmp_path / "work-1", source=str(tmp_path / "a.jsonl"))
    (tmp_path / "b.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(SourceError, match=r"b\.csv, line 2 is not UTF-8"):
        collected(tmp_path / "work-2", source=str(tmp_path / "b.csv"))


@pytest.mark.parametrize("name", ["a.txt.gz", "a.html.gz", "a.json.gz", "a.jsonl.gz", "a.csv.gz", "a.parquet.gz"])
def test_what_unpacks_to_too_much_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(readers, "LARGEST", 1 << 20)
    (tmp_path / name).write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(SourceError, match=rf"{name}(, line 1)? holds more than .* too much to read at once"):
        collected(tmp_path / "work", source=str(tmp_path / name))


def test_a_file_that_changes_while_it_is_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A tale.")

    def change(kind: str, **_: Any) -> None:
        (tmp_path / "a.txt").write_text("Another tale.")

    ctx = Context(Workspace(tmp_path / "work"), emit=change)
    with pytest.raises(SourceError, match="changed while it was read"):
        Collect(source=str(tmp_path / "a.txt")).run(Documents(tmp_path / "work" / "data"), ctx)


def test_a_split_that_is_no_regular_expression_is_refused_when_the_dag_is_drawn() -> None:
    with pytest.raises(DagError, match="not a regular expression"):
        Collect(source="a.txt", split="(")


def test_its_source_is_on_record_with_licence_and_content_and_counted_under_the_name_of_the_column(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a.txt", "b.txt"):
        (raw / name).write_text(f"A tale of {name}.")
    stage = Collect(source=Source(at=str(raw), licence="MIT"), name="tales")
    ctx = Context.local(tmp_path / "work")
    stage.run(Documents(tmp_path / "work" / "data"), ctx)
    assert ctx.metrics["from.tales.documents"] == 2
    (record,) = (stage.sources()[name] for name in ("tales",))
    assert (record.at, record.licence, len(record.revision)) == (str(raw), "MIT", 64)
    (raw / "a.txt").write_text("Another tale.")
    assert stage.sources()["tales"].revision != record.revision


def test_a_package_is_named_by_itself_and_by_its_pin_and_not_fetched_for_that() -> None:
    pinned = Collect(source=Source(at="pypi:no-such-package==1.0/a/*.txt", sha256="ab" * 32))
    bare = Collect(source="pypi:no-such-package==1.0/a/*.txt")
    assert pinned.sources()["no-such-package"].revision == "ab" * 32
    assert bare.sources()["no-such-package"].revision == ""
