"""The plan: for each stage of a dag whether it is cached or runs, why, what it cost last time and what to expect now.

Below a stage that runs, keys are not known yet: such a stage runs unless what is above it yields the same bytes again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline import canonical
from pipeline.code import code_of
from pipeline.dag import Dag
from pipeline.entry import Entry, PlanState
from pipeline.extension import extends, find, share
from pipeline.forecast import forecast, known_sum, makespan
from pipeline.machine import machine
from pipeline.manifest import CodeRecord, Manifest
from pipeline.moving import Move
from pipeline.places import Put
from pipeline.prices import hourly
from pipeline.reasons import explain_drift, in_force, unless, why
from pipeline.spent import kept
from pipeline.stage import Stage
from pipeline.store import Store
from pipeline.tables import duration

NOWHERE: Mapping[str, Put] = {}


class Plan(BaseModel):
    """The entries in the order of the dag. `drift` are the stages that run only because code drifted, those below included;
    `moves` is what leaves its place for what runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: dict[str, Entry]
    drift: tuple[str, ...] = ()
    wall_seconds: float | None = None
    moves: tuple[Move, ...] = ()

    @property
    def waiting(self) -> list[Entry]:
        """The entries that are not cached."""
        return [entry for entry in self.entries.values() if entry.state != "cached"]

    @property
    def places(self) -> list[str]:
        """The places in play, each once: those of what has to run."""
        return list(dict.fromkeys(entry.place for entry in self.waiting))

    @property
    def complete(self) -> bool:
        """Whether nothing has to run."""
        return not self.waiting

    @property
    def drifted(self) -> list[str]:
        """The labels whose own code drifted."""
        return [entry.label for entry in self.entries.values() if entry.state == "drift"]

    @property
    def drift_seconds(self) -> float | None:
        """What rebuilding all that drifted would take; None where a part of it is unknown."""
        return known_sum([self.entries[label].forecast.seconds for label in self.drift])

    @property
    def drift_dollars(self) -> float | None:
        """What rebuilding all that drifted would cost; None where a part of it is unknown."""
        return known_sum([self.entries[label].forecast.dollars for label in self.drift])

    @property
    def seconds(self) -> float | None:
        """Stage time to expect; None where a part of it is unknown."""
        return known_sum([entry.forecast.seconds for entry in self.waiting])

    @property
    def dollars(self) -> float | None:
        """Dollars to expect; None where a part of it is unknown."""
        return known_sum([entry.forecast.dollars for entry in self.waiting])

    def as_json(self) -> dict[str, Any]:
        """The plan for machines: each stage's state, reason, key, cost and expectation; totals; what drift would cost."""
        stages = [
            {
                "label": entry.label,
                "stage": entry.stage,
                "state": entry.state,
                "reason": entry.reason,
                "place": entry.place,
                "stays": entry.stays,
                "key": entry.key,
                "last_cost": entry.last_cost.model_dump() if entry.last_cost else None,
                "expected": entry.forecast.model_dump(),
            }
            for entry in self.entries.values()
        ]
        totals = {
            "run": len(self.waiting),
            "seconds": self.seconds,
            "wall_seconds": self.wall_seconds,
            "dollars": self.dollars,
        }
        drift = {
            "labels": self.drifted,
            "rebuilds": list(self.drift),
            "seconds": self.drift_seconds,
            "dollars": self.drift_dollars,
        }
        moving = [move.model_dump() for move in self.moves]
        return {"stages": stages, "totals": totals, "drift": drift if self.drift else None, "moves": moving}


class _History:
    """Reads each part of the store once, however often one dag is planned; and says where each stage is put."""

    def __init__(self, store: Store, where: Mapping[str, Put]) -> None:
        self.store, self.where = store, where
        self._attempts: dict[tuple[str, str], list[Manifest]] = {}
        self._stages: dict[str, list[Manifest]] = {}

    def attempts(self, stage: str, key: str) -> list[Manifest]:
        if (stage, key) not in self._attempts:
            self._attempts[stage, key] = self.store.attempts(stage, key)
        return self._attempts[stage, key]

    def of_stage(self, stage: str) -> list[Manifest]:
        if stage not in self._stages:
            self._stages[stage] = self.store.of_stage(stage)
        return self._stages[stage]


def plan(
    dag: Dag, store: Store, *, force: Collection[str] = (), accept: Collection[str] = (), where: Mapping[str, Put] = NOWHERE
) -> Plan:  # fmt: skip
    """Plan `dag` against what the store holds; labels in `force` run even where cached, drift in `accept` is kept.

    `where` says of each label where it runs, as far as that matters.
    """
    history = _History(store, where)
    needed: dict[str, str] = {}
    entries = _entries(dag, history, force, accept, needed)
    while gone := _dropped_but_needed(dag, entries, needed):
        needed |= gone
        entries = _entries(dag, history, force, accept, needed)
    drift = _drift(dag, history, force, accept, needed, entries)
    return Plan(entries=entries, drift=drift, wall_seconds=wall(dag, entries))


def _entries(
    dag: Dag, history: _History, force: Collection[str], accept: Collection[str], needed: Mapping[str, str]
) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for label, stage in dag.stages.items():
        asked = "asked for" if label in force else needed.get(label, "")
        entries[label] = _entry(stage, entries, history, asked, label in accept)
    return entries


def _dropped_but_needed(dag: Dag, entries: Mapping[str, Entry], known: Collection[str]) -> dict[str, str]:
    """Cached stages without data that a stage which runs reads, or that are what the dag is for; with the reason to rebuild."""
    readers: dict[str, str] = {stage.label: "the dag is for it" for stage in dag.targets}
    for label, entry in entries.items():
        if entry.state != "cached":
            readers |= {parent.label: f"{label} reads it" for parent in dag.parents(dag.stages[label])}
    return {
        label: f"its data was dropped, and {reader}"
        for label, reader in readers.items()
        if entries[label].dropped and label not in known
    }


def _drift(
    dag: Dag, history: _History, force: Collection[str], accept: Collection[str], needed: Mapping[str, str],
    entries: Mapping[str, Entry],
) -> tuple[str, ...]:  # fmt: skip
    """What would be cached, had every drifted stage been accepted; the drifted stages themselves included."""
    kept, entries_kept = set(accept), entries
    while drifted := {label for label, entry in entries_kept.items() if entry.state == "drift"} - kept:
        kept |= drifted
        entries_kept = _entries(dag, history, force, kept, needed)
    caused = [label for label in entries if entries[label].state != "cached" and entries_kept[label].state == "cached"]
    return tuple(label for label in entries if label in caused or entries[label].state == "drift")


def wall(dag: Dag, entries: Mapping[str, Entry]) -> float | None:
    """Wall seconds until all of `entries` that are not cached have run, here on this machine's cores; None is unknown."""
    seconds = {label: entry.forecast.seconds for label, entry in entries.items() if entry.state != "cached"}
    known = {label: each for label, each in seconds.items() if each is not None}
    if len(known) < len(seconds):
        return None
    parents = {label: [parent.label for parent in dag.parents(dag.stages[label])] for label in known}
    cores = {label: 0.0 if entries[label].away else dag.stages[label].resources.cpus for label in known}
    return makespan(known, parents, cores, float(machine()["cpus"] or 1))


def _entry(stage: Stage[Any], above: Mapping[str, Entry], history: _History, asked: str, accepted: bool) -> Entry:
    settings, code = canonical.settings(stage), code_of(stage)
    makers = {place: artifact.producer.label for place, artifact in stage.inputs().items() if artifact.producer}
    unsettled = [label for label in dict.fromkeys(makers.values()) if above[label].state != "cached"]
    found = {place: above[label].made for place, label in makers.items()}
    known = {place: made.digest if made else None for place, made in found.items()}
    digests = {place: digest for place, digest in known.items() if digest is not None}
    key = canonical.key_of(stage.stage_name(), settings, digests) if len(digests) == len(makers) else None
    made = history.attempts(stage.stage_name(), key) if key else []
    force = history.store.choose(made, code.digest)
    if accepted and made and not force:
        force = made[0]
    if force and not unsettled and not asked:
        return _cached(stage, key, force, code, history.store)
    earlier = history.of_stage(stage.stage_name())
    own = next((made for made in earlier if made.label == stage.label), None)
    last = own or (earlier[0] if earlier else None)  # another of its kind says at least what it may cost
    state, reason = _state(settings, code, known, makers, own, unsettled, made, force is not None, asked)
    sizes = {place: made.size if made else None for place, made in found.items()}
    anew = unsettled or (asked and history.store.holds(made))
    shorter = None if anew else find(stage, settings, digests, code.digest, earlier, history.store)
    if shorter and state == "run":
        reason = "; ".join(filter(None, [asked, extends(stage, shorter, code)]))
    done = (
        0.0
        if unsettled or not key
        else kept(history.store.files, f"{stage.stage_name()}/{key}", code.digest).wall_seconds
    )
    reason += f"; goes on from {duration(done)} of committed work" if done else ""
    left, there = share(stage, shorter), history.where.get(stage.label, Put())
    return Entry(
        label=stage.label, stage=stage.stage_name(), state=state, reason=reason, key=None if unsettled else key, last=last,
        forecast=forecast(stage, earlier, sizes, left, done), share=left, done=done, forced=bool(asked),
        paid=bool(stage.resources.gpus) or hourly(stage.resources) is not None,
        place=there.place, away=there.away, stays=there.stays,
    )  # fmt: skip


def _cached(stage: Stage[Any], key: str | None, made: Manifest, code: CodeRecord, store: Store) -> Entry:
    known = made.origin or made.code.digest == code.digest or store.acceptance(made, code.digest)
    return Entry(
        label=stage.label, stage=stage.stage_name(), state="cached", reason=in_force(made, code, store), key=key, manifest=made,
        last=made, accepts="" if known else code.digest, dropped=store.is_dropped(made),
    )  # fmt: skip


def _state(
    settings: Mapping[str, Any], code: CodeRecord, digests: Mapping[str, str | None], makers: Mapping[str, str],
    own: Manifest | None, unsettled: list[str], made: Sequence[Manifest], in_force: bool, asked: str,
) -> tuple[PlanState, str]:  # fmt: skip
    """The state of a stage that is not cached, and why."""
    if asked:
        return "run", asked
    if unsettled and in_force:
        return "depends", unless(unsettled)
    if made and not in_force:
        return "drift", explain_drift(made[0].code, code)
    return "run", why(settings, code, {} if unsettled else digests, makers, own, unsettled)
