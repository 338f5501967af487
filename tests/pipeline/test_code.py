"""The code digest: what of the code around a stage is reached, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.code import code_record, explain_drift
from tests.pipeline.projects import PACKAGE, Write, names


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
