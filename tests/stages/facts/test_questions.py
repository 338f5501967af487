"""Questions made of facts: what is held out, and that the demonstration's five stand where they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.facts import questions, tables
from stages.facts.checkers import check
from stages.facts.demo import DEMO_QUESTIONS
from stages.facts.phrasings import CAPITAL, CURRENCY, ELEMENT
from stages.facts.questions import Question
from stages.facts.tables import Country, Element

COUNTRIES = [
    Country("France", "Paris", "EUR", 3),
    Country("Japan", "Tokyo", "JPY", 2),
    Country("Italy", "Rome", "EUR", 1),
]
IRON = [Element("iron", "Fe", 26)]


def _all() -> list[Question]:
    made = [
        questions.capitals(COUNTRIES),
        questions.currencies(COUNTRIES),
        questions.symbols(IRON),
        questions.sums(490),
    ]
    return [question for group in made for question in group]


def test_no_question_stands_on_both_sides() -> None:
    sides = {"train": set(), "heldout": set()}  # type: dict[str, set[str]]
    for question in _all():
        sides[question.split].add(question.text)
    assert sides["train"] and sides["heldout"]
    assert not sides["train"] & sides["heldout"]


@pytest.mark.parametrize("phrasings", [CAPITAL, CURRENCY, ELEMENT])
def test_held_out_phrasings_are_never_trained_on(phrasings: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    train, heldout = phrasings
    assert heldout and not set(train) & set(heldout)


def test_every_fact_of_a_held_out_phrasing_is_trained_in_another() -> None:
    asked = [question for question in _all() if question.category != "sum"]
    taught = {(question.category, question.answer) for question in asked if question.split == "train"}
    assert {(question.category, question.answer) for question in asked if question.split == "heldout"} <= taught


def test_a_held_out_pair_of_operands_is_held_out_in_both_orders() -> None:
    pairs = [(first, second) for first in range(10) for second in range(10)]
    assert all(questions.held_out_sum(*pair) == questions.held_out_sum(*reversed(pair)) for pair in pairs)
    share = sum(questions.held_out_sum(first, second) for first in range(0, 500, 10) for second in range(10)) / 500
    assert 0.1 < share < 0.3


def test_sums_are_right() -> None:
    for question in questions.sums(20):
        first, second = (
            int(word) for word in question.text.replace(".", "").replace("?", "").split() if word.isdigit()
        )
        assert question.answer == f"{first + second}."


def test_the_five_questions_of_the_demonstration_stand_where_they_say() -> None:
    made = {question.text: question for question in _all()}
    for shown in DEMO_QUESTIONS:
        question = made[shown.text]
        assert (question.split == "heldout") is shown.held_out
        assert question.answer == shown.expected
        assert check(shown.checker, question.answer, shown.expected)
    assert sum(shown.held_out for shown in DEMO_QUESTIONS) == 2


def test_countries_come_by_population_and_only_a_single_currency_counts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "A", "capital": "X", "population": 1, "currencies": ["AAA", "AAB"]}')
    (tmp_path / "b.json").write_text('{"name": "B", "capital": "Y", "population": 2, "currencies": ["BBB"]}')
    (tmp_path / "c.json").write_text('{"name": "C", "capital": "", "population": 3}')
    found = tables.countries(sorted(tmp_path.glob("*.json")))
    assert found == [Country("B", "Y", "BBB", 2), Country("A", "X", "", 1)]


def test_elements_are_read_without_running_the_file(tmp_path: Path) -> None:
    source = tmp_path / "core.py"
    source.write_text(
        "raise SystemExit('ran')\nelement_base: dict = {1: ('Hydrogen', 'H', [], []), 0: ('neutron', 'n', [], [])}\n"
    )
    assert tables.elements(source) == [Element("hydrogen", "H", 1)]


def test_a_file_without_the_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "core.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="element_base"):
        tables.elements(tmp_path / "core.py")
