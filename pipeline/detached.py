"""A run that goes on without the process that began it: its jobs are handed to a driver elsewhere, and followed from anywhere.

::

    .runs/<run>/{run.json, plan.json, detached.json}  written where it began: what it is, and who has it in hand
    .runs/<run>/rest.json                             what is made there, once the rest has come (pipeline.parting)
    <far>/.runs/<run>/graph.json                      what the driver was handed
    <far>/.runs/<run>/end.json                        how it ended, by its driver, or who stopped it or gave it up: it is driven no more
    {.,<far>}/.runs/<run>/ends/<label>.json           how each stage ended that was made here or there, as it ends

`far` is the store as the driver sees it, which may be the same one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.carrying import Carrier
from pipeline.driver import Beat, Handle
from pipeline.errors import CorpusmillError, Stopped, StoreError, UsageError
from pipeline.executor import Executor, done
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.resources import Resources
from pipeline.spending import Spending
from pipeline.store import Store, place_of
from pipeline.tracker import EndRecord, State

GRAPH, PLAN = "graph.json", "plan.json"
POLL_SECONDS = 0.5


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Graph(_Record):
    """All jobs of a run, in the order of the dag, and the manifests of what was there before."""

    run: str
    store: str
    jobs: tuple[Job, ...]
    known: dict[str, Manifest]
    max_cost: float | None = None
    whole: bool = True
    """Whether the run ends with these jobs; where it does not, its end is for another to write down."""
    driver: Resources = Resources()
    """What the driver holds of its machine, with its price."""


class End(_Record):
    """How one stage ended."""

    state: State
    manifest: Manifest | None = None
    fault: str = ""


class Detaches(Protocol):
    """What an executor has beside its one verb, where its runs can go on by themselves."""

    def detach(self, graph: Graph) -> Handle:
        """Hand the jobs over to a driver of the place's own, with all that they need from here. Raises CorpusmillError."""
        ...

    def carrier(self, handle: Handle, store: Store) -> Carrier | None:
        """What carries between `store` and that of the driver; None where they are the same."""
        ...

    def over(self, handle: Handle) -> str:
        """Why the driver will do no more; empty while it lives."""
        ...

    def cancel(self, handle: Handle) -> None:
        """End the driver and everything that it has started: nothing is spent any more."""
        ...


def detaching(executor: Executor) -> Detaches:
    """The same executor as one whose runs go on by themselves. Raises UsageError where it is none."""
    if not hasattr(executor, "detach"):
        raise UsageError(
            f"a run on {executor.name!r} ends with this process",
            mend="detach one that is at one other place alone: --on modal --detach",
        )
    found: Detaches = executor  # type: ignore[assignment]
    return found


def drive(graph: Graph, executor: Executor, beat: Beat, until: float = float("inf")) -> bool:
    """Drive the run of `graph` where its driver is; False where the time `until` (monotonic) came first, and jobs are still on.

    What an earlier driver of the same run has written down stands: its ends are not waited for again. `beat` is told before
    each end: who follows looks no further than the last one.
    """
    store, states = Store(graph.store), dict[str, State]()
    attempts = {label: place_of(made) for label, made in graph.known.items()}
    faults: dict[str, str] = {}
    futures: dict[str, Future[Manifest]] = {label: done(made) for label, made in graph.known.items()}
    parents = {job.label: job.parents for job in graph.jobs}

    def ended(label: str, end: End) -> None:
        states[label] = end.state
        if end.fault:
            faults[label] = end.fault
        if end.manifest:
            attempts[label] = place_of(end.manifest)

    for label in graph.known:
        before = end_of(store, graph.run, label)
        states[label] = before.state if before else "cached"
    for job in graph.jobs:
        known = end_of(store, graph.run, job.label)
        if known:
            futures[job.label] = _of(known)
            ended(job.label, known)
        else:
            futures[job.label] = executor.submit(job, [futures[parent] for parent in job.parents])
    spending = Spending(store, graph.run, graph.max_cost)
    while left := {label: future for label, future in futures.items() if label not in states}:
        spending.look()
        wait(left.values(), timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        if time.monotonic() >= until:  # what ends from now on may have been left, and not done
            return False
        for label, future in left.items():
            if future.done() and all(parent in states for parent in parents[label]):
                end = told(graph.run, future, [states[parent] for parent in parents[label]])
                with contextlib.suppress(StoreError):  # the end itself meets what is wrong with the store
                    beat.tell()
                note_end(store, graph.run, label, end)
                ended(label, end)
    if graph.whole:
        note_over(store, graph.run, states, attempts, faults)
    return True


def note_over(
    store: Store, run: str, states: Mapping[str, State], attempts: Mapping[str, str], faults: Mapping[str, str]
) -> None:
    """Write down how a run ended, unless somebody did."""
    record = EndRecord(ended=time.time(), states=dict(states), attempts=dict(attempts), faults=dict(faults))
    store.files.create(f".runs/{run}/end.json", record.model_dump_json(indent=1).encode())


def told(run: str, future: Future[Manifest], above: Sequence[State]) -> End:
    """How a stage ended whose `future` has, in a run; `above` are the states of what it needs."""
    fault = future.exception()
    if fault is None:
        made = future.result()
        return End(state="finished" if made.run == run else "cached", manifest=made)
    if {"failed", "skipped", "stopped"} & set(above):
        return End(state="skipped")
    if isinstance(fault, Stopped):
        return End(state="stopped", fault=fault.message)
    return End(state="failed", fault=str(fault) if isinstance(fault, CorpusmillError) else repr(fault))


def note_end(store: Store, run: str, label: str, end: End) -> None:
    """Write down how a stage ended, unless somebody did."""
    store.files.create(f".runs/{run}/ends/{label}.json", end.model_dump_json().encode())


def end_of(store: Store, run: str, label: str) -> End | None:
    """How a stage ended, where that is written down."""
    try:
        return store.read(End, f".runs/{run}/ends/{label}.json")
    except FileNotFoundError:
        return None


def _of(end: End) -> Future[Manifest]:
    if end.manifest:
        return done(end.manifest)
    future: Future[Manifest] = Future()
    future.set_exception(Stopped(end.fault) if end.state == "stopped" else CorpusmillError(end.fault or "skipped"))
    return future


class Ends:
    """How the stages of a detached run ended, asked of the store that its driver writes to, in the order in which they are seen."""

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run, self._seen = store, run, set[str]()

    def new(self) -> Mapping[str, End]:
        """Ends not returned before; what cannot be read now is read at a later look."""
        found: dict[str, End] = {}
        with contextlib.suppress(StoreError):
            for name in self._store.files.children(f".runs/{self._run}/ends"):
                label = name.removesuffix(".json")
                if name.endswith(".json") and not name.startswith(".") and label not in self._seen:
                    end = end_of(self._store, self._run, label)
                    if end:
                        found[label] = end
                        self._seen.add(label)
        return found

    def last(self) -> EndRecord | None:
        """The end of the run, if it has one."""
        with contextlib.suppress(StoreError, FileNotFoundError):
            return self._store.read(EndRecord, f".runs/{self._run}/end.json")
        return None
