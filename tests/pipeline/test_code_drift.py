"""Packages made and edited at random: an edit shows as drift where, and only where, the stage reaches what was edited.

What the stage computes is the witness: an edit that changes it must show, by the name of the definition or file.
"""

from __future__ import annotations

import ast
import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.code import code_record, explain_drift
from pipeline.manifest import CodeRecord
from tests.pipeline.generated import Made, files, package, reached


class Written:
    """A package on disk, written again after each edit; what its stage computes, and the record of its code."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, texts: dict[str, str]) -> tuple[str, CodeRecord]:
        for name, text in texts.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.forget()
        stage: Any = importlib.import_module("work.mine").Mine
        return repr(stage().run()), code_record(stage)

    def forget(self) -> None:
        for name in [name for name in sys.modules if name == "work" or name.startswith("work.")]:
            del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "root").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "root"))
    made = Written(tmp_path / "root")
    yield made
    made.forget()


def owner(one: Made) -> str:
    return f"{one.shown}_holder" if one.kind == "attribute" else one.shown


@pytest.mark.parametrize("seed", range(14))
def test_an_edit_shows_where_it_is_reached_and_nowhere_else(seed: int, written: Written) -> None:
    made = package(seed)
    told, before = written.write(files(made))
    counts = reached(made)
    for one in made:
        one.number += 1
        now, after = written.write(files(made))
        assert (now != told) == (one.name in counts), f"the package itself is wrong about {one}"
        expected = f"{owner(one)} changed" if one.name in counts else ""
        assert explain_drift(before, after) == expected
        one.number -= 1
    assert written.write(files(made)) == (told, before)


@pytest.mark.parametrize("seed", range(100, 105))
def test_how_code_is_written_and_what_nobody_reaches_never_shows(seed: int, written: Written) -> None:
    rng, made = random.Random(seed), package(seed)
    texts = files(made)
    told, before = written.write(texts)
    for number in range(4):
        again = {name: rewritten(rng, name, text, number) for name, text in texts.items()}
        again |= {f"work/another{number}.py": "def alone(): return 1\n", "elsewhere.py": f"X = {number}\n"}
        now, after = written.write(again)
        assert (now, after) == (told, before)


def rewritten(rng: random.Random, name: str, text: str, number: int) -> str:
    """Another spelling of the file with a function more, which nobody reaches."""
    if not name.endswith(".py"):
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and rng.random() < 0.5:
            node.body.insert(0, ast.Expr(ast.Constant(f"Words {number}.")))
    lines = ast.unparse(ast.fix_missing_locations(tree)).splitlines() if rng.random() < 0.7 else text.splitlines()
    for place in sorted(rng.sample(range(len(lines) + 1), min(3, len(lines))), reverse=True):
        lines.insert(place, rng.choice(["", f"# words {number}"]))
    star = name.endswith("inner.py")  # a package hands on what its inner module has
    spare = [f"def spare_{number}():", f"    return {number}"] if not star else []
    return "\n".join(['"""Words."""', *lines, *spare]) + "\n"


def test_moving_the_whole_package_changes_nothing(tmp_path: Path, written: Written) -> None:
    made = package(3)
    _, before = written.write(files(made))
    moved = Written(tmp_path / "another" / "place")
    sys.path.insert(0, str(moved.root))
    try:
        assert moved.write(files(made))[1] == before
    finally:
        sys.path.remove(str(moved.root))
