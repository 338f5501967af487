"""Decides whether an answer is right. A checker is named in a chat's metadata and is a pure function of two texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

Checker = Callable[[str, str], bool]

_INTEGER = re.compile(r"-?\d+")


def _plain(text: str) -> str:
    """Composed, on one line, without quotation marks around it or a full stop after it."""
    return " ".join(unicodedata.normalize("NFC", text).split()).strip(" \"'.!")


def exact(answer: str, expected: str) -> bool:
    """The same words; case, spaces and closing punctuation do not count."""
    return _plain(answer).casefold() == _plain(expected).casefold() != ""


def symbol(answer: str, expected: str) -> bool:
    """The same letters in the same case: Co is cobalt, CO is not."""
    return _plain(answer) == _plain(expected) != ""


def number(answer: str, expected: str) -> bool:
    """Exactly one integer is named, and it is the expected one."""
    return _INTEGER.findall(answer) == _INTEGER.findall(expected) != []


def contains(answer: str, expected: str) -> bool:
    """The expected words occur in the answer, as whole words, whatever stands around them."""
    wanted = re.escape(_plain(expected).casefold())
    return bool(wanted) and re.search(rf"(?<!\w){wanted}(?!\w)", _plain(answer).casefold()) is not None


CHECKERS: dict[str, Checker] = {"exact": exact, "symbol": symbol, "number": number, "contains": contains}


def check(checker: str, answer: str, expected: str) -> bool:
    """Whether the checker of that name calls `answer` right. Raises KeyError for a name that is not in CHECKERS."""
    return CHECKERS[checker](answer, expected)
