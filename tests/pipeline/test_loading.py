"""A dag is found by name or by file, and its dials are checked before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from pipeline import Dag, UsageError
from pipeline.loading import find, load, names, parse_dials
from tests.pipeline.toys import Say

MINE = """
from pipeline import Dag
from tests.pipeline.toys import Say

def {name}(*, words: str = "a b") -> Dag:
    return Dag(Say(words=tuple(words.split())))
"""


def dials(
    *, steps: int = 400, rate: float = 0.1, names: tuple[str, ...] = (), mode: Literal["a", "b"] = "a", name: str = ""
) -> Dag:
    return Dag(Say())


def needy(*, path: str) -> Dag:
    return Dag(Say())


def test_dials_take_the_types_of_the_function() -> None:
    given = ["steps=8", "rate=1e-3", 'names=["x","y"]', "mode=b", "name=8"]
    assert parse_dials(dials, given) == {"steps": 8, "rate": 0.001, "names": ("x", "y"), "mode": "b", "name": "8"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stesp=8", "dials has no dial 'stesp'; did you mean 'steps'?"),
        ("steps=many", "the dial steps of dials wants int, but was given 'many'"),
        ("mode=c", "the dial mode of dials wants"),
        ("8", "'8' is not a dial"),
        ("zzz=1", "dials has no dial 'zzz'; its dials are: steps=400"),
    ],
)
def test_a_dial_that_does_not_fit_is_one_clear_error(word: str, message: str) -> None:
    with pytest.raises(UsageError) as fault:
        parse_dials(dials, [word])
    assert message in str(fault.value) and fault.value.exit_code == 2


def test_a_dial_without_a_default_must_be_given() -> None:
    with pytest.raises(UsageError, match="needy needs the dial 'path'"):
        parse_dials(needy, [])


def test_a_dag_of_the_users_own_is_found_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(MINE.format(name="made"))
    name, dag, values = load(f"{tmp_path}/my_own.py:made", ["words=x y z"])
    assert name == "made" and values == {"words": "x y z"}
    assert dag.stages["say"].words == ("x", "y", "z")  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="has no function 'maed'\n  → did you mean 'made'"):
        find(f"{tmp_path}/my_own.py:maed")
    with pytest.raises(UsageError, match="has no function 'zzzz'\n  → it has: made"):
        find(f"{tmp_path}/my_own.py:zzzz")


def test_a_file_that_breaks_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken_one.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(UsageError, match="broken_one.py:2: ZeroDivisionError"):
        find(f"{tmp_path}/broken_one.py:any")
    (tmp_path / "broken_two.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(UsageError, match="broken_two.py:2: SyntaxError"):
        find(f"{tmp_path}/broken_two.py:f")


def test_a_file_whose_name_is_taken_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")
    with pytest.raises(UsageError, match="the name 'json' is taken"):
        find(f"{tmp_path}/json.py:f")
    with pytest.raises(UsageError, match="no such file"):
        find(f"{tmp_path}/nowhere.py:f")


def test_an_unknown_dag_names_the_nearest() -> None:
    assert "quickstart" in names()
    with pytest.raises(UsageError, match="no dag is called 'quikstart'; did you mean 'quickstart'"):
        find("quikstart")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def own():\n    pass\n", "own returns None, not a Dag"),
        ("def own():\n    return 1 / 0\n", "breaks_drawn.py:2: ZeroDivisionError"),
        ("def own(*, steps: Many = 1):\n    pass\n", "NameError: name 'Many' is not defined"),
    ],
)
def test_a_dag_function_that_breaks_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "breaks_drawn.py").write_text(body)
    monkeypatch.delitem(sys.modules, "breaks_drawn", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError) as fault:
        load(f"{tmp_path}/breaks_drawn.py:own", [])
    assert message in str(fault.value)


def test_a_dial_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="the dial steps is given twice"):
        parse_dials(dials, ["steps=1", "steps=2"])


def test_a_module_beside_the_dags_is_no_dag() -> None:
    assert "quickstart_summary" not in names()
