"""One run of a dag: plan, submit what must run, follow the events, tell the trackers, end with an outcome."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from pipeline.canonical import settings
from pipeline.dag import Dag, edges
from pipeline.detached import PLAN, Detaches, End, Graph, detaching, note_end
from pipeline.driver import HANDLE, REST
from pipeline.entry import Entry
from pipeline.errors import CorpusmillError, Stopped, StoreError
from pipeline.executor import Executor, done
from pipeline.files import check_writable
from pipeline.job import Job
from pipeline.keeping import note_use
from pipeline.lease import held
from pipeline.ledger import settle
from pipeline.manifest import Acceptance, Manifest
from pipeline.outcome import Outcome
from pipeline.parting import Parts, parted
from pipeline.placed import gathered
from pipeline.places import ALL_HERE, Places
from pipeline.plan import Plan
from pipeline.request import Request
from pipeline.selection import agree, check_places, select, unpriced
from pipeline.store import Store, place_of
from pipeline.telling import Teller, again
from pipeline.tracker import EndRecord, RunRecord, StageRecord, State, Tracker, verdict
from pipeline.watching import POLL_SECONDS, Observer, Watcher
from pipeline.who import commit, user, who

NOTHING_ASKED = Request()


def run(
    dag: Dag,
    store: Store,
    *,
    name: str,
    dials: dict[str, Any],
    executor: Callable[[], Executor],
    elsewhere: Callable[[str], Executor] = ALL_HERE,
    trackers: Callable[[], Sequence[Tracker]] = lambda: (),
    observer: Observer | None = None,
    request: Request = NOTHING_ASKED,
) -> Outcome:
    """Bring what `request` is about up to date, by default all of `dag`. Nothing is started where nothing has to run.

    `executor` makes the one of the place of the whole run (`request.on`), `elsewhere` that of any other by its name.
    Raises DagError for a part that cannot be built, DecisionNeeded before anything starts where it would rebuild or spend
    more than was agreed to. A failed stage is in the outcome.
    """
    began = time.monotonic()
    places = Places(lambda place: executor() if place == request.on else elsewhere(place))
    whole, (dag, plan) = dag, select(dag, store, request, places)
    agree(plan, request)
    outcome, warnings = Outcome(store=store, plan=plan), unpriced(plan, dag, request)
    for label, entry in plan.entries.items():
        if entry.manifest:
            outcome.states[label], outcome.manifests[label] = "cached", entry.manifest
    _accept(plan, store, request)
    if plan.complete:
        if observer:
            observer.planned(plan, warnings)
        with contextlib.suppress(StoreError):  # who may only read it uses it all the same
            note_use(store, outcome.manifests.values())
    else:
        check_places(plan, dag, places, store)
        hands = gathered(places, {entry.label: entry.place for entry in plan.waiting})
        check_writable(store.files)
        parts = parted(plan, dag) if request.detach else None
        there = (
            detaching(gathered(places, {label: plan.entries[label].place for label in parts.away})) if parts else None
        )
        part = "" if set(plan.entries) == set(whole.stages) else _part(request)
        told = [] if request.detach else list(trackers())
        driver = _Driver(dag, store, outcome, request, hands, observer, told, name, dials, part)
        if observer:  # what cannot start at all was told before the plan
            observer.planned(plan, warnings)
        with held(store.logs(outcome.run).with_name("lease")):  # who asks sees that it is alive
            if parts and there:
                driver.detach(parts, there)
            else:
                driver.drive()
    outcome.seconds = time.monotonic() - began
    return outcome


def _accept(plan: Plan, store: Store, request: Request) -> None:
    for entry in plan.entries.values():
        if entry.accepts and entry.manifest:
            check_writable(store.files)
            word = Acceptance(code=entry.accepts, who=who(), when=time.time(), why=request.why)
            store.accept(entry.manifest, word)


def _part(request: Request) -> str:
    options = {"--only": request.only, "--from": request.start, "--until": request.until}
    return " ".join(f"{option} {label}" for option, label in options.items() if label)


class _Driver:
    """Submits the jobs of one run and waits for them, while a second thread follows the events and a third tells the trackers."""

    def __init__(
        self,
        dag: Dag,
        store: Store,
        outcome: Outcome,
        request: Request,
        executor: Executor,
        observer: Observer | None,
        trackers: list[Tracker],
        name: str,
        dials: dict[str, Any],
        part: str,
    ) -> None:
        self.dag, self.store, self.outcome, self.request = dag, store, outcome, request
        self.executor, self.observer, self.part = executor, observer, part
        now = time.time()
        outcome.run = (
            f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{int(now % 1 * 1000):03d}{uuid.uuid4().hex[:3]}"
        )
        self.teller = Teller(trackers, outcome.warnings, partial(again, store, [outcome.run]))
        self.name, self.dials = name, dials
        self.told: dict[str, str] = {}

    def drive(self) -> None:
        record = self._record()
        self.store.record(record.run, "run.json", record)
        self.teller.say("start", record)
        try:
            with self._watched():
                self._execute(self.outcome.plan.entries)
            self._refresh()
        finally:
            self._write_end()
            states = self.outcome.states
            self.teller.close(verdict([states.get(label, "stopped") for label in record.stages]))

    def _watched(self) -> Watcher:
        labels, most = list(self.outcome.plan.entries), self.request.max_cost
        self.watcher = Watcher(self.store, self.outcome.run, labels, self.teller, self.observer, most)
        return self.watcher

    def _write_end(self) -> None:
        with contextlib.suppress(StoreError):  # a full disk was told by a stage
            self.store.record(self.outcome.run, "end.json", self._end())
            self.outcome.costs = settle(self.store, self.outcome.run)

    def detach(self, parts: Parts, there: Detaches) -> None:
        """Make here what has to be there before, hand the rest over to a driver of its place's own, and write down who has it."""
        self.store.record(self.outcome.run, "run.json", self._record())
        self.store.record(self.outcome.run, PLAN, self.outcome.plan)
        try:
            with self._watched():
                self._execute(parts.first)
                if not set(parts.first) <= set(self.outcome.manifests):
                    for label in (*parts.away, *parts.last):
                        self._ended(label, "skipped", None)
            if not self.outcome.faults:
                self._leave(parts, there)
        finally:
            if not self.outcome.detached:
                self._write_end()
            self.teller.close("stopped")  # it has nobody to tell: who attaches has

    def _leave(self, parts: Parts, there: Detaches) -> None:
        run, made = self.outcome.run, self.outcome.manifests
        for label in parts.first:
            note_end(self.store, run, label, End(state=self.outcome.states[label], manifest=made[label]))
        away, last = (
            Graph(run=run, store=self.store.url, jobs=jobs, known=dict(made), max_cost=self.request.max_cost, whole=not parts.last)
            for jobs in (self._jobs(parts.away), self._jobs(parts.last))
        )  # fmt: skip
        if parts.last:
            self.store.record(run, REST, last)
        self.store.record(run, HANDLE, there.detach(away))
        self.outcome.detached = True

    def _jobs(self, labels: Sequence[str]) -> tuple[Job, ...]:
        return tuple(self._job(self.outcome.plan.entries[label]) for label in labels)

    def _refresh(self) -> None:
        """Let the cards of models tell the scores that have come."""
        from pipeline.rendering import refresh

        self.outcome.warnings += refresh(self.store, self.outcome.manifests.values())

    def _end(self) -> EndRecord:
        attempts = {label: place_of(manifest) for label, manifest in self.outcome.manifests.items()}
        return EndRecord(ended=time.time(), states=self.outcome.states, attempts=attempts, faults=self.told)

    def _execute(self, labels: Collection[str]) -> None:
        """Bring `labels` about, given all that is cached."""
        try:
            self._wait(self._submit(labels))
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
            only=self.part,
            started=time.time(),
            stages={
                label: StageRecord(
                    stage=entry.stage,
                    kind=self.dag.stages[label].makes.kind(),
                    settings=settings(self.dag.stages[label]),
                    inputs=makers[label],
                    state=entry.state,
                    reason=entry.reason,
                    attempt=place_of(entry.manifest) if entry.manifest else "",
                    expected_seconds=entry.forecast.seconds,
                    expected_dollars=entry.forecast.dollars,
                )
                for label, entry in self.outcome.plan.entries.items()
            },
            user=user(),
            commit=commit(),
        )

    def _submit(self, labels: Collection[str]) -> dict[str, Future[Manifest]]:
        futures: dict[str, Future[Manifest]] = {}
        for label, entry in self.outcome.plan.entries.items():
            if entry.manifest:
                futures[label] = done(entry.manifest)
                self._ended(label, "cached", entry.manifest)
                continue
            if label not in labels:
                continue
            parents = self.dag.parents(self.dag.stages[label])
            job = self._job(entry)
            futures[label] = self.executor.submit(job, [futures[parent.label] for parent in parents])
            self._settle_done(futures)
        return futures

    def _job(self, entry: Entry) -> Job:
        stage = self.dag.stages[entry.label]
        run, url, most = self.outcome.run, self.store.url, self.request.max_cost
        return Job.of(stage, self.dag.parents(stage), run=run, store=url, force=entry.forced, max_cost=most)

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
        if any(self.outcome.states.get(parent) in ("failed", "skipped", "stopped") for parent in self._above(label)):
            self._ended(label, "skipped", None)
        elif isinstance(fault, Stopped):
            self.outcome.faults[label] = fault
            self._ended(label, "stopped", None, fault.message)
        else:
            self.outcome.faults[label] = fault
            self._ended(label, "failed", None, str(fault) if isinstance(fault, CorpusmillError) else repr(fault))

    def _ended(self, label: str, state: State, manifest: Manifest | None, fault: str = "") -> None:
        self.outcome.states[label] = state
        if fault:
            self.told[label] = fault
        if manifest:
            self.outcome.manifests[label] = manifest
        self.watcher.ended(label, state, manifest, fault)
