"""CollectPydoc: pages of Python's own library with nothing of the machine in them, the same in two runs."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline import Context, DagError, StageFailed
from stages.collect_pydoc import CollectPydoc, this_python
from stages.kinds import Documents
from stages.text.pydoc_modules import MODULES

TELLING = ("tempfile", "configparser", "http.client", "difflib", "ssl", "multiprocessing", "time", "smtplib")
"""Modules whose pages hold sets, addresses, paths or values of the machine unless they are taken out."""


def pages(work: Path, **settings: object) -> Documents:
    ctx, out = Context.local(work), Documents(work / "data")
    CollectPydoc(**settings).run(out, ctx)
    return out


def test_two_runs_in_different_environments_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pages(tmp_path / "one", modules=TELLING)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    two = pages(tmp_path / "two", modules=TELLING)
    assert [path.read_bytes() for path in one.shards()] == [path.read_bytes() for path in two.shards()]


def test_nothing_of_the_machine_enters_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMILL_SECRET", "open-sesame-4711")
    out = pages(tmp_path, modules=TELLING)
    html = "".join(path.read_text() for path in (tmp_path / "scratch" / "pages").glob("*.html"))
    text = html + "".join(json.dumps(row) for row in out.rows())
    folders = {
        sys.prefix,
        sys.base_prefix,
        sysconfig.get_paths()["stdlib"],
        str(Path.home()),
        os.getcwd(),
        str(tmp_path),
    } - {"/", "/usr", "/usr/local"}
    for secret in ("open-sesame-4711", "file:", "at 0x", "at&nbsp;0x", *folders):
        assert secret not in text
    assert "HTTPConnection" in text and "mkstemp" in text


def test_a_page_is_a_document_with_its_licence(tmp_path: Path) -> None:
    (row,) = pages(tmp_path, modules=("textwrap",), classes=False).rows()
    assert row["url"] == "pydoc:textwrap" and row["source"] == "pydoc" and len(row["id"]) == 32
    assert json.loads(row["metadata"]) == {"licence": "PSF-2.0", "python": this_python()}
    assert "Text wrapping and filling" in row["text"] and "<" not in row["text"][:50]


def test_each_public_class_of_a_module_has_a_page_of_its_own(tmp_path: Path) -> None:
    rows = {row["url"]: row["text"] for row in pages(tmp_path, modules=("queue",)).rows()}
    assert {"pydoc:queue", "pydoc:queue.Queue", "pydoc:queue.PriorityQueue", "pydoc:queue.Full"} <= set(rows)
    assert "Put an item into the queue" in rows["pydoc:queue.Queue"]


def test_a_module_that_this_python_lacks_is_left_out(tmp_path: Path) -> None:
    assert [row["url"] for row in pages(tmp_path, modules=("no_such_module", "heapq"), classes=False).rows()] == [
        "pydoc:heapq"
    ]
    with pytest.raises(StageFailed, match="no page of 1 modules"):
        pages(tmp_path / "none", modules=("no_such_module",))


def test_another_python_than_the_one_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"wanted of Python 3\.0\.0"):
        pages(tmp_path, python="3.0.0", modules=("heapq",))


def test_what_is_no_name_of_a_module_is_refused_when_the_dag_is_drawn() -> None:
    for modules in ((), ("a b",), ("heapq", "heapq"), ("../evil",)):
        with pytest.raises(DagError, match="names of modules"):
            CollectPydoc(modules=modules)


def test_the_default_modules_are_distinct_and_none_tells_of_the_machine() -> None:
    assert len(set(MODULES)) == len(MODULES) >= 120
    assert not {"os", "posix", "sys", "site", "sysconfig", "platform", "antigravity", "this"} & set(MODULES)


def test_its_source_is_this_python_under_its_licence(tmp_path: Path) -> None:
    stage, ctx = CollectPydoc(modules=("time",)), Context.local(tmp_path)
    stage.run(Documents(tmp_path / "data"), ctx)
    (record,) = stage.sources().values()
    assert (record.licence, record.revision) == ("PSF-2.0", f"Python {this_python()}")
    assert ctx.metrics["from.pydoc.documents"] == ctx.metrics["documents"] > 0
