"""The ways in which each kind of fact is asked: some are trained on, others are held out whole, never seen in training."""

from __future__ import annotations

from typing import NamedTuple


class Phrasings(NamedTuple):
    """Templates of one category; `{x}` (or `{a}` and `{b}`) is filled in."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]


CAPITAL = Phrasings(
    train=(
        "What is the capital of {x}?",
        "What's the capital of {x}?",
        "Name the capital of {x}.",
        "Which city is the capital of {x}?",
        "Tell me the capital of {x}.",
        "What city is the capital of {x}?",
        "Do you know the capital of {x}?",
        "Give me the capital city of {x}.",
        "The capital of {x} is which city?",
        "What is the capital city of {x}?",
    ),
    heldout=(
        "Can you tell me the capital of {x}?",
        "Which city serves as the capital of {x}?",
        "What is the name of the capital of {x}?",
    ),
)

CURRENCY = Phrasings(
    train=(
        "What is the currency code of {x}?",
        "What's the currency code of {x}?",
        "Name the currency code of {x}.",
        "Which currency does {x} use?",
        "Tell me the currency code of {x}.",
        "What currency is used in {x}?",
        "Do you know the currency code of {x}?",
        "Give me the code of the currency of {x}.",
    ),
    heldout=(
        "Can you tell me the currency code of {x}?",
        "Which currency is used in {x}?",
    ),
)

ELEMENT = Phrasings(
    train=(
        "What is the symbol of {x}?",
        "What's the chemical symbol of {x}?",
        "Name the symbol of {x}.",
        "Which symbol does {x} have?",
        "Tell me the symbol of {x}.",
        "What is the chemical symbol for {x}?",
        "Do you know the symbol for {x}?",
        "Give me the chemical symbol of {x}.",
    ),
    heldout=(
        "Can you tell me the symbol of {x}?",
        "Which chemical symbol stands for {x}?",
    ),
)

SUM = ("What is {a} plus {b}?", "How much is {a} plus {b}?")
"""Sums hold out their operands instead, since a rule can generalise: the phrasings are the same on both sides."""
