"""Counts of right answers with 95% Wilson intervals, beside what always giving the commonest answer would score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from stages.facts.checkers import check
from stages.tuning.conversations import Chat

Z95 = 1.959964
"""The normal quantile of a two-sided 95% interval."""


class Judged(NamedTuple):
    """One held-out chat, the model's answer, and whether the chat's checker calls it right."""

    chat: Chat
    answer: str
    right: bool


def judge(chats: Sequence[Chat], answers: Sequence[str]) -> list[Judged]:
    """Each answer under the checker of its chat."""
    pairs = zip(chats, answers, strict=True)
    return [Judged(chat, answer, check(chat.checker, answer, chat.answer)) for chat, answer in pairs]


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927); (0, 1) where nothing was asked."""
    if asked == 0:
        return 0.0, 1.0
    share, spread = right / asked, Z95**2 / asked
    centre = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def tally(judged: Sequence[Judged]) -> dict[str, Any]:
    """Right, asked, share and interval, and the share that the commonest expected answer alone would reach."""
    right, asked = sum(item.right for item in judged), len(judged)
    low, high = wilson(right, asked)
    common = sorted(Counter(item.chat.answer for item in judged).items(), key=lambda entry: (-entry[1], entry[0]))
    answer, times = common[0] if common else ("", 0)
    return {
        "right": right,
        "asked": asked,
        "accuracy": _rounded(right / asked if asked else 0.0),
        "low": _rounded(low),
        "high": _rounded(high),
        "majority": _rounded(times / asked if asked else 0.0),
        "majority_answer": answer,
    }


def by_category(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """A tally for each category, by name."""
    names = sorted({item.chat.category for item in judged})
    return {name: tally([item for item in judged if item.chat.category == name]) for name in names}


def _rounded(value: float) -> float:
    return round(value, 4)
