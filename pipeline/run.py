"""One run of a dag: plan, submit what must run, follow the events, tell the trackers, end with an outcome."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline import plan as planning
from pipeline.canonical import settings
from pipeline.dag import Dag, edges
from pipeline.errors import CorpusmillError, DagError
from pipeline.events import Event
from pipeline.executor import Executor
from pipeline.files import check_writable
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.plan import Plan
from pipeline.store import Store
from pipeline.stream import Follower
from pipeline.telling import Teller
from pipeline.tracker import EndRecord, RunRecord, StageRecord, State, Tracker

POLL_SECONDS = 0.2


@dataclass
class Outcome:
    """How a run ended: a state for each label, a manifest for each that is cached or finished, the fault of each that failed."""

    store: Store
    plan: Plan
    run: str = ""
    states: dict[str, State] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    faults: dict[str, BaseException] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every stage has its artifact."""
        return all(self.states.get(label) in ("cached", "finished") for label in self.plan.entries)

    def data(self, label: str) -> Path:
        """The local directory of the artifact that the stage `label` made."""
        return self.store.data(self.manifests[label])


class Observer(Protocol):
    """Who watches a run from the terminal; `event` comes from another thread than the other calls."""

    def planned(self, plan: Plan) -> None: ...

    def event(self, event: Event) -> None: ...

    def ended(self, label: str, state: State, manifest: Manifest | None, fault: str) -> None: ...


def run(
    dag: Dag,
    store: Store,
    *,
    name: str,
    dials: dict[str, Any],
    executor: Callable[[], Executor],
    trackers: Callable[[], Sequence[Tracker]] = lambda: (),
    observer: Observer | None = None,
    only: str = "",
    force: Collection[str] = (),
) -> Outcome:
    """Bring every stage of `dag` up to date. Nothing is started where nothing has to run.

    Raises DagError where `only` names a stage whose inputs are not all there. A failed stage is in the outcome.
    """
    began = time.monotonic()
    force = {dag.find(label).label for label in ((only,) if only else force)}
    plan = planning.plan(dag, store, force=force)
    if only:
        plan = _only(plan, dag, next(iter(force)))
    outcome = Outcome(store=store, plan=plan)
    for label, entry in plan.entries.items():
        if entry.manifest:
            outcome.states[label], outcome.manifests[label] = "cached", entry.manifest
    if plan.complete:
        if observer:
            observer.planned(plan)
    else:
        check_writable(store.files)
        driver = _Driver(dag, store, outcome, force, executor(), observer, list(trackers()), name, dials, only)
        if observer:  # what cannot start at all was told before the plan
            observer.planned(plan)
        driver.drive()
    outcome.seconds = time.monotonic() - began
    return outcome


def _only(plan: Plan, dag: Dag, label: str) -> Plan:
    parents = [parent.label for parent in dag.parents(dag.stages[label])]
    missing = [parent for parent in parents if plan.entries[parent].state != "cached"]
    if missing:
        why = plan.entries[missing[0]].reason
        raise DagError(
            f"{label} cannot be built alone: its input {missing[0]} is not up to date ({why})",
            mend="run the dag without --only first",
        )
    return Plan(entries={name: plan.entries[name] for name in (*parents, label)})


class _Driver:
    """Submits the jobs of one run and waits for them, while a second thread follows the events and a third tells the trackers."""

    def __init__(
        self,
        dag: Dag,
        store: Store,
        outcome: Outcome,
        force: Collection[str],
        executor: Executor,
        observer: Observer | None,
        trackers: list[Tracker],
        name: str,
        dials: dict[str, Any],
        only: str,
    ) -> None:
        self.dag, self.store, self.outcome, self.force = dag, store, outcome, force
        self.executor, self.observer, self.only = executor, observer, only
        outcome.run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"
        self.teller = Teller(trackers, outcome.warnings)
        self.name, self.dials = name, dials

    def drive(self) -> None:
        record = self._record()
        self.store.record(record.run, "run.json", record)
        self.teller.say("start", record)
        try:
            with self._following(list(record.stages)):
                self._execute()
        finally:
            self.teller.close("finished" if self.outcome.ok else "failed")
            with contextlib.suppress(OSError):  # a full disk was told by a stage
                self.store.record(record.run, "end.json", EndRecord(ended=time.time(), states=self.outcome.states))

    def _execute(self) -> None:
        try:
            self._wait(self._submit())
        except BaseException:
            self.executor.close(cancel=True)
            raise
        self.executor.close()

    def _record(self) -> RunRecord:
        makers = edges(self.dag)
        return RunRecord(
            run=self.outcome.run,
            dag=self.name,
            dials=self.dials,
            store=self.store.url,
            executor=self.executor.name,
            only=self.only,
            started=time.time(),
            stages={
                label: StageRecord(
                    stage=entry.stage,
                    kind=self.dag.stages[label].makes.kind(),
                    settings=settings(self.dag.stages[label]),
                    inputs=makers[label],
                    state=entry.state,
                    reason=entry.reason,
                )
                for label, entry in self.outcome.plan.entries.items()
            },
        )

    def _submit(self) -> dict[str, Future[Manifest]]:
        futures: dict[str, Future[Manifest]] = {}
        for label, entry in self.outcome.plan.entries.items():
            if entry.manifest:
                futures[label] = _done(entry.manifest)
                self._ended(label, "cached", entry.manifest)
                continue
            stage = self.dag.stages[label]
            parents = self.dag.parents(stage)
            job = Job.of(stage, parents, run=self.outcome.run, store=self.store.url, force=label in self.force)
            futures[label] = self.executor.submit(job, [futures[parent.label] for parent in parents])
            self._settle_done(futures)
        return futures

    def _wait(self, futures: dict[str, Future[Manifest]]) -> None:
        while pending := self._settle_done(futures):
            wait(pending, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")

    def _settle_done(self, futures: dict[str, Future[Manifest]]) -> list[Future[Manifest]]:
        """Settle in the order of the dag, so that a parent's fault is known before its child's; returns what is still on."""
        states = self.outcome.states
        for label, future in futures.items():
            if label not in states and future.done() and all(parent in states for parent in self._above(label)):
                self._settle(label, future)
        return [future for label, future in futures.items() if label not in states and not future.done()]

    def _above(self, label: str) -> list[str]:
        return [parent.label for parent in self.dag.parents(self.dag.stages[label])]

    def _settle(self, label: str, future: Future[Manifest]) -> None:
        fault = future.exception()
        if fault is None:
            self._ended(label, "finished" if future.result().run == self.outcome.run else "cached", future.result())
            return
        if any(self.outcome.states.get(parent) in ("failed", "skipped") for parent in self._above(label)):
            self._ended(label, "skipped", None)
        else:
            self.outcome.faults[label] = fault
            self._ended(label, "failed", None, str(fault) if isinstance(fault, CorpusmillError) else repr(fault))

    def _ended(self, label: str, state: State, manifest: Manifest | None, fault: str = "") -> None:
        self.outcome.states[label] = state
        if manifest:
            self.outcome.manifests[label] = manifest
        self.ended.put((label, state, manifest, fault))

    @contextmanager
    def _following(self, labels: list[str]) -> Any:
        self.ended: queue.SimpleQueue[tuple[str, State, Manifest | None, str]] = queue.SimpleQueue()
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(labels, stop), name="follower", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _follow(self, labels: list[str], stop: threading.Event) -> None:
        follower = Follower(self.store, self.outcome.run, labels)
        last = False
        while not last:
            last = stop.wait(POLL_SECONDS)
            ended = []
            while not self.ended.empty():
                ended.append(self.ended.get())
            for event in follower.new():
                self.teller.say("event", event)
                if self.observer:
                    self.observer.event(event)
            for end in ended:
                self.teller.say("stage", *end)
                if self.observer:
                    self.observer.ended(*end)


def _done(manifest: Manifest) -> Future[Manifest]:
    future: Future[Manifest] = Future()
    future.set_result(manifest)
    return future
