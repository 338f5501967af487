"""The code digest over time: what a change does to it, what is kept, and what a person is told of a difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import code, code_files
from pipeline.code import changed_packages, code_record, explain_drift
from pipeline.code_files import RACY_NS
from pipeline.errors import DagError
from pipeline.manifest import CodeRecord
from tests.pipeline.projects import PACKAGE, Write, names


def test_what_an_imported_name_stands_for_counts(project: Write) -> None:
    source = "from {} import sqrt\nclass Mine:\n    def run(self): return sqrt(4)\n"
    before = code_record(project("mine", mine=source.format("math")))
    after = code_record(project("mine", mine=source.format("cmath")))
    assert explain_drift(before, after) == "mine.py:Mine changed"


def test_a_syntax_error_is_told_with_file_and_line(project: Write, tmp_path: Path) -> None:
    stage = project(
        "work.mine", **PACKAGE, work__mine="class Mine:\n    def run(self):\n        from work.one import first\n"
    )
    (tmp_path / "root" / "work" / "one.py").write_text("x = 1\ndef first(:\n")
    with pytest.raises(DagError, match=r"work/one\.py:2 cannot be read as Python"):
        code_record(stage)
    (tmp_path / "root" / "work" / "one.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(DagError, match=r"work/one\.py"):
        code_record(stage)


def test_a_class_without_a_file_is_refused() -> None:
    with pytest.raises(DagError, match="defined in no file"):
        code_record(type("Loose", (), {"__module__": "nowhere_at_all"}))


def test_a_change_is_seen_at_once_in_the_same_process(project: Write, tmp_path: Path) -> None:
    stage = project(
        "work.mine", **PACKAGE, work__mine="from work.one import first\nclass Mine:\n    def run(self): first()\n"
    )
    path = tmp_path / "root" / "work" / "one.py"
    digests = set()
    for limit in range(8):  # one length, written faster than some clocks tick
        path.write_text(f"def first():\n    return {limit}\n")
        digests.add(code_record(stage).digest)
    assert len(digests) == 8


def test_a_module_that_appears_later_is_found(project: Write, tmp_path: Path) -> None:
    stage = project(
        "work.mine", work__init="", work__mine="class Mine:\n    def run(self):\n        from work.late import x\n"
    )
    assert names(stage) == ["work/mine.py:Mine"]
    (tmp_path / "root" / "work" / "late.py").write_text("x = 1\n")
    assert names(stage) == ["work/late.py:x", "work/mine.py:Mine"]


def changed_at(root: Path, time_ns: int) -> None:
    """Let all at and below `root` have been changed at that time."""
    for path in (root, *root.rglob("*")):
        os.utime(path, ns=(time_ns, time_ns))


def test_the_cache_is_written_once_and_a_broken_one_is_ignored(project: Write, tmp_path: Path) -> None:
    stage = project(
        "work.mine", **PACKAGE, work__mine="from work import first\nclass Mine:\n    def run(self): first()\n"
    )
    # what is fresh is read, and noted, once more when it has rested
    changed_at(tmp_path / "root", time.time_ns() - 2 * RACY_NS)
    record = code_record(stage)
    kept = sorted((tmp_path / "cache" / "corpusmill").iterdir())
    assert [path.suffix for path in kept] == [".json"] * len(kept)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept]
    assert code_record(stage) == record == fresh(stage, tmp_path)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept] == before
    for text in ("{", "[]", '{"records": 3}', json.dumps({"records": {}, "packages": []})):
        for path in kept:
            path.write_text(text)
        assert fresh(stage, tmp_path) == record


def fresh(stage: type, tmp_path: Path) -> CodeRecord:
    """The record as another process finds it."""
    code = f"from {stage.__module__} import Mine\nfrom pipeline.code import code_record\nprint(code_record(Mine).model_dump_json())"
    root = Path(__file__).resolve().parents[2]
    paths = f"{tmp_path / 'root'}:{root}"
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return CodeRecord.model_validate_json(answer.stdout)


def test_a_cache_folder_that_cannot_be_written_costs_nothing_else(
    project: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = project("mine", mine="class Mine: pass\n")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert names(stage) == ["mine.py:Mine"]


def test_differences_are_told_shortly() -> None:
    old = CodeRecord(
        digest="1", definitions={"a": "1", "b": "1", "c": "1"}, packages={"x": "0.10", "y": "1", "gone": "2"}
    )
    new = CodeRecord(digest="2", definitions={"a": "1", "b": "2", "d": "1"}, packages={"x": "0.11", "y": "1"})
    assert explain_drift(old, new) == "b changed and 2 more"
    assert explain_drift(old, old) == ""
    some, more = (
        CodeRecord(digest="1", definitions={"a": "1"}),
        CodeRecord(digest="2", definitions={"a": "1", "b": "1"}),
    )
    assert (explain_drift(some, more), explain_drift(more, some)) == ("b added", "b removed")
    assert "another form" in explain_drift(CodeRecord(digest="1"), CodeRecord(digest="2"))
    assert changed_packages(old, new) == ["gone 2 → absent", "x 0.10 → 0.11"]


def test_the_cache_forgets_files_that_are_gone(project: Write, tmp_path: Path) -> None:
    code_record(project("gone_soon", gone_soon="class Mine: pass\n"))
    cache = tmp_path / "cache" / "corpusmill"
    assert any("gone_soon" in path.read_text() for path in cache.iterdir())
    (tmp_path / "root" / "gone_soon.py").unlink()
    code_record(project("here_still", here_still="class Mine: pass\n"))
    assert not any("gone_soon" in path.read_text() for path in cache.iterdir())
    assert any("here_still" in path.read_text() for path in cache.iterdir())


def test_a_file_inside_a_package_that_is_run_by_its_path_finds_its_package(project: Write, tmp_path: Path) -> None:
    mine = "from work.one import first\nclass Mine:\n    def run(self): first()\n"
    inside = project("work.mine", **PACKAGE, work__mine=mine)
    by_name = code_record(inside)
    sys.path.insert(0, str(tmp_path / "root" / "work"))
    try:
        by_path = code_record(project("mine", **PACKAGE, work__mine=mine))
    finally:
        sys.path.remove(str(tmp_path / "root" / "work"))
    assert [name.rsplit("/", 1)[-1] for name in by_path.definitions] == ["mine.py:Mine", "one.py:LIMIT", "one.py:first"]
    assert {name.rsplit("/", 1)[-1] for name in by_name.definitions} == {"mine.py:Mine", "one.py:LIMIT", "one.py:first"}


def test_a_file_that_was_read_while_fresh_is_trusted_once_it_has_rested(
    project: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, now = project("mine", mine="class Mine: pass\n"), time.time_ns()
    changed_at(tmp_path / "root", now)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    before = code_record(stage)
    kept = {path.name: path.read_text() for path in (tmp_path / "cache" / "corpusmill").iterdir()}
    monkeypatch.setattr(time, "time_ns", lambda: now + 2 * RACY_NS)
    assert code_record(stage) == before
    monkeypatch.setattr(code_files, "_digest", lambda path: pytest.fail("read again"))
    assert code_record(stage) == before
    assert all(path.read_text() != kept[path.name] for path in (tmp_path / "cache" / "corpusmill").iterdir())


def test_threads_that_ask_at_once_are_answered_one_after_the_other(
    project: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, inside, most = project("mine", mine="class Mine:\n    def run(self): return 1\n"), [0], [0]
    files = code._FILES.save

    def slowly() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        inside[0] -= 1
        files()

    monkeypatch.setattr(code._FILES, "save", slowly)
    monkeypatch.setattr(code, "_stands", lambda kept: False)
    with ThreadPoolExecutor(4) as threads:
        records = list(threads.map(code_record, [stage] * 4))
    assert most == [1] and len({record.digest for record in records}) == 1
