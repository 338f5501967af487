"""Whose turn it is to drive a detached run: its drivers come one after the other, and of two that were started for a turn one drives.

::

    .runs/<run>/drivers/<number>.json        the call of the driver whose turn it is or was
    .runs/<run>/drivers/<number>-next.json   once that turn is over: the call of the next, as soon as it is known
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from pipeline.store import Store


class Turn:
    """The turn of this number, from 1 on."""

    def __init__(self, far: Store, run: str, number: int) -> None:
        self._files, self._run, self._number = far.files, run, number

    def taken(self, call: str) -> bool:
        """Take the turn; whether it is that of `call`: nobody had it before, and the next driver has not begun."""
        mine = _name(self._run, self._number)
        if not self._files.create(mine, _said(call)) and _call(self._files.read(mine)) != call:
            return False
        return not self._files.exists(_name(self._run, self._number + 1))

    @property
    def over(self) -> bool:
        """Whether it was being passed on: by a driver that was started again, for it may have died of that."""
        return self._files.exists(_name(self._run, self._number, "-next"))

    def pass_on(self, start: Callable[[], str]) -> None:
        """Let another drive, by the call that `start` spawns.

        It is written down before that the turn is over: who dies in between, and is started again, spawns another, and does
        not drive beside one that it may have spawned already. Of several the first takes the next turn.
        """
        following = _name(self._run, self._number, "-next")
        self._files.replace(following, _said(""))
        self._files.replace(following, _said(start()))


def calls(far: Store, run: str, of: str) -> list[str]:
    """The calls of a run that are written down: `of` its "drivers", which drove, drive or are to drive, or of its jobs ("calls")."""
    names = far.files.children(f".runs/{run}/{of}")
    return [call for name in names if (call := _call(far.files.read(f".runs/{run}/{of}/{name}")))]


def in_hand(far: Store, run: str) -> str:
    """The call to ask of a run: of the driver whose turn it is, or of the one that is to follow it; empty where none has begun."""
    names = far.files.children(f".runs/{run}/drivers")
    numbers = [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()]
    if not numbers:
        return ""
    with contextlib.suppress(FileNotFoundError):
        if call := _call(far.files.read(_name(run, max(numbers), "-next"))):
            return call
    return _call(far.files.read(_name(run, max(numbers))))


def _name(run: str, number: int, what: str = "") -> str:
    return f".runs/{run}/drivers/{number:06d}{what}.json"


def _said(call: str) -> bytes:
    return json.dumps({"call": call}).encode()


def _call(text: bytes) -> str:
    return str(json.loads(text)["call"])
