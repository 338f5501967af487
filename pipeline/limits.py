"""What ends a stage before it is done: its limit of time, what its run may spend, and a request to stop that, looked for at
each commit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import StageFailed, Stopped
from pipeline.spending import Spending
from pipeline.store import Store

LOOK_SECONDS = 1.0
"""Between two looks into a remote store; a local one is cheap to ask at every commit."""


class HandedOver(Stopped):
    """The time of this machine is up, and not that of the stage: another one goes on from the last commit."""


class Limits:
    """The limits of the stage `label` of a run; `minutes` of 0 is no limit of time, `dollars` of None none of what it spends.

    `beyond` looks at what else may end it here: it raises HandedOver.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        label: str,
        minutes: float = 0,
        dollars: float | None = None,
        beyond: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._run, self._label, self._minutes, self._beyond = store, run, label, minutes, beyond
        self.spending = Spending(store, run, dollars)
        self._pause = LOOK_SECONDS if "://" in store.url else 0.0
        self._looked, self._deadline = float("-inf"), float("inf")

    def look(self) -> None:
        """Raise Stopped if the run was asked to stop, StageFailed if time is up; what was committed is kept."""
        if time.monotonic() > self._deadline:
            raise overdue(self._label, self._minutes)
        why = self.spending.over
        if not why and time.monotonic() - self._looked >= self._pause:
            self._looked = time.monotonic()
            why = self._store.stop_asked(self._run)
        if why:
            raise stopped(self._label, why)
        self._beyond()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Raise StageFailed when what is inside takes too long: at once in the main thread, in any other at its next commit.

        Python interrupts no thread but the main one, and that one only between two instructions: what is stuck in C code
        is for the executor to end.
        """
        self._deadline = time.monotonic() + self._minutes * 60 if self._minutes else float("inf")
        if not self._minutes or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, self._minutes * 60)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)  # it may have gone off just now, and is heard here
        except KeyboardInterrupt:  # what everything that waits knows to end at, Ray's C++ among it, and no Exception
            if time.monotonic() < self._deadline:
                raise
            raise overdue(self._label, self._minutes) from None
        finally:
            signal.signal(signal.SIGALRM, before)


def stopped(label: str, why: str) -> Stopped:
    """That a stage was asked to stop, and why."""
    return Stopped(f"stage {label!r} was stopped: {why}", mend="run again to go on from its last commit")


def overdue(label: str, minutes: float) -> StageFailed:
    """That a stage took longer than it may."""
    return StageFailed(
        f"stage {label!r} ran longer than its limit of {minutes:g} minutes",
        mend="raise resources.minutes, then run the same command again; what was committed is kept",
    )
