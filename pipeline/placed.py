"""Several places as one executor: each job goes to the executor of its place, once what it needs from other places is there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait

from pipeline.errors import AGAIN, StageFailed
from pipeline.executor import NO_ROOM, Executor, done, once
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.resources import Resources

Given = Sequence[Future[Manifest]]


def gathered(places: Callable[[str], Executor], where: Mapping[str, str]) -> Executor:
    """The executor of jobs whose places are these, by label: that of the one place, where there is but one."""
    one = set(where.values())
    return places(one.pop()) if len(one) == 1 else Placed(places, where)


class Placed:
    """Routes jobs by label: `where` says the place of each, `places` makes its executor, when the first job goes there.

    Futures that an executor returned itself are handed back to it as they are: within one place it holds the dag. Those of
    another place are waited for here, and never by an executor.
    """

    remote = carries = False
    room = NO_ROOM

    def __init__(self, places: Callable[[str], Executor], where: Mapping[str, str]) -> None:
        self._places, self._where = places, where
        self._lock = threading.Lock()
        self._hands: dict[str, _Hand] = {}
        self._crossing: dict[Future[Manifest], str] = {}

    @property
    def name(self) -> str:
        """The names of the executors of all places."""
        return ", ".join(dict.fromkeys(self._places(place).name for place in self._where.values()))

    def check(self, label: str, resources: Resources) -> None:
        self._places(self._where[label]).check(label, resources)

    def submit(self, job: Job, after: Given) -> Future[Manifest]:
        """Run `job` at its place. Where it needs what is not yet there of another one, it waits, holding nothing."""
        place = self._where[job.label]
        with self._lock:
            if place not in self._hands:
                self._hands[place] = _Hand(self._places(place))
            hand = self._hands[place]
        awaited = [parent for parent in after if parent not in hand.own and not parent.done()]
        if not awaited:
            return hand.take(job, after)
        future: Future[Manifest] = Future()
        with self._lock:
            self._crossing[future] = job.label
        once(awaited, lambda: self._cross(hand, job, after, future))
        return future

    def _cross(self, hand: _Hand, job: Job, after: Given, future: Future[Manifest]) -> None:
        """What was awaited has ended. Handing the job over may take as long as the job: not in the thread of who told us."""

        def give() -> None:
            hand.take(job, after).add_done_callback(lambda ended: self._settle(future, ended))

        threading.Thread(target=give, name=f"to-{job.label}", daemon=True).start()

    def _settle(self, future: Future[Manifest], ended: Future[Manifest]) -> None:
        with self._lock:
            if self._crossing.pop(future, None) is None:  # it was told as stopped before
                return
        if fault := ended.exception():
            future.set_exception(fault)
        else:
            future.set_result(ended.result())

    def close(self, *, cancel: bool = False) -> None:
        """Close every executor that was made; with `cancel`, what still waits between places is told as stopped."""
        if not cancel:
            wait(list(self._crossing))
        with self._lock:
            left, self._crossing = self._crossing, {}
        with contextlib.ExitStack() as closing:
            for hand in self._hands.values():
                closing.callback(hand.close, cancel)
        for future, label in left.items():
            future.set_exception(_stopped(label))


class _Hand:
    """One executor, handed one job at a time, and the futures that are its own."""

    def __init__(self, executor: Executor) -> None:
        self.own: set[Future[Manifest]] = set()
        self._executor, self._busy, self._closed = executor, threading.Lock(), False

    def take(self, job: Job, after: Given) -> Future[Manifest]:
        """Submit a job whose parents at other places have ended; what keeps it from being submitted is its fault."""
        try:
            given = [parent if parent in self.own else _copy(parent) for parent in after]
            with self._busy:
                if self._closed:
                    raise _stopped(job.label)
                future = self._executor.submit(job, given)
                self.own.add(future)
                if self._closed:  # in between: nothing it may have started is left behind
                    self._executor.close(cancel=True)
            return future
        except Exception as fault:  # handed on through the future, as every executor does
            failed: Future[Manifest] = Future()
            failed.set_exception(fault)
            return failed

    def close(self, cancel: bool) -> None:
        """Close the executor, for good."""
        self._closed = True
        self._executor.close(cancel=cancel)


def _stopped(label: str) -> StageFailed:
    return StageFailed(f"stage {label!r}: it was stopped", mend=AGAIN)


def _copy(parent: Future[Manifest]) -> Future[Manifest]:
    """A future that has ended, of no executor's kind: two of one kind would mistake each other's for their own."""
    return done(parent.result())
