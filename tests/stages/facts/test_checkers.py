"""The checkers that call an answer right or wrong."""

from __future__ import annotations

import pytest

from stages.facts.checkers import CHECKERS, check


@pytest.mark.parametrize(
    ("checker", "answer", "expected", "right"),
    [
        ("exact", " paris", "Paris.", True),
        ("exact", "Paris, France", "Paris.", False),
        ("exact", "Bogota", "Bogotá", False),
        ("exact", "", "", False),
        ("symbol", "Co", "Co.", True),
        ("symbol", "CO", "Co.", False),
        ("number", "The sum is 23.", "23.", True),
        ("number", "22 or 23", "23.", False),
        ("number", "no idea", "23.", False),
        ("contains", "It is Paris, of course", "Paris.", True),
        ("contains", "Parisian", "Paris.", False),
    ],
)
def test_an_answer_is_judged_by_the_named_checker(checker: str, answer: str, expected: str, right: bool) -> None:
    assert check(checker, answer, expected) is right


def test_an_unknown_checker_is_an_error() -> None:
    with pytest.raises(KeyError):
        check("vibes", "a", "a")


@pytest.mark.parametrize("checker", sorted(CHECKERS))
def test_nothing_is_never_a_right_answer(checker: str) -> None:
    assert not check(checker, "", "")
