"""The code digest: what is reached, what is not, and what a person is told of a difference."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.code import changed_packages, code_record, explain_drift
from pipeline.errors import DagError
from pipeline.manifest import CodeRecord

Write = Callable[..., type]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files below a folder of its own and returns the class `Mine` of the module asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)

    def write(module: str, **files: str) -> type:
        for name, text in files.items():
            path = root / (name.replace("__", "/").replace("/init", "/__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
                del sys.modules[name]
        importlib.invalidate_caches()
        found: type = importlib.import_module(module).Mine
        return found

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
            del sys.modules[name]


def names(stage: type) -> list[str]:
    return list(code_record(stage).definitions)


PACKAGE = {
    "work__init": "from work.one import first\nfrom work.two import second\n",
    "work__one": "def first():\n    return LIMIT\n\nLIMIT = 1\n",
    "work__two": "def second():\n    return 2\n",
}


def test_only_what_the_class_mentions_is_reached(project: Write) -> None:
    mine = "from work.one import first\nclass Mine:\n    def run(self): first()\ndef dag(): Mine()\n"
    stage = project("work.mine", **PACKAGE, work__mine=mine)
    assert names(stage) == ["work/mine.py:Mine", "work/one.py:LIMIT", "work/one.py:first"]


@pytest.mark.parametrize(
    "source",
    [
        "from work import first\nclass Mine:\n    def run(self): first()\n",
        "from . import first\nclass Mine:\n    def run(self): first()\n",
        "from .one import first as f\nclass Mine:\n    def run(self): f()\n",
        "import work.one as one\nclass Mine:\n    def run(self): one.first()\n",
        "import work.one\nclass Mine:\n    def run(self): work.one.first()\n",
        "from work import one\nclass Mine:\n    def run(self): one.first()\n",
        "import work\nclass Mine:\n    def run(self): work.first()\n",
        "class Mine:\n    def run(self):\n        from work import first\n        first()\n",
        "class Mine:\n    def run(self):\n        import work.one as one\n        one.first()\n",
        "try:\n    from work.one import first\nexcept ImportError:\n    first = None\nclass Mine:\n    def run(self): first()\n",
        "from work.one import *\nclass Mine:\n    def run(self): first()\n",
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from work import first\n"
        "class Mine:\n    field: 'first'\n",
    ],
)
def test_every_way_to_import_reaches_the_defining_module_alone(project: Write, source: str) -> None:
    stage = project("work.mine", **PACKAGE, work__mine=source)
    found = [name for name in names(stage) if not name.startswith("work/mine.py")]
    assert found == ["work/one.py:LIMIT", "work/one.py:first"]


def test_reexports_are_followed_through_several_packages(project: Write) -> None:
    files = {
        "work__init": "",
        "work__text__init": "from .inner import *\n",
        "work__text__inner__init": "from .deep import thing as thing, other\n",
        "work__text__inner__deep": "def thing(): pass\ndef other(): pass\n",
    }
    stage = project(
        "work.mine", **files, work__mine="from work.text import thing\nclass Mine:\n    def run(self): thing()\n"
    )
    assert names(stage) == ["work/mine.py:Mine", "work/text/inner/deep.py:thing"]


def test_a_lazy_package_is_read_by_its_table(project: Write) -> None:
    lazy = (
        "import importlib\n_WHERE = {'first': '.one', 'second': 'two'}\n"
        "def __getattr__(name):\n    return getattr(importlib.import_module('work.' + _WHERE[name].strip('.')), name)\n"
    )
    mine = "class Mine:\n    def run(self):\n        from work import first, second\n"
    stage = project("work.mine", **{**PACKAGE, "work__init": lazy}, work__mine=mine)
    assert names(stage)[1:] == ["work/one.py:LIMIT", "work/one.py:first", "work/two.py:second"]


def test_base_classes_in_other_modules_are_reached(project: Write) -> None:
    base = "class Base:\n    def help(self): return tool()\ndef tool(): pass\ndef unrelated(): pass\n"
    stage = project(
        "work.mine", work__init="", work__base=base, work__mine="from .base import Base\nclass Mine(Base): pass\n"
    )
    assert names(stage) == ["work/base.py:Base", "work/base.py:tool", "work/mine.py:Mine"]


def test_a_module_handed_on_as_a_whole_is_reached_as_a_whole(project: Write) -> None:
    mine = "from work import one\nclass Mine:\n    def run(self, name): getattr(one, name)()\n"
    assert "work/one.py:spare" in names(
        project("work.mine", work__init="", work__one="def first(): pass\ndef spare(): pass\n", work__mine=mine)
    )


def test_code_that_reaches_by_name_reaches_its_whole_module(project: Write) -> None:
    mine = "def a(): pass\ndef b(): pass\nclass Mine:\n    def run(self, name): globals()[name]()\n"
    assert names(project("work.mine", work__init="", work__mine=mine)) == [
        "work/mine.py:Mine",
        "work/mine.py:a",
        "work/mine.py:b",
    ]


def test_what_runs_on_import_counts_and_the_main_block_does_not(project: Write) -> None:
    rules = (
        "RULES = []\ndef register(f):\n    RULES.append(f)\n    return f\n@register\ndef one(): pass\nRULES.sort()\n"
    )
    mine = "from .rules import RULES\nclass Mine:\n    def run(self): return RULES\nif __name__ == '__main__':\n    print(Mine)\n"
    found = names(project("work.mine", work__init="", work__rules=rules, work__mine=mine))
    assert found == [
        "work/mine.py:Mine",
        *(f"work/rules.py:{name}" for name in ("<module>", "RULES", "one", "register")),
    ]


def test_an_import_for_effect_counts(project: Write) -> None:
    stage = project(
        "work.mine",
        work__init="",
        work__setup="print\nX = 1\nprint(X)\n",
        work__mine="import work.setup\nclass Mine: pass\n",
    )
    assert "work/setup.py:<module>" in names(stage)


def test_data_files_beside_the_module_count(project: Write, tmp_path: Path) -> None:
    mine = (
        "from pathlib import Path\nclass Mine:\n"
        "    def run(self): return (Path(__file__).parent / 'data' / 'words.txt').read_text(), Path(__file__).with_name('x.json')\n"
    )
    folder = tmp_path / "root" / "work"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "words.txt").write_text("one")
    (folder / "x.json").write_text("{}")
    stage = project("work.mine", work__init="", work__mine=mine)
    before = code_record(stage)
    assert list(before.definitions) == ["work/data/words.txt", "work/mine.py:Mine", "work/x.json"]
    (folder / "data" / "words.txt").write_text("two")
    assert explain_drift(before, code_record(stage)) == "work/data/words.txt changed"


def test_a_folder_of_data_counts_file_by_file(project: Write, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "work" / "prompts"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    mine = "from pathlib import Path\nHERE = Path(__file__).parent\nclass Mine:\n    def run(self): return (HERE / 'prompts').rglob('*')\n"
    stage = project("work.mine", work__init="", work__mine=mine)
    before = code_record(stage)
    assert "work/prompts/a.txt" in before.definitions
    (folder / "more" / "b.txt").write_text("b")
    assert explain_drift(before, code_record(stage)) == "work/prompts/more/b.txt added"


def test_a_script_run_beside_the_module_counts_as_code(project: Write) -> None:
    files = {"work__init": "", "work__worker": "def work(): pass\nif __name__ == '__main__':\n    work()\n"}
    by_file = "from pathlib import Path\nclass Mine:\n    def run(self): return Path(__file__).with_name('worker.py')\n"
    by_name = "class Mine:\n    def run(self): return ['-m', 'work.worker']\n"
    for mine in (by_file, by_name):
        found = names(project("work.mine", **files, work__mine=mine))
        assert found == ["work/mine.py:Mine", "work/worker.py:<main>", "work/worker.py:work"]


def test_the_orchestrator_and_libraries_never_count(project: Write) -> None:
    mine = (
        "from pipeline import Stage\nfrom pipeline.artifact import Artifact\nimport json, numpy\n"
        "class Mine(Stage[Artifact]):\n    def run(self, out, ctx): json.dumps(numpy.ones(1))\n"
    )
    record = code_record(project("work.mine", work__init="", work__mine=mine))
    assert list(record.definitions) == ["work/mine.py:Mine"]
    import numpy

    assert record.packages == {"numpy": numpy.__version__}


def test_packages_are_those_reached_lazily_too_and_by_their_own_names(project: Write) -> None:
    from importlib import metadata

    mine = (
        "import yaml\ntry:\n    import nothere_at_all_x as nothere\nexcept ImportError:\n    nothere = 1\n"
        "class Mine:\n    def run(self):\n        import datatrove.data\n        return yaml, nothere\n"
    )
    record = code_record(project("work.mine", work__init="", work__mine=mine))
    found = {name.lower(): version for name, version in record.packages.items()}
    assert found == {"datatrove": metadata.version("datatrove"), "pyyaml": metadata.version("PyYAML")}


def test_a_users_file_reaches_its_neighbours_and_our_stages(project: Write) -> None:
    mine = "import helper\nfrom stages.kinds import Documents\nclass Mine:\n    documents: Documents\n    def run(self): helper.tool()\n"
    found = names(project("mine", helper="def tool(): pass\ndef spare(): pass\n", mine=mine))
    assert found[:2] == ["helper.py:tool", "mine.py:Mine"]
    assert "stages/kinds.py:Documents" in found and "stages/kinds.py:Chats" not in found


def test_a_dag_function_in_the_file_of_its_stage_does_not_count(project: Write) -> None:
    source = "from pipeline import Dag\nclass Mine:\n    limit = 1\ndef dag(*, limit={}):\n    return Dag(Mine())\n"
    before = code_record(project("mine", mine=source.format(1)))
    assert code_record(project("mine", mine=source.format(25))) == before


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


def test_the_cache_is_written_once_and_a_broken_one_is_ignored(project: Write, tmp_path: Path) -> None:
    stage = project(
        "work.mine", **PACKAGE, work__mine="from work import first\nclass Mine:\n    def run(self): first()\n"
    )
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
