"""The normal form: how code is written never moves it, what code does always moves it, and Python's version is no matter."""

from __future__ import annotations

import ast
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.code_scan import scan

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = [ROOT / "pipeline" / name for name in ("dag.py", "workspace.py", "stage.py", "code_reach.py", "canonical.py")]

LINES = [
    "def f(a, b=LIMIT, *c, d: int = 3, **e) -> int:",
    "    text = f'{a!r:>{b}} and {c}' f'more'",
    "    with open(text) as one, open('x') as two:",
    "        yield from (x for x in one if x)",
    "    if a:",
    "        return -1",
    "    return a[1:2, ::3], {**e, 'k': 0.5}, b'bytes', 'ü', 1_000, 2j, ...",
    "class C(Base, metaclass=M):",
    "    limit: int = 5",
    "    name: str",
    "    async def g(self, /, x): return [await y async for y in x]",
    "LIMIT = 10",
    "A, B = 1, 2",
    "A += 3",
    "match LIMIT:",
    "    case {'k': [1, *rest]} | C(limit=3):",
    "        pass",
]
SOURCE = "\n".join(LINES) + "\n"


def forms(source: str) -> dict[str, str]:
    return {name: unit["form"] for name, unit in scan(source.encode())["units"].items()}


def indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["# a word", "", "   ", "# ünï"]))))
def test_comments_and_blank_lines_never_change_it(insertions: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for place, text in sorted(insertions, reverse=True):
        lines.insert(place, indentation(LINES[place]) + text)
    assert forms("\n".join(lines) + "\n\n# end") == forms(SOURCE)


@given(st.sets(st.sampled_from(["def f(", "class C("])), st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_docstrings_never_change_it(places: set[str], text: str) -> None:
    lines = []
    for line in [repr(text), *LINES]:
        lines.append(line)
        if any(line.startswith(place) for place in places):
            lines.append("    " + repr(text))
    assert forms("\n".join(lines)) == forms(SOURCE)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_reformatting_never_changes_it(path: Path) -> None:
    source = path.read_text()
    assert forms(ast.unparse(ast.parse(source))) == forms(source)


@given(st.randoms(use_true_random=False))
def test_the_order_of_imports_and_definitions_never_changes_it(shuffled: random.Random) -> None:
    imports = ["import os", "import json as j", "from a.b import c, d as e", "from . import z"]
    definitions = [
        "def f(): return os, j, c, e, z\n",
        "X = 1\n",
        "class K:\n    import os, json\n    from a import b\n",
    ]
    first = forms("\n".join([*imports, *definitions]))
    shuffled.shuffle(imports)
    shuffled.shuffle(definitions)
    assert forms("\n".join([*imports, *definitions])) == first
    assert forms("class K:\n    from a import b\n    import json\n    import os\n")["K"] == first["K"]


CONSTANTS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.booleans(),
    st.none(),
)


@given(CONSTANTS, CONSTANTS)
def test_another_constant_always_changes_it(one: object, two: object) -> None:
    same = type(one) is type(two) and repr(one) == repr(two)
    source = "class C:\n    def f(self):\n        return [1, {value!r}]\n"
    assert (forms(source.format(value=one)) == forms(source.format(value=two))) == same


def _literals() -> list[tuple[int, ast.Constant]]:
    return [
        (place, node)
        for place, node in enumerate(ast.walk(ast.parse(SOURCE)))
        if isinstance(node, ast.Constant) and not isinstance(node.value, type(...))
    ]


@pytest.mark.parametrize("place", [place for place, _ in _literals()])
def test_every_literal_of_a_module_counts(place: int) -> None:
    tree = ast.parse(SOURCE)
    node = list(ast.walk(tree))[place]
    assert isinstance(node, ast.Constant)
    node.value = (
        node.value * 2 + type(node.value)(1)
        if isinstance(node.value, (int, float, complex))
        else node.value + node.value[:1]
    )
    assert forms(ast.unparse(ast.fix_missing_locations(tree))) != forms(SOURCE)


@given(st.sampled_from(["LIMIT", "text", "limit", "rest", "Base", "one"]))
def test_another_name_always_changes_it(name: str) -> None:
    assert forms(SOURCE.replace(name, name + "_")) != forms(SOURCE)


def test_only_the_definition_that_changed_is_named() -> None:
    before, after = forms(SOURCE), forms(SOURCE.replace("limit: int = 5", "limit: int = 6"))
    assert [name for name in before if before[name] != after[name]] == ["C"]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = f'a' 'b' f'{y}'", "x = f'ab{y}'"),
        ("x = 'a' 'b'", "x = 'ab'"),
        ("x = (1)", "x = 1"),
        ("x = u'a'", "x = 'a'"),
        ("x = 0x10", "x = 16"),
        ("def f():\n    pass", "def f():\n    'words'"),
        ("with (open(a) as b,\n      open(c) as d):\n    pass", "with open(a) as b, open(c) as d: pass"),
    ],
)
def test_two_spellings_are_one(one: str, two: str) -> None:
    assert forms(one) == forms(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = ''", "x = b''"),
        ("x = None", "x = ()"),
        ("x = 0.0", "x = -0.0"),
        ("x = {**a, 'b': c}", "x = {'b': c, **a}"),
        ("x = y[1:]", "x = y[:1]"),
        ("x = f'{y}'", "x = f'{y!r}'"),
        ("x = f'{y}'", "x = f'{y:>3}'"),
        ("def f(a, b): pass", "def f(b, a): pass"),
        ("def f(a, /, b): pass", "def f(a, b): pass"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("async def f(): pass", "def f(): pass"),
        ("x = a.b.c", "x = a.c.b"),
        ("class C(a): pass", "class C(b): pass"),
        ("x = a and b or c", "x = a and (b or c)"),
        ("def f(): return", "def f(): pass"),
        ("def f(x): return x", "def f(x): yield x"),
        ("x = [a for a in b]", "x = {a for a in b}"),
        ("x = 1 < 2", "x = 1 <= 2"),
    ],
)
def test_two_meanings_are_two(one: str, two: str) -> None:
    assert forms(one) != forms(two)


def _other_pythons() -> list[str]:
    found = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14) if minor != sys.version_info.minor]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))]
    return [path for path in found if path]


@pytest.mark.parametrize("python", _other_pythons() or [sys.executable])
def test_the_form_is_the_same_on_every_python(python: str, tmp_path: Path) -> None:
    code = (
        "import sys, json; from importlib import util\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import types; bare = sys.modules['pipeline'] = types.ModuleType('pipeline')\n"  # without its dependencies
        "bare.__path__ = [sys.argv[1] + '/pipeline']\n"
        "from pipeline.code_scan import scan\n"
        "print(json.dumps([scan(open(name, 'rb').read()) for name in sys.argv[2:]]))"
    )
    sources = [*SAMPLES, Path(__file__), *sorted((ROOT / "stages").rglob("*.py"))]
    paths = [shutil.copy(path, tmp_path / f"{number}.py") for number, path in enumerate(sources)]
    told = [
        subprocess.run([one, "-B", "-c", code, str(ROOT), *paths], capture_output=True, text=True, check=False)
        for one in (sys.executable, python)
    ]
    if told[1].returncode and "command not found" in told[1].stderr:  # a version manager's placeholder
        pytest.skip(f"{python} is not installed")
    assert told[0].stdout and told[0].stdout == told[1].stdout, told[1].stderr


def test_long_numbers_deep_nesting_and_null_bytes_are_survived() -> None:
    assert forms("x = 0x" + "f" * 9000)
    with pytest.raises(SyntaxError):
        scan(b"x = " + b"-" * 50_000 + b"1")
    with pytest.raises(SyntaxError):
        scan(b"x = 1\0")
