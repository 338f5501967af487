"""What answers: the contract of an engine. One makes no sound on the terminal, opens no port, and stops when it is closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline import CorpusmillError

Message = dict[str, str]
"""One turn: its `role` (system, user or assistant) and its `content`."""

OnText = Callable[[str], bool]
"""Told of each new piece of text as it is made; returns True to stop the answer there."""


@dataclass(frozen=True)
class Ask:
    """A conversation to answer, and how: temperature 0 takes the likeliest token each time; `seed` draws the others."""

    messages: Sequence[Message]
    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()


@dataclass(frozen=True)
class Reply:
    """An answer: its text, why it ended (`stop` or `length`), and the tokens that were read and made."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


class AskRefused(CorpusmillError):
    """The engine cannot answer this conversation; `code` says why in OpenAI's words."""

    def __init__(self, message: str, *, code: str = "invalid_request", mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.code = code


class Engine(Protocol):
    """Answers conversations; `answer` may be called from several threads at once."""

    context: int
    parallel: int

    def answer(self, ask: Ask, on_text: OnText | None = None) -> Reply:
        """Answer, telling `on_text` of each piece of text. Raises AskRefused for a conversation it cannot take.

        What a message says is text: a special token written in it never ends the turn (`stages.text.plain`).
        """
        ...

    def close(self) -> None:
        """Stop, and give back memory and threads. A second call does nothing."""
        ...
