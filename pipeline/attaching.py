"""Follows a detached run: shows what its stages tell, brings what they make to the store here, makes what stays here, ends with its
outcome.

It may be left and taken up again at any time, from any process: what has come stays, and nothing comes twice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline import ledger
from pipeline.carrying import Carrier, Mirror
from pipeline.detached import PLAN, Detaches, End, Ends, Graph, detaching, note_end, note_over
from pipeline.driver import HANDLE, REST, Handle
from pipeline.errors import CorpusmillError, StageFailed, Stopped, StoreError, UsageError
from pipeline.executor import Executor
from pipeline.lease import held, is_held
from pipeline.manifest import Cost, Manifest
from pipeline.outcome import Outcome
from pipeline.parting import make_rest
from pipeline.plan import Plan
from pipeline.store import Store, place_of
from pipeline.telling import Teller, again
from pipeline.tracker import RunRecord, State, Tracker, verdict
from pipeline.watching import Observer, Watcher

LOOK_SECONDS = 1.5
DEAD_LOOKS = 3
"""Looks at which the driver is over and has left no end, until that is told: what it wrote last may still be on its way."""


def attach(
    store: Store,
    run: str,
    *,
    places: Callable[[str], Executor],
    trackers: Callable[[], Sequence[Tracker]] = lambda: (),
    observer: Observer | None = None,
) -> Outcome:
    """Follow `run` until it ends. Raises UsageError for one that was not detached, StageFailed where its driver is gone."""
    record, handle, plan = _read(store, run)
    outcome = Outcome(store=store, plan=plan, run=run)
    for label, entry in plan.entries.items():
        if entry.manifest:
            outcome.states[label], outcome.manifests[label] = "cached", entry.manifest
    hands = detaching(places(handle.place))
    began, carrier = time.monotonic(), hands.carrier(handle, store)
    with held(store.logs(run).with_name("attached")):  # of two who follow on this machine, one brings what was made
        if observer:
            observer.planned(plan, ())
        teller = Teller(list(trackers()), outcome.warnings, partial(again, store, [run]))
        teller.say("start", record)
        mirror = Mirror(carrier, run).start() if carrier else None
        try:
            with Watcher(store, run, list(record.stages), teller, observer, None) as watcher:
                told = _Told(store, run, outcome, watcher)
                for label, entry in plan.entries.items():
                    if entry.manifest:
                        watcher.ended(label, "cached", entry.manifest, "")
                told.all(Ends(store, run).new())
                rest = _rest(store, run)
                left = {job.label for job in rest.jobs} if rest else set[str]()
                _follow(told, hands, handle, carrier, mirror, [label for label in plan.entries if label not in left])
                if rest and not left <= set(outcome.states):
                    where = {label: plan.entries[label].place for label in left}
                    make_rest(rest, where, places, outcome.manifests, outcome.states, told.noted)
        finally:
            if mirror:
                mirror.close()
        _settle(store, run, carrier, outcome, record, teller)
    outcome.seconds = time.monotonic() - began
    return outcome


def cancel(store: Store, run: str, *, places: Callable[[str], Executor], who: str) -> None:
    """End a detached run and all that it spends; what was committed is kept."""
    _, handle, _ = _read(store, run)
    hands, why = detaching(places(handle.place)), f"{who or 'somebody'} stopped it"
    carrier = hands.carrier(handle, store)
    for one in (store, carrier.there) if carrier else (store,):
        one.ask_stop(run, why, who)
    hands.cancel(handle)
    if not is_held(store.logs(run).with_name("attached")):  # who follows it writes down its end
        _stopped(store, run, carrier, why)


def _stopped(store: Store, run: str, carrier: Carrier | None, why: str) -> None:
    """Write down of a run of which nothing is left that it was stopped, for nobody may ever follow it; unless it came to an end.

    What it told and how its stages ended is brought here, what they made is not: who follows it brings that.
    """
    record, _, plan = _read(store, run)
    ends = dict(Ends(store, run).new())
    if carrier:
        Mirror(carrier, run).catch_up("")
        ends |= Ends(carrier.there, run).new()
    made = {label: entry.manifest for label, entry in plan.entries.items() if entry.manifest}
    made |= {label: end.manifest for label, end in ends.items() if end.manifest}
    states: dict[str, State] = dict.fromkeys(record.stages, "stopped")
    states |= dict.fromkeys(made, "cached")
    states |= {label: end.state for label, end in ends.items()}
    faults = {label: end.fault for label, end in ends.items() if end.fault}
    faults |= {label: f"stage {label!r} was stopped: {why}" for label in record.stages if label not in {*made, *ends}}
    _end(store, run, carrier, states, made, faults)


def _read(store: Store, run: str) -> tuple[RunRecord, Handle, Plan]:
    record = ledger.record(store, run)
    try:
        handle, plan = store.read(Handle, f".runs/{run}/{HANDLE}"), store.read(Plan, f".runs/{run}/{PLAN}")
    except FileNotFoundError:
        record = None
    if record is None:
        raise UsageError(
            f"run {run} was not detached, or its records are gone",
            mend="corpusmill runs lists the runs; corpusmill show RUN",
        )
    return record, handle, plan


def _rest(store: Store, run: str) -> Graph | None:
    """What was left to whoever follows, if anything was."""
    try:
        return store.read(Graph, f".runs/{run}/{REST}")
    except FileNotFoundError:
        return None


@dataclass
class _Told:
    """Takes the ends of stages, once each, into the outcome and to those who watch."""

    store: Store
    run: str
    outcome: Outcome
    watcher: Watcher

    def __call__(self, label: str, end: End) -> None:
        self.outcome.states[label] = end.state
        if end.manifest:
            self.outcome.manifests[label] = end.manifest
        if end.state == "stopped":
            self.outcome.faults[label] = Stopped(end.fault)
        elif end.state == "failed":
            self.outcome.faults[label] = StageFailed(end.fault)
        self.watcher.ended(label, end.state, end.manifest, end.fault)

    def all(self, ends: Mapping[str, End]) -> None:
        """Take several."""
        for label, end in ends.items():
            self(label, end)

    def noted(self, label: str, end: End) -> None:
        """Take the end of what was made here, and write it down if it is made: whoever follows again need not make it."""
        if end.manifest:
            note_end(self.store, self.run, label, end)
        self(label, end)


def _follow(
    told: _Told, hands: Detaches, handle: Handle, carrier: Carrier | None, mirror: Mirror | None, labels: Sequence[str]
) -> None:
    """Take the ends of `labels` from there, bringing what was made, until all have ended or nobody is left to end them."""
    store, run, states = told.store, told.run, told.outcome.states
    ends, dead, over = Ends(carrier.there if carrier else store, run), 0, ""
    while not set(labels) <= set(states):
        over = hands.over(handle)
        last = ends.last() if over else None
        new = {label: end for label, end in ends.new().items() if label not in states}
        for label, end in new.items():
            if end.manifest and carrier:
                carrier.down(end.manifest)
            if mirror:
                with contextlib.suppress(StoreError):
                    mirror.look()
            told(label, end)
        dead = dead + 1 if over and not new else 0
        if (last and dead) or dead >= DEAD_LOOKS:
            break
        if not new:
            time.sleep(LOOK_SECONDS)
    left = [label for label in labels if label not in states]
    why = store.stop_asked(run) or (carrier.there.stop_asked(run) if carrier else "")  # a job may have asked, there
    if left and not why:
        with contextlib.suppress(CorpusmillError):
            hands.cancel(handle)  # nobody hands on what its jobs make: they are not to spend on
    for label in left:
        if why:
            told(label, End(state="stopped", fault=f"stage {label!r} was stopped: {why}"))
        else:
            fault = f"stage {label!r}: its driver is gone ({over})"
            told(label, End(state="failed", fault=fault))


def _settle(
    store: Store, run: str, carrier: Carrier | None, outcome: Outcome, record: RunRecord, teller: Teller
) -> None:
    """Write down here how it ended, unless somebody did."""
    from pipeline.rendering import refresh

    outcome.warnings += refresh(store, outcome.manifests.values())
    faults = {label: str(fault) for label, fault in outcome.faults.items()}
    with contextlib.suppress(CorpusmillError):
        outcome.costs = _end(store, run, carrier, outcome.states, outcome.manifests, faults)
    teller.close(verdict([outcome.states.get(label, "stopped") for label in record.stages]))


def _end(
    store: Store, run: str, carrier: Carrier | None, states: Mapping[str, State], made: Mapping[str, Manifest],
    faults: Mapping[str, str],
) -> dict[str, Cost]:  # fmt: skip
    """Write down how a run ended, unless somebody did, also where a driver that is still to begin looks; what it spent.

    Raises StoreError.
    """
    attempts = {label: place_of(one) for label, one in made.items()}
    note_over(store, run, states, attempts, faults)
    if carrier:
        with contextlib.suppress(StoreError):
            note_over(carrier.there, run, states, attempts, faults)
    return ledger.settle(store, run)
