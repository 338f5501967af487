"""Turns fact tables into questions, each with its answer, its checker and the side of the split it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stages.facts.phrasings import CAPITAL, CURRENCY, ELEMENT, SUM, Phrasings
from stages.facts.tables import Country, Element
from stages.tuning.conversations import Split, fraction

HELD_OUT_SUMS = 0.2
"""The share of unordered pairs of operands that no training question names, in either order."""


class Question(NamedTuple):
    """One question about one fact; `answer` is what the assistant says, and what the checker expects."""

    category: str
    split: Split
    text: str
    answer: str
    checker: str


def capitals(table: Sequence[Country]) -> Iterator[Question]:
    """The capital of each country, in every phrasing."""
    yield from _phrased("capital", CAPITAL, [(row.name, f"{row.capital.rstrip('.')}.") for row in table], "exact")


def currencies(table: Sequence[Country]) -> Iterator[Question]:
    """The currency code of each country that has exactly one."""
    yield from _phrased(
        "currency", CURRENCY, [(row.name, f"{row.currency}.") for row in table if row.currency], "symbol"
    )


def symbols(table: Sequence[Element]) -> Iterator[Question]:
    """The symbol of each element."""
    yield from _phrased("element", ELEMENT, [(row.name, f"{row.symbol}.") for row in table], "symbol")


def sums(largest: int) -> Iterator[Question]:
    """The sums of a round number (0, 10, … `largest`) and a digit, in every phrasing; some pairs of operands are held out.

    A tiny model learns the rule of these, to put the digit in the last place, in minutes; that of carrying it does not.
    """
    for first in range(0, largest + 1, 10):
        for second in range(10):
            split: Split = "heldout" if held_out_sum(first, second) else "train"
            for template in SUM:
                yield Question("sum", split, template.format(a=first, b=second), f"{first + second}.", "number")


def held_out_sum(first: int, second: int) -> bool:
    """Whether this pair of operands is held out: by a hash of the unordered pair, so that no setting moves it."""
    return fraction(f"{min(first, second)}+{max(first, second)}") < HELD_OUT_SUMS


def _phrased(category: str, phrasings: Phrasings, facts: Sequence[tuple[str, str]], checker: str) -> Iterator[Question]:
    for subject, answer in facts:
        for template in phrasings.train:
            yield Question(category, "train", template.format(x=subject), answer, checker)
        for template in phrasings.heldout:
            yield Question(category, "heldout", template.format(x=subject), answer, checker)
