"""The plain way to compare two texts, for the fast ways to be held against."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Runs of letters, digits and bytes beyond ASCII, case folded."""
    return re.findall(r"(?:[a-z0-9]|[^\x00-\x7f])+", text.lower())


def shingle_set(text: str, ngram: int = 5) -> set[tuple[str, ...]]:
    """The distinct n-grams of words; of a text with fewer words its words as one."""
    found = words(text)
    if not found:
        return set()
    return {tuple(found[place : place + ngram]) for place in range(max(1, len(found) - ngram + 1))}


def jaccard(left: str, right: str, ngram: int = 5) -> float:
    """Jaccard similarity of the two sets of n-grams; 0 where both are empty."""
    one, other = shingle_set(left, ngram), shingle_set(right, ngram)
    return len(one & other) / len(one | other) if one | other else 0.0
