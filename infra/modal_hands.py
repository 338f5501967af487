"""Hands out jobs as the edges of a dag allow: a job begins once what it needs is there, and until then holds nothing.

How a job is made is for a `Desk`: at home it carries what is needed to Modal and back; beside a detached run it is there already.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from pipeline.errors import AGAIN, CorpusmillError, StageFailed
from pipeline.executor import NO_ROOM, once
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.resources import Resources

AT_ONCE = 64
"""Jobs that are carried or waited for at the same time; each costs a thread here, and nothing else."""


class Desk(Protocol):
    """Where jobs are handled: infra.modal_desk where a person's own process drives the run, infra.modal_driver on Modal."""

    def expect(self, job: Job) -> None:
        """A job may come."""
        ...

    def made(self, job: Job, inputs: Sequence[Manifest]) -> Manifest:
        """The artifact of `job`, once it is there. Raises what the job raised."""
        ...

    def cancel(self) -> None:
        """End what runs."""
        ...

    def close(self) -> None:
        """Release what was started."""
        ...


class Hands:
    """An executor over a desk, which is made with the first job."""

    name = "modal"
    remote = carries = True
    room: Mapping[str, float] = NO_ROOM

    def __init__(self, make: Callable[[], Desk]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._desk: Desk | None = None
        self._pending: dict[Future[Manifest], str] = {}

    def check(self, label: str, resources: Resources) -> None:
        """Nothing: it was checked where the run began."""

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        """Run `job` once all of `after` have ended; until then it holds nothing, neither there nor here."""
        future: Future[Manifest] = Future()
        with self._lock:
            if self._desk is None:
                self._desk = self._make()
                self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="modal")
            self._pending[future] = job.label
            self._desk.expect(job)
        begin = partial(self._begin, job, after, future)
        once(after, begin)
        if not after:
            begin()
        return future

    def _begin(self, job: Job, after: Sequence[Future[Manifest]], future: Future[Manifest]) -> None:
        with self._lock:
            if future in self._pending and self._threads is not None:
                self._threads.submit(self._run, job, after, future)

    def _run(self, job: Job, after: Sequence[Future[Manifest]], future: Future[Manifest]) -> None:
        made: Manifest | None = None
        fault: BaseException | None = None
        try:
            assert self._desk is not None
            made = self._desk.made(job, [parent.result() for parent in after])
        except BaseException as raised:  # handed on through the future, as every executor does
            fault = raised
        with self._lock:
            if self._pending.pop(future, None) is None:  # it was told as stopped before
                return
        if made is not None:
            future.set_result(made)
        else:
            future.set_exception(fault)

    def close(self, *, cancel: bool = False) -> None:
        """End the app and every container of it; without `cancel`, after the jobs that still run."""
        with self._lock:
            desk, threads, pending = self._desk, self._threads, dict(self._pending)
        if desk is None or threads is None:
            return
        if cancel:
            desk.cancel()
        else:
            for future in pending:
                with contextlib.suppress(CorpusmillError):
                    future.result()
        with self._lock:
            left, self._pending = self._pending, {}
            self._desk = self._threads = None
        for future, label in left.items():
            future.set_exception(StageFailed(f"stage {label!r}: it was stopped", mend=AGAIN))
        try:
            desk.close()  # first: what is spent ends before what is carried
        finally:
            threads.shutdown(cancel_futures=True)
