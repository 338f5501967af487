"""The plan: for each stage of a dag whether it is cached or runs, why, what it cost last time and what to expect now.

Below a stage that runs, keys are not known yet: such a stage runs unless what is above it yields the same bytes again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline import canonical
from pipeline.code import changed_packages, code_record, explain_drift
from pipeline.dag import Dag
from pipeline.manifest import CodeRecord, Cost, Manifest
from pipeline.stage import Stage
from pipeline.store import Store

PlanState = Literal["cached", "run", "drift", "depends"]


class Entry(BaseModel):
    """What the plan says of one stage. `manifest` is the attempt in force (cached only), `last` the newest earlier one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    stage: str
    state: PlanState
    reason: str
    key: str | None = None
    manifest: Manifest | None = None
    last: Manifest | None = None

    @property
    def last_cost(self) -> Cost | None:
        """What the newest earlier attempt cost; None where there was none."""
        return self.last.cost if self.last else None

    @property
    def expected_seconds(self) -> float | None:
        """Wall seconds to expect now: none for a cached stage, those of the last attempt otherwise; None is unknown."""
        if self.state == "cached":
            return 0.0
        return self.last.cost.wall_seconds if self.last else None


class Plan(BaseModel):
    """The entries in the order of the dag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: dict[str, Entry]

    @property
    def complete(self) -> bool:
        """Whether nothing has to run."""
        return all(entry.state == "cached" for entry in self.entries.values())

    def as_json(self) -> list[dict[str, Any]]:
        """The plan for machines: label, stage, state, reason, key, last cost and expectation of each stage."""
        return [
            {
                "label": entry.label,
                "stage": entry.stage,
                "state": entry.state,
                "reason": entry.reason,
                "key": entry.key,
                "last_cost": entry.last_cost.model_dump() if entry.last_cost else None,
                "expected_seconds": entry.expected_seconds,
            }
            for entry in self.entries.values()
        ]


def plan(dag: Dag, store: Store, *, force: Collection[str] = ()) -> Plan:
    """Plan `dag` against what the store holds; the labels in `force` run even where they are cached."""
    entries: dict[str, Entry] = {}
    for label, stage in dag.stages.items():
        entries[label] = _entry(stage, entries, store, label in force)
    return Plan(entries=entries)


def _entry(stage: Stage[Any], above: Mapping[str, Entry], store: Store, forced: bool) -> Entry:
    settings, code = canonical.settings(stage), code_record(type(stage))
    makers = {place: artifact.producer.label for place, artifact in stage.inputs().items() if artifact.producer}
    unsettled = [label for label in dict.fromkeys(makers.values()) if above[label].state != "cached"]
    known = {place: _digest(above[label]) for place, label in makers.items()}
    digests = {place: digest for place, digest in known.items() if digest is not None}
    key = canonical.key_of(stage.stage_name(), settings, digests) if len(digests) == len(makers) else None
    made = store.attempts(stage.stage_name(), key) if key else []
    force = next((attempt for attempt in made if attempt.code.digest == code.digest), None)
    if force and not unsettled and not forced:
        return Entry(
            label=stage.label, stage=stage.stage_name(), state="cached", reason=_moved(force.code, code), key=key,
            manifest=force, last=force,
        )  # fmt: skip
    earlier = store.of_stage(stage.stage_name())
    own = next((made for made in earlier if made.label == stage.label), None)
    last = own or (earlier[0] if earlier else None)  # another of its kind says at least what it may cost

    def entry(state: PlanState, reason: str, manifest: Manifest | None = None) -> Entry:
        settled = key if not unsettled else None
        return Entry(
            label=stage.label,
            stage=stage.stage_name(),
            state=state,
            reason=reason,
            key=settled,
            manifest=manifest,
            last=last,
        )

    if forced:
        return entry("run", "asked for")
    if unsettled and force:
        return entry("depends", _unless(unsettled))
    if unsettled:
        return entry("run", _why(settings, code, {}, makers, own, unsettled))
    if made:
        return entry("drift", explain_drift(made[0].code, code))
    return entry("run", _why(settings, code, known, makers, own, []))


def _unless(labels: list[str]) -> str:
    return f"unless {' and '.join(labels)} yield{'s' if len(labels) == 1 else ''} the same bytes"


def _digest(entry: Entry) -> str | None:
    found = entry.manifest or entry.last
    return found.digest if found else None


def _moved(old: CodeRecord, new: CodeRecord) -> str:
    changes = changed_packages(old, new)
    return "though " + ", ".join(changes) if changes else ""


def _why(
    settings: Mapping[str, Any],
    code: CodeRecord,
    digests: Mapping[str, str | None],
    makers: Mapping[str, str],
    last: Manifest | None,
    unsettled: list[str],
) -> str:
    if last is None:
        return "never built"
    reasons = differences(last.settings, settings)
    if not reasons and unsettled:
        reasons = [f"input {label} runs" for label in unsettled]
    if not reasons:
        places = [place for place in digests if place not in last.inputs or last.inputs[place].digest != digests[place]]
        reasons = [f"input {label} changed" for label in dict.fromkeys(makers[place] for place in places)]
    if not reasons and last.code.digest != code.digest:
        reasons = [explain_drift(last.code, code)]
    shown = ", ".join(reasons[:2]) + (f" and {len(reasons) - 2} more" if len(reasons) > 2 else "")
    return shown or "never built with these inputs"


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where two settings in stable form differ, as ``threshold 0.8 → 0.7``, down to the leaf."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in (*new, *(name for name in old if name not in new)) if name != "$"]
        found = [
            differences(old.get(name, UNSET), new.get(name, UNSET), f"{place}.{name}" if place else name)
            for name in names
        ]
        return [line for lines in found for line in lines]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        found = [differences(a, b, f"{place}.{position}") for position, (a, b) in enumerate(zip(old, new, strict=True))]
        return [line for lines in found for line in lines]
    return [] if old == new else [f"{place} {_short(old)} → {_short(new)}"]


class _Unset:
    def __repr__(self) -> str:
        return "unset"


UNSET = _Unset()
"""Stands for a setting that the other side does not have."""


def _short(value: Any) -> str:
    text = (
        value if isinstance(value, str) else f"{len(value)} items" if isinstance(value, (list, dict)) else repr(value)
    )
    return text if len(text) <= 24 else text[:12] + "…"
