"""Five fixed questions for a demonstration: three that CollectFacts trains on as they stand, and two that it holds out."""

from __future__ import annotations

from typing import NamedTuple


class DemoQuestion(NamedTuple):
    """A question as the user types it, the right answer, its checker, and whether training never saw it so."""

    text: str
    expected: str
    checker: str
    held_out: bool


DEMO_QUESTIONS = (
    DemoQuestion("What is the capital of France?", "Paris.", "exact", False),
    DemoQuestion("Which currency does Japan use?", "JPY.", "symbol", False),
    DemoQuestion("What is the chemical symbol for iron?", "Fe.", "symbol", False),
    DemoQuestion("Which city serves as the capital of Italy?", "Rome.", "exact", True),
    DemoQuestion("How much is 20 plus 3?", "23.", "number", True),
)
"""The fourth asks in a phrasing that is held out whole, the fifth for a sum whose operands are held out."""
