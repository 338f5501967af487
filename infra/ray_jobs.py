"""What runs in Ray's workers: the link that ends each edge of the dag, the job of a stage, the errors they end with."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from infra import ray_room
from infra.ends import ended, failed, fault_in, manifest_in
from infra.ray_backend import RayBackend
from infra.ray_environment import enter
from pipeline.errors import AGAIN, CorpusmillError, StageFailed
from pipeline.job import Job
from pipeline.lease import Busy
from pipeline.limits import overdue
from pipeline.resources import Resources

BUSY = "busy"
"""In place of an end: another run is making the same, and this job gave its CPUs back."""
BUSY_SECONDS = 2.0
GONE = "gone"
"""In place of an end: the machine of the job is dead."""
LOOK_SECONDS = 5.0
"""Between two looks whether the cluster has a machine that can take a stage."""

GRACE_SECONDS = 5.0
"""How long a stage may take to end itself at its limit: one that is stuck in C code never does."""
OPENING, REACHED = threading.Lock(), set[str]()
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head of a cluster, and to no other node."""


class Links:
    """One asynchronous actor for every link of a run: a link that waits costs no process.

    Ray calls `link` once the parents' ends, its arguments, are there; it starts the job only if it must run. `joined` where
    the cluster was there before, may lose machines and get new ones.
    """

    def __init__(self, joined: bool = False) -> None:
        self._joined = joined
        self._running: dict[str, Any] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._overdue: set[str] = set()
        self._places: dict[str, str] = {}
        self._asked: dict[str, tuple[float, frozenset[str]]] = {}

    async def link(self, text: str, *parents: str) -> str:
        """The end of the job in `text`, given those of its parents in order; the first fault of theirs is its own.

        A job that another run is making waits here, where waiting holds no CPU.
        """
        for end in parents:
            if fault_in(end) is not None:
                return end
        try:
            job = Job.model_validate_json(text)
            while True:
                end = await asyncio.to_thread(_resolve, job, parents) or await self._run(job, text, parents)
                if end != BUSY:
                    return end
                await asyncio.sleep(BUSY_SECONDS)
        except CorpusmillError as fault:
            return failed(fault)

    async def _run(self, job: Job, text: str, parents: Sequence[str]) -> str:
        """The end of the stage. Ray tries a lost process again by itself, but may wait for a machine without power for minutes."""
        asked = Resources.model_validate(job.resources)
        for _ in range(asked.retries + 1):
            end = await self._try(job, asked, text, parents)
            if end != GONE:
                return end
        return failed(StageFailed(f"stage {job.label!r}: its machine was lost each time it was tried", mend=AGAIN))

    async def _try(self, job: Job, asked: Resources, text: str, parents: Sequence[str]) -> str:
        task = EXECUTE.options(name=job.label, **ray_room.options(asked, self._joined))
        ticket = uuid.uuid4().hex
        there = await asyncio.to_thread(ray_room.living) if self._joined else {}
        self._asked[ticket] = time.time(), frozenset(there)
        running = task.remote(text, list(parents), ray.get_runtime_context().current_actor, ticket)
        self._running[ticket] = running
        end: asyncio.Future[str] = asyncio.wrap_future(running.future())
        end.add_done_callback(lambda ended: ended.exception())  # nobody may be waiting for it any more
        watch = asyncio.ensure_future(self._watch(job, asked, ticket)) if self._joined else None
        try:
            await asyncio.wait([end, *([watch] if watch else [])], return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                ray.cancel(running, force=True)  # so that Ray does not try it again, once it knows
                return GONE
            return end.result()
        except ray.exceptions.RayError as fault:
            if ticket in self._overdue:
                return failed(overdue(job.label, asked.minutes))
            cause = getattr(fault, "cause", None)
            return failed(cause) if isinstance(cause, CorpusmillError) else lost(f"stage {job.label!r}", fault)
        finally:
            if watch:
                watch.cancel()
            await self.ends(ticket)
            self._overdue.discard(ticket)
            self._places.pop(ticket, None)
            del self._asked[ticket]
            del self._running[ticket]

    async def _watch(self, job: Job, asked: Resources, ticket: str) -> str:
        """Return once the machine on which the stage runs is dead.

        Tell, whenever it comes to that, what a machine must have that can take the stage: now, or after one was lost.
        """
        told, dead = "", ""
        while not dead or self._places.get(ticket) != dead:  # unless Ray has found it another one by then
            try:
                why = await asyncio.to_thread(ray_room.awaited, asked)
                if why and why != told:
                    await asyncio.to_thread(ray_room.tell, job, why)
                told = why
                node = self._places.get(ticket, "")
                dead = node if await asyncio.to_thread(ray_room.is_dead, node) else ""
            except Exception:  # the stage goes on without being told of
                traceback.print_exc()
            await asyncio.sleep(LOOK_SECONDS)
        return GONE

    async def at(self, ticket: str, node: str) -> float:
        """The stage of `ticket` is on this node now; when it asked for one, if this one was not there at that time, else 0."""
        if ticket not in self._running:
            return 0.0
        self._places[ticket] = node
        asked, there = self._asked[ticket]
        return asked if self._joined and node not in there else 0.0

    async def begins(self, ticket: str, minutes: float) -> None:
        """The stage of `ticket` begins, perhaps once more; where it does not end in time, its worker is killed."""
        await self.ends(ticket)
        if ticket in self._running:
            later = asyncio.get_running_loop().call_later
            self._timers[ticket] = later(minutes * 60 + GRACE_SECONDS, self._kill, ticket)

    async def ends(self, ticket: str) -> None:
        """The stage of `ticket` has come back by itself."""
        if timer := self._timers.pop(ticket, None):
            timer.cancel()

    def _kill(self, ticket: str) -> None:
        self._overdue.add(ticket)
        ray.cancel(self._running[ticket], force=True)


def _resolve(job: Job, parents: Sequence[str]) -> str | None:
    """The end of a job that need not run. Links do this in threads: what is imported or reached first, one at a time."""
    manifests = [manifest_in(end) for end in parents]
    try:
        with OPENING:
            enter()
            job.load({place: Path(place) for place in job.inputs})
            if new := job.store not in REACHED:
                found = job.resolve(manifests)
                REACHED.add(job.store)
        if not new:
            found = job.resolve(manifests)
        return ended(job.execute(manifests, executor="ray")) if found else None
    except CorpusmillError:
        raise
    except Exception as fault:  # a stage's module that cannot be imported here, above all
        raise StageFailed(f"stage {job.label!r} cannot be opened: {type(fault).__name__}: {fault}") from fault


def execute(text: str, parents: Sequence[str], links: Any, ticket: str) -> str:
    """Run one job here, its shards on the cluster. Ray retries a lost worker: the job goes on from its commits."""
    began, node = time.time(), ray.get_runtime_context().get_node_id()
    start = ray_room.held(ray.get(links.at.remote(ticket, node)))
    enter()
    job = Job.model_validate_json(text)
    inputs = [manifest_in(end) for end in parents]
    backend = RayBackend(job, inputs, links, ticket)
    with ray_room.working(job.run, start) as idle:
        try:
            made = job.execute(inputs, executor="ray", backend=backend, since=idle.since)
        except Busy:
            idle.keep()
            return BUSY
        if made.created < began:
            idle.keep()
        return ended(made)


def lost(what: str, fault: Exception) -> str:
    """The end of a job that Ray could not bring to its own end."""
    if isinstance(fault, ray.exceptions.OutOfMemoryError):
        message = f"{what}: this machine has too little memory for it"
        return failed(StageFailed(message, mend="free some memory, or run it on a larger machine"))
    if isinstance(fault, (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)):
        return failed(StageFailed(f"{what}: its worker process died each time it was tried", mend=AGAIN))
    return failed(StageFailed(f"{what}: Ray gave it up ({_first(fault)})", mend=AGAIN))


def _first(fault: Exception) -> str:
    cause = getattr(fault, "cause", None) or fault
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"


def links(*, joined: bool) -> Any:
    """The actor of a run's links, on the head, where no other machine's loss takes it; should it die, it starts anew."""
    return LINKS.options(resources={HEAD: 0.001}).remote(joined)


EXECUTE: Any = ray.remote(retry_exceptions=False)(execute)
LINKS: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=10_000)(Links)  # type: ignore[call-overload]
