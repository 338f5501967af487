"""Where the events of a run lie, and who follows them without listing them again: a look costs what is new, not what there is.

::

    .runs/<run>/sessions/<began>-<label>                each job that tells something, from its first word on
    .runs/<run>/events/<label>/<began>-<number>.jsonl   what it tells, in chunks that never change, numbered without a gap
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipeline.files import Files

QUIET_LOOKS = 10
"""So many looks in which a session told nothing, then it is asked at every tenth alone: most are over, and none says so."""

_CHUNK = re.compile(r"(.+)/(\d{14})-(\d{6})\.jsonl")


class Session(NamedTuple):
    """One job's telling: its label, and when it began, in milliseconds since 1970, as 14 digits."""

    label: str
    began: str

    def record(self, run: str) -> str:
        """The name of the file that says it is there."""
        return f".runs/{run}/sessions/{self.began}-{self.label}"

    def chunk(self, run: str, number: int) -> str:
        """The name of the chunk of this number; the first is 1."""
        return f".runs/{run}/events/{self.label}/{self.began}-{number:06d}.jsonl"


def sessions(files: Files, run: str) -> list[Session]:
    """Those that a run has so far, in order of beginning."""
    names = [name.partition("-") for name in files.children(f".runs/{run}/sessions")]
    return [Session(label, began) for began, _, label in names if began.isdecimal()]


def newest(files: Files, run: str, session: Session, known: int) -> int:
    """The number of the newest chunk of a session, of which chunk `known` is there: found in steps that double, then halve."""
    low, step = known, 1
    while files.exists(session.chunk(run, low + step)):
        low, step = low + step, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if files.exists(session.chunk(run, middle)):
            low = middle
        else:
            high = middle
    return low


def listed(files: Files, run: str) -> dict[Session, list[int]]:
    """The numbers of all chunks that are there, by session, in order of beginning."""
    found: dict[Session, list[int]] = {}
    for name in files.below(f".runs/{run}/events"):
        if chunk := _CHUNK.fullmatch(name):
            found.setdefault(Session(chunk[1], chunk[2]), []).append(int(chunk[3]))
    return {session: found[session] for session in sorted(found, key=_began)}


def _began(session: Session) -> tuple[str, str]:
    return session.began, session.label


class Chunks:
    """The chunks of a run that were not taken yet. They are listed once; from then on each session is asked for its next."""

    def __init__(self, files: Files, run: str) -> None:
        self._files, self._run = files, run
        self._listed: dict[Session, list[int]] | None = None
        self._next: dict[Session, int] = {}
        self._quiet: dict[Session, int] = {}

    def skip(self, session: Session, number: int) -> None:
        """Take this chunk for taken, and those before it."""
        self._next[session] = max(number + 1, self._next.get(session, 1))

    def new(self, *, every: bool = True) -> dict[Session, Iterator[tuple[int, bytes]]]:
        """For each session, in order of beginning, an iterator over numbers and bytes; without `every`, not for those that are quiet.

        Raises StoreError, as the iterators do; what they did not give is given at a later look.
        """
        if self._listed is None:
            there = listed(self._files, self._run).items()
            self._listed = {one: [n for n in numbers if n >= self._next.get(one, 1)] for one, numbers in there}
            return {session: self._given(session) for session in self._listed}
        found = dict.fromkeys([*self._listed, *self._next, *sessions(self._files, self._run)])
        ask_all = every or not self._files.remote  # a file of this machine is asked for at no cost
        asked = []
        for session in sorted(found, key=_began):
            self._quiet[session] = quiet = self._quiet.get(session, 0) + 1
            if ask_all or quiet <= QUIET_LOOKS or quiet % QUIET_LOOKS == 0:
                asked.append(session)
        return {session: self._asked(session) for session in asked}

    def _given(self, session: Session) -> Iterator[tuple[int, bytes]]:
        """What the listing named."""
        left = (self._listed or {}).get(session, [])
        while left:
            data = self._files.read(session.chunk(self._run, left[0]))
            number = left.pop(0)
            self.skip(session, number)
            yield number, data

    def _asked(self, session: Session) -> Iterator[tuple[int, bytes]]:
        yield from self._given(session)
        while True:
            number = self._next.get(session, 1)
            try:
                data = self._files.read(session.chunk(self._run, number))
            except FileNotFoundError:
                return
            self.skip(session, number)
            self._quiet[session] = 0
            yield number, data
