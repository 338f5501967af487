"""Tells a tracker of a run that is over, from what the store has on record: the calls that its driver made, or would have made.

Where its events were removed, or it has no record at all, manifests alone are told.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from pipeline import ledger
from pipeline.catalogue import each, everything
from pipeline.errors import StoreError, UsageError
from pipeline.events import Event
from pipeline.lease import held, is_held
from pipeline.manifest import Manifest
from pipeline.store import Store, place_of
from pipeline.stream import Follower
from pipeline.tracker import RunRecord, StageRecord, State, Tracker

ENDED: Mapping[str, State] = {one: one for one in ("cached", "finished", "failed", "skipped", "stopped")}
"""Stages of which a driver tells that they ended; those that were cut short end with their run."""
FOUND = "what its manifests say"
"""The part of a dag that a run without a record has; no more is known of it."""


@dataclass
class Tale:
    """One run as it is told: its record, how it ended, how each stage ended with which manifest or fault, its events by label.

    What could not be read is named in `complaints`, and the rest is told.
    """

    record: RunRecord
    state: State
    ends: Mapping[str, tuple[State, Manifest | None, str]]
    events: Mapping[str, Iterator[Event]]
    complaints: list[str] = field(default_factory=list)


def whole(store: Store) -> list[tuple[str, Callable[[], Tale]]]:
    """All that the store can tell, in order of beginning, so that what a run found is told before it: ids, and calls for the tales.

    Runs that were cut short before they had a record are left out: nothing is known of them.
    """
    runs = [run for run in ledger.runs(store) if store.files.exists(f".runs/{run}/run.json")]
    begun = zip(runs, each(store, lambda run: ledger.record(store, run), runs), strict=True)
    found = [(record.started if record else 0.0, run, partial(recorded, store, run)) for run, record in begun]
    for tale in unrecorded(store):
        found.append((tale.record.started, tale.record.run, partial(lambda tale: tale, tale)))
    return [(run, call) for _, run, call in sorted(found, key=lambda item: item[:2])]


def recorded(store: Store, run: str) -> Tale:
    """The tale of a run of the store. Raises UsageError for one that is still on, StoreError for one that has no record."""
    one, begun = ledger.account(store, run), ledger.record(store, run)
    if isinstance(one, str) or begun is None:
        said = one if isinstance(one, str) else f"{store.url}/.runs/{run}/run.json is gone"
        raise StoreError(said, mend="corpusmill runs lists the runs that can be read")
    if is_live(store, run):
        raise UsageError(
            f"run {run} is still on, for all that is known: its own driver tells of it",
            mend="wait for its end, or stop it; one that is detached comes to its end with corpusmill attach",
        )
    follower, complaints = Follower(store, run, list(begun.stages)), list(one.complaints)
    follower.complaints = complaints
    end = ledger.end(store, run)
    ends: dict[str, tuple[State, Manifest | None, str]] = {}
    for label, stage in one.stages.items():
        state = ENDED.get(stage.state)
        if state is None or (end and label not in end.states and state == "stopped"):
            continue
        made = _manifest(store, stage.attempt, complaints) if state in ("cached", "finished") else None
        if made and made.run == run:  # by a job that died, and found by the one that took its place
            state = "finished"
        ends[label] = state, made, stage.fault
    verdict: State = next((state for state, word in ledger.ENDS.items() if word == one.ended), "killed")
    return Tale(begun.model_copy(update={"store": store.url}), verdict, ends, follower.each(), complaints)


def is_live(store: Store, run: str) -> bool:
    """Whether a driver has the run in hand: it tells of it itself."""
    if is_held(store.logs(run).with_name("lease")):
        return True
    one = ledger.account(store, run) if ledger.end(store, run) is None else ""
    return not isinstance(one, str) and one.ended in ledger.OPEN


def _manifest(store: Store, place: str, complaints: list[str]) -> Manifest | None:
    try:
        made = store.manifest(place) if place else None
    except StoreError as fault:
        complaints.append(fault.message)
        return None
    if made is None:
        complaints.append(f"{store.url}/{place} has no manifest")
    return made


def unrecorded(store: Store) -> list[Tale]:
    """The tales of artifacts that no run's record has as its own: adopted ones, and those of runs that were cleaned away.

    Each adopted one is a run of its own; the others are told together under the id that their manifests have of their run.
    """
    groups: dict[str, dict[str, Manifest]] = {}
    told: dict[str, set[str] | None] = {}
    for made in reversed(everything(store).manifests):
        if made.run not in told:
            one = ledger.account(store, made.run)
            told[made.run] = None if isinstance(one, str) else {stage.attempt for stage in one.stages.values()}
        places = told[made.run]
        if places is None or place_of(made) not in places:
            lost = places is None and not made.origin and made.label not in groups.get(made.run, {})
            groups.setdefault(made.run if lost else made.attempt, {})[made.label] = made
    return [_of_manifests(store, run, made) for run, made in groups.items()]


def _of_manifests(store: Store, run: str, made: Mapping[str, Manifest]) -> Tale:
    """A tale of manifests alone: every stage took from its beginning, as its cost says, to its manifest."""
    events = {label: iter(_life(one)) for label, one in made.items()}
    adopted = all(one.origin for one in made.values())
    began = min(one.created - one.cost.wall_seconds for one in made.values())
    record = RunRecord(
        run=run, dag="adopted" if adopted else "unrecorded", dials={}, store=store.url, only=FOUND, started=began,
        executor=next(iter(made.values())).executor, stages={label: _drawn(one) for label, one in made.items()},
    )  # fmt: skip
    return Tale(record, "finished", {label: ("finished", one, "") for label, one in made.items()}, events)


def _drawn(made: Manifest) -> StageRecord:
    reason = f"adopted from {made.origin['from']}" if made.origin else "its run has no record any more"
    inputs = {place: given.label for place, given in made.inputs.items()}
    return StageRecord(
        stage=made.stage, kind=made.kind, settings=made.settings, inputs=inputs, state="run", reason=reason
    )


def _life(made: Manifest) -> list[Event]:
    moments = {"started": made.created - made.cost.wall_seconds, "finished": made.created}
    return [
        Event(label=made.label, kind="state", time=moment, data={"state": state, "key": made.key})
        for state, moment in moments.items()
    ]


def tell(store: Store, tale: Tale, tracker: Tracker, heard: Callable[[], None] = lambda: None) -> None:
    """Tell `tracker` the whole tale; `heard` is called after each event. Raises what the tracker raises.

    Two who tell on this machine do so one after the other, so that the second finds what the first wrote.
    """
    with held(store.local / ".runs" / ".telling"):
        tracker.start(tale.record)
        waiting, over = dict(tale.ends), set[str]()
        for label, event in _merged(tale):
            if event is not None:
                tracker.event(event)
                heard()
                continue
            over.add(label)
            for child in [one for one in tale.record.stages if one in waiting and one in over]:
                if not any(parent in waiting for parent in tale.record.stages[child].inputs.values()):
                    tracker.stage(child, *waiting.pop(child))
        tracker.finish(tale.state)


def _merged(tale: Tale) -> Iterator[tuple[str, Event | None]]:
    """The events of all labels in order of time, and after the last of each label the label with None."""

    def of(label: str, events: Iterable[Event]) -> Iterator[tuple[float, str, Event | None]]:
        last = tale.record.started
        for event in events:
            last = max(last, event.time)
            yield last, label, event
        yield last, label, None

    lives = [of(label, tale.events.get(label, ())) for label in tale.record.stages]
    for _, label, event in heapq.merge(*lives, key=lambda item: item[0]):
        yield label, event
