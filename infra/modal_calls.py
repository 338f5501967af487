"""Calls of the function that makes a job: spawned, waited for, spawned again where a machine was lost or its time was up.

Modal itself starts an input again on another machine when it takes one back. What is counted here are containers that die.
Modal's own retries are not used, for they would also repeat a stage that was ended at its limit of time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from infra.ends import failed
from infra.modal_faults import explained
from infra.modal_limits import gpu_of, handed_over, longest
from infra.modal_names import BUSY, ONWARD, volume_of
from pipeline.errors import AGAIN, CorpusmillError, StageFailed, StoreError
from pipeline.job import Job
from pipeline.limits import overdue, stopped
from pipeline.resources import Resources
from pipeline.store import Store

BUSY_SECONDS = 2.0
POLL_SECONDS = 10.0
PATIENCE_SECONDS = 300.0
"""How long Modal may be out of reach before a job is given up; where it runs, it runs on meanwhile."""
GRACE_SECONDS = 10
"""How long a stage may take to end itself at its limit, before Modal ends its container."""

Noted = Callable[[str], None]
"""Is told the id of each call, so that another process can go on waiting for it."""


def nowhere(call: str) -> None:
    """Notes nothing."""


def variant(function: Any, asked: Resources) -> tuple[Any, float]:
    """The function `execute` on a machine like the one asked for, and the seconds after which a job is handed over (0: never)."""
    most = longest()
    own = int(asked.minutes * 60 + 0.999) + GRACE_SECONDS if asked.minutes else most
    options: dict[str, Any] = {"timeout": min(own, most), "gpu": gpu_of(asked)}
    if asked.cpus:
        options["cpu"] = float(asked.cpus)
    if asked.memory_gib:
        options["memory"] = int(asked.memory_gib * 1024)
    chained = own >= most
    return function.with_options(**options), handed_over(most) if chained else 0


class Calls:
    """Every call that is on its way of one `function`; `cancel` ends them all, and with them their containers.

    They are waited for until the time `until` (monotonic) and no longer.
    """

    def __init__(self, function: Callable[[], Any], until: float = float("inf")) -> None:
        self._function, self._until = function, until
        self._lock, self._over, self._cancelled = threading.Lock(), threading.Event(), False
        self._flying: set[Any] = set()

    def made(self, job: Job, parents: Sequence[str], noted: Noted = nowhere, known: str = "") -> str:
        """The end of `job`, given those of its parents. `known` is a call of it that was spawned before.

        Nothing is spawned once the run was asked to stop: no machine is rented to be told so.
        """
        asked, died = Resources.model_validate(job.resources), 0
        while not self._over.is_set():
            if not known and (why := _stop_asked(job)):
                return failed(stopped(job.label, why))
            try:
                with (
                    explained(f"could not run stage {job.label!r}"),
                    self._on_its_way(job, asked, parents, noted, known) as call,
                ):
                    end = self._waited(call)
            except CorpusmillError as fault:
                return failed(fault)
            known = ""
            if self._over.is_set():
                break
            if end == BUSY:
                self._over.wait(BUSY_SECONDS)
            elif isinstance(end, _Late):
                died += 1
                if asked.minutes:
                    return failed(overdue(job.label, asked.minutes))
                if died > asked.retries:
                    return failed(_stuck(job.label))
            elif isinstance(end, _Died):
                died += 1
                if died > asked.retries and not _stop_asked(job):  # who stops a run ends its calls
                    return failed(end.told(job.label))
            elif end != ONWARD:
                return str(end)
        return failed(StageFailed(f"stage {job.label!r}: it was stopped", mend=AGAIN))

    @contextmanager
    def _on_its_way(
        self, job: Job, asked: Resources, parents: Sequence[str], noted: Noted, known: str
    ) -> Iterator[Any]:
        """The call, `known` or spawned anew."""
        import modal

        if known:
            call = modal.FunctionCall.from_id(known)
        else:
            function, seconds = variant(self._function(), asked)
            how = {"volume": volume_of(job.store), "seconds": seconds}
            call = function.spawn(job.model_dump_json(), list(parents), how)
            noted(call.object_id)
        with self._lock:
            self._flying.add(call)
        try:
            if self._cancelled:  # in between
                call.cancel(terminate_containers=True)
            yield call
        finally:
            with self._lock:
                self._flying.discard(call)

    def _waited(self, call: Any) -> Any:
        import modal

        lost_since: float | None = None
        while not self._over.is_set() and (left := self._until - time.monotonic()) > 0:
            try:
                return call.get(timeout=min(left, POLL_SECONDS))
            except modal.exception.FunctionTimeoutError:
                return _Late()
            except (modal.exception.OutputExpiredError, modal.exception.InternalFailure) as fault:
                return _Died(fault)
            except (TimeoutError, modal.exception.TimeoutError):
                lost_since = None
            except (modal.exception.ConnectionError, modal.exception.ServiceError):
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > PATIENCE_SECONDS:
                    raise
                self._over.wait(BUSY_SECONDS)
            except (modal.exception.RemoteError, modal.exception.ExecutionError) as fault:
                return _Died(fault)
        self._over.set()
        return ""

    def leave(self) -> None:
        """Wait no more, and let what runs run."""
        self._over.set()

    def cancel(self) -> None:
        """Cancel what is on its way, and end the containers that it runs in."""
        self._cancelled = True
        self._over.set()
        with self._lock:
            flying = list(self._flying)
        for call in flying:
            with contextlib.suppress(CorpusmillError), explained():
                call.cancel(terminate_containers=True)


class _Late:
    """The call took longer than Modal was told to let it."""


class _Died:
    """The container of the call died, or Modal gave it up."""

    def __init__(self, fault: Exception) -> None:
        self._said = (str(fault).strip() or type(fault).__name__).splitlines()[0]

    def told(self, label: str) -> StageFailed:
        return StageFailed(
            f"stage {label!r}: its worker process died each time it was tried ({self._said})",
            mend=f"was its memory enough? Resources(memory_gib=…); {AGAIN}",
        )


def _stop_asked(job: Job) -> str:
    """Why the run of a job was asked to stop; empty while nobody did, or the store does not tell."""
    with contextlib.suppress(StoreError):  # the job itself meets what is wrong with the store
        return Store(job.store).stop_asked(job.run)
    return ""


def _stuck(label: str) -> StageFailed:
    return StageFailed(
        f"stage {label!r} made no commit for as long as a container on Modal may live",
        mend="let it commit its progress (ctx.commit), or make it smaller",
    )
