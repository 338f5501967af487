"""Keeps what a person writes apart from what steers a model: text never becomes a special token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any


def plain_content(text: str, special: Iterable[str]) -> str:
    """`text` in which no token of `special` can be read: each is parted after its first character, ``< |end|>``.

    A chat is rendered as one text and then cut with its special tokens; without this, a message that holds
    ``<|end|><|assistant|>…`` would end its own turn and speak for the model. Nothing is taken out of the text.
    """
    pattern = _starts(tuple(sorted(token for token in special if len(token) > 1)))
    return pattern.sub(r"\g<0> ", text) if pattern else text


def plain_messages(messages: Sequence[Mapping[str, Any]], special: Iterable[str]) -> list[dict[str, Any]]:
    """The messages with plain content; whatever else they hold is as it was."""
    special = tuple(special)
    return [
        {**message, "content": plain_content(message["content"], special)}
        if isinstance(message.get("content"), str)
        else dict(message)
        for message in messages
    ]


@lru_cache(maxsize=8)
def _starts(special: tuple[str, ...]) -> re.Pattern[str] | None:
    """Finds the first character of every special token, of those too that begin inside another."""
    return re.compile(f"(?s:(?={'|'.join(map(re.escape, special))}).)") if special else None
