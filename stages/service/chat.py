"""Talks with a model in the terminal, or line by line through a pipe; the conversation is remembered until /reset."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from stages.service.client import Client
from stages.service.engine import Ask, AskRefused, Engine, Message, OnText

Speak = Callable[[list[Message], OnText], str]
"""Answers a conversation, telling of each piece of text; returns the whole text. Raises AskRefused or ServiceError."""

HELP = "/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer"


def through_engine(engine: Engine, max_tokens: int, temperature: float) -> Speak:
    """Speak through an engine in this process."""

    def speak(messages: list[Message], on_text: OnText) -> str:
        return engine.answer(Ask(messages, max_tokens, temperature), on_text).text

    return speak


def through_client(client: Client, max_tokens: int, temperature: float) -> Speak:
    """Speak through a running service."""

    def speak(messages: list[Message], on_text: OnText) -> str:
        pieces = []
        for text in client.stream(messages, max_tokens=max_tokens, temperature=temperature):
            pieces.append(text)
            if on_text(text):
                break
        return "".join(pieces)

    return speak


class Chat:
    """One conversation. `speak` answers; what is said goes to `out`."""

    def __init__(self, speak: Speak, *, system: str = "", out: TextIO | None = None) -> None:
        self._speak, self._out = speak, out or sys.stdout
        self._start: list[Message] = [{"role": "system", "content": system}] if system else []
        self._turns: list[Message] = []

    def say(self, text: str) -> str:
        """Say `text`, print the answer as it comes, and remember both. The oldest turns go where they no longer fit.

        Raises AskRefused where not even the newest turn fits.
        """
        self._turns.append({"role": "user", "content": text})
        with _interruptible() as interrupted:
            while True:
                try:
                    answer = self._speak([*self._start, *self._turns], lambda piece: self._show(piece) or interrupted())
                    break
                except AskRefused as fault:
                    if fault.code != "context_length_exceeded" or len(self._turns) < 3:
                        self._turns.pop()
                        raise
                    del self._turns[:2]
        print(file=self._out, flush=True)
        self._turns.append({"role": "assistant", "content": answer})
        return answer

    def _show(self, piece: str) -> bool:
        print(printable(piece), end="", file=self._out, flush=True)
        return False

    def reset(self) -> None:
        """Forget what was said."""
        self._turns.clear()

    def talk(self, lines: Iterator[str], *, show: Callable[[str], None]) -> None:
        """Answer line after line until /exit or the end; `show` prints what is no answer."""
        for line in lines:
            text = line.strip()
            if text in ("/exit", "/quit"):
                return
            if text == "/reset":
                self.reset()
                show("forgotten")
            elif text.startswith("/"):
                show(HELP)
            elif text:
                try:
                    self.say(text)
                except AskRefused as fault:
                    show(str(fault))


def printable(text: str) -> str:
    """The text without control characters: a model's answer must not steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160))


def typed_lines(prompt: str) -> Iterator[str]:
    """Lines of standard input: with `prompt` and editing on a terminal, plain from a pipe. Ends at Ctrl-D or Ctrl-C."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # gives input() editing and history
    while True:
        try:
            yield input(prompt)
        except (EOFError, KeyboardInterrupt):
            print()
            return


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C inside the block is remembered, not raised; a second one is raised."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:  # not the main thread: there is no Ctrl-C to catch
        yield lambda: False
        return
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
