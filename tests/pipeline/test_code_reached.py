"""Code that a stage reaches in roundabout ways counts, and code that only looks as if it were reached does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.code import code_record, explain_drift
from tests.pipeline.projects import Write, names


def test_importing_a_module_by_its_whole_name_reaches_only_what_is_used(project: Write) -> None:
    one = "def first(): pass\ndef spare(): pass\n"
    mine = "class Mine:\n    def run(self):\n        import work.one\n        work.one.first()\n"
    assert names(project("work.mine", work__init="", work__one=one, work__mine=mine)) == [
        "work/mine.py:Mine",
        "work/one.py:first",
    ]


def test_a_name_imported_twice_is_followed_once(project: Write) -> None:
    mine = "from .one import first\nfrom work.one import first\nclass Mine:\n    def run(self): first()\n"
    found = names(
        project("work.mine", work__init="", work__one="def first(): pass\ndef spare(): pass\n", work__mine=mine)
    )
    assert found == ["work/mine.py:Mine", "work/one.py:first"]


@pytest.mark.parametrize(
    "body",
    [
        "def run(self, spare): return spare",
        "def run(self, *spare, **more): return spare, more",
        "def run(self):\n        spare = 3\n        return spare + 1",
        "def run(self):\n        for spare in (1, 2): print(spare)",
        "def run(self):\n        with open('x') as spare: return spare.read()",
        "def run(self): return [spare for spare in (1, 2)]",
        "def run(self): return lambda spare: spare",
        "def run(self):\n        def spare(): pass\n        return [spare() for _ in 'ab']",
        "def run(self):\n        try: pass\n        except OSError as spare: return spare",
        "def run(self, x):\n        match x:\n            case {'a': [spare, *more]}: return spare, more",
        "def run(self):\n        spare = 1\n        def inner():\n            nonlocal spare\n            return spare",
    ],
)
def test_a_name_of_a_functions_own_is_not_the_modules(project: Write, body: str) -> None:
    mine = f"def spare(): pass\ndef more(): pass\nclass Mine:\n    {body}\n"
    assert names(project("work.mine", work__init="", work__mine=mine)) == ["work/mine.py:Mine"]


@pytest.mark.parametrize(
    "body",
    [
        "def run(self, given=used): return given",
        "def run(self, given: used): return given",
        "def run(self): return [used for used in used]",
        "def run(self): return [x for x in (1, 2)], used",
        "used = used",
        "def run(self):\n        global used\n        used = 3\n        return used",
        "def run(self):\n        return [used for x in (1, 2)]",
        "@used\n    def run(self, used): return used",
        "def run(self):\n        class Inner:\n            used = 3\n        return used",
        "def run(self):\n        def inner(used): return used\n        return used",
        "def run(self, given: 'list[used]'): return given",
    ],
)
def test_the_modules_name_counts_wherever_python_looks_it_up(project: Write, body: str) -> None:
    mine = f"def used(f=None): return f\nclass Mine:\n    {body}\n"
    assert names(project("work.mine", work__init="", work__mine=mine)) == ["work/mine.py:Mine", "work/mine.py:used"]


def test_one_function_may_import_what_another_takes_from_its_module(project: Write) -> None:
    mine = (
        "def tool(): pass\nclass Mine:\n    def a(self):\n        from work.one import tool\n        tool()\n"
        "    def run(self): tool()\n"
    )
    found = names(project("work.mine", work__init="", work__one="def tool(): pass\n", work__mine=mine))
    assert found == ["work/mine.py:Mine", "work/mine.py:tool", "work/one.py:tool"]


def test_a_name_bound_on_the_way_counts(project: Write) -> None:
    mine = "LONG = [SHORT := 3]\nclass Mine:\n    def run(self): return SHORT\n"
    assert names(project("work.mine", work__init="", work__mine=mine)) == ["work/mine.py:LONG", "work/mine.py:Mine"]


def test_of_two_stars_the_last_one_stands(project: Write) -> None:
    both = {"work__one": "def tool(): return 1\n", "work__two": "def tool(): return 2\n"}
    mine = "from work.one import *\nfrom work.two import *\nclass Mine:\n    def run(self): tool()\n"
    found = names(project("work.mine", work__init="", **both, work__mine=mine))
    assert found == ["work/mine.py:Mine", "work/two.py:tool"]


def test_a_package_that_comes_by_a_star_is_recorded(project: Write) -> None:
    mine = "from numpy import *\nclass Mine:\n    def run(self): return ones(3)\n"
    assert list(code_record(project("work.mine", work__init="", work__mine=mine)).packages) == ["numpy"]


RULES = "RULES = []\ndef register(f):\n    RULES.append(f)\n    return f\n"
RULE = "from work.base import register\n@register\ndef short(): pass\ndef spare(): pass\n"


@pytest.mark.parametrize(
    ("init", "mine"),
    [
        ("", "from work.rules import short\n"),
        ("", "from work import rules\n"),
        ("", "import work.rules\n"),
        ("from work import rules\n", ""),
        ("from . import rules\n", ""),
        ("from .rules import short\n", ""),
    ],
)
def test_what_registers_itself_on_import_counts(project: Write, init: str, mine: str) -> None:
    mine += "from work.base import RULES\nclass Mine:\n    def run(self): return [rule() for rule in RULES]\n"
    stage = project("work.mine", work__init=init, work__base=RULES, work__rules=RULE, work__mine=mine)
    assert "work/rules.py:short" in names(stage) and "work/rules.py:spare" not in names(stage)


@pytest.mark.parametrize(
    ("base", "use"),
    [
        ("KNOWN = []\nclass Rule:\n    def __init_subclass__(cls):\n        KNOWN.append(cls)\n", "KNOWN"),
        ("class Rule: pass\n", "Rule.__subclasses__()"),
        (
            "KNOWN = []\nclass Meta(type):\n    def __init__(cls, *a):\n        KNOWN.append(cls)\nclass Rule(metaclass=Meta): pass\n",
            "KNOWN",
        ),
    ],
)
def test_a_subclass_that_its_base_knows_of_counts(project: Write, base: str, use: str) -> None:
    rules = "from work.base import Rule\nclass Long(Rule): pass\nclass Longer(Long): pass\nclass Spare: pass\n"
    mine = f"import work.rules\nfrom work.base import *\nclass Mine:\n    def run(self): return {use}\n"
    found = names(project("work.mine", work__init="", work__base=base, work__rules=rules, work__mine=mine))
    assert {"work/rules.py:Long", "work/rules.py:Longer"} <= set(found) and "work/rules.py:Spare" not in found


@pytest.mark.parametrize("named", ['f"work.rules.{name}"', '"work.rules." + name', '"work.rules.%s" % name'])
def test_modules_imported_by_a_computed_name_count_all(project: Write, tmp_path: Path, named: str) -> None:
    files = {"work__init": "", "work__rules__init": "", "work__rules__a": "A = 1\n", "work__rules__b": "B = 1\n"}
    mine = f"import importlib\nclass Mine:\n    def run(self, name): importlib.import_module({named})\n"
    stage = project("work.mine", **files, work__mine=mine)
    before = code_record(stage)
    assert {"work/rules/a.py:A", "work/rules/b.py:B"} <= set(before.definitions)
    (tmp_path / "root" / "work" / "rules" / "c.py").write_text("C = 1\n")
    assert explain_drift(before, code_record(stage)) == "work/rules/c.py:C added"


@pytest.mark.parametrize(
    "read",
    [
        "(Path(__file__).parents[1] / 'data' / 'words.txt').read_text()",
        "(Path(__file__).parent.parent / 'data/words.txt').read_text()",
        "(Path(__file__).parent / '..' / 'data' / 'words.txt').read_text()",
        "(resources.files('work') / 'data' / 'words.txt').read_text()",
        "resources.files('work').joinpath('data', 'words.txt').read_text()",
        "resources.files('work.data').joinpath('words.txt').read_text()",
        "pkgutil.get_data('work', 'data/words.txt')",
    ],
)
def test_data_in_a_package_above_counts(project: Write, tmp_path: Path, read: str) -> None:
    mine = f"import pkgutil\nfrom importlib import resources\nfrom pathlib import Path\nclass Mine:\n    def run(self): return {read}\n"
    stage = project("work.deep.mine", work__init="", work__deep__init="", work__deep__mine=mine)
    words = tmp_path / "root" / "work" / "data" / "words.txt"
    words.parent.mkdir()
    words.write_text("one")
    before = code_record(stage)
    words.write_text("two")
    assert explain_drift(before, code_record(stage)) == "work/data/words.txt changed"


def test_another_package_of_the_same_folder_counts(project: Write) -> None:
    other = {
        "other__init": "",
        "other__tools": "def tool(): pass\ndef spare(): pass\n",
        "loose": "def single(): pass\n",
    }
    mine = "from loose import single\nfrom other.tools import tool\nclass Mine:\n    def run(self): tool(), single()\n"
    found = names(project("work.mine", work__init="", **other, work__mine=mine))
    assert found == ["loose.py:single", "other/tools.py:tool", "work/mine.py:Mine"]
