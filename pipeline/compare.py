"""What differs between two artifacts, or two runs: settings, inputs, code, packages, machine, metrics, cost. Only what differs."""

from __future__ import annotations

from typing import Any

from pipeline.changes import changes
from pipeline.ledger import Account, StageAccount
from pipeline.manifest import Manifest
from pipeline.store import Store

Differences = dict[str, dict[str, tuple[Any, Any]]]
"""By section and place: the value on either side, None where a side has none."""


def artifacts(a: Manifest, b: Manifest) -> Differences:
    """Where two attempts differ, whatever made them."""
    return _sections(_of_manifest(a), _of_manifest(b))


def runs(store: Store, a: Account, b: Account) -> Differences:
    """Where two runs differ: what was asked, and for each stage, under its label, its artifact and how it ended."""
    found = _sections(_of_run(a), _of_run(b))
    for label in dict.fromkeys((*a.stages, *b.stages)):
        if label not in a.stages or label not in b.stages:
            found.setdefault("stages", {})[label] = tuple("drawn" if label in one.stages else None for one in (a, b))  # type: ignore[assignment]
            continue
        first, second = a.stages[label], b.stages[label]
        old, new = {"run": _of_stage(first)}, {"run": _of_stage(second)}
        if first.attempt != second.attempt:
            made, other = (store.manifest(stage.attempt) if stage.attempt else None for stage in (first, second))
            if made and other:
                old, new = {**_of_manifest(made), **old}, {**_of_manifest(other), **new}
        found |= {f"{label}: {section}": rows for section, rows in _sections(old, new).items()}
    return found


def _sections(a: dict[str, Any], b: dict[str, Any]) -> Differences:
    found = {}
    for section in a:
        rows = {place: (_plain(old), _plain(new)) for place, old, new in changes(a[section], b[section])}
        if rows:
            found[section] = rows
    return found


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, dict)) else None


def _of_manifest(made: Manifest) -> dict[str, Any]:
    return {
        "artifact": {"label": made.label, "kind": made.kind, "made by": made.source, "digest": made.digest, "bytes": made.size},
        "settings": made.settings,
        "inputs": {place: given.digest for place, given in made.inputs.items()},
        "code": dict(made.code.definitions),
        "packages": dict(made.code.packages),
        "environment": dict(made.environment),
        "machine": {**made.machine, "executor": made.executor, "resources": made.resources},
        "metrics": dict(made.metrics),
        "cost": made.cost.model_dump(),
        "lost": made.lost.model_dump(),
        "idle": made.idle.model_dump(),
    }  # fmt: skip


def _of_run(one: Account) -> dict[str, Any]:
    return {
        "run": {"dag": one.dag, "part": one.part, "executor": one.executor, "ended": one.ended, "seconds": one.seconds},
        "dials": one.dials,
        "cost": one.cost.model_dump(),
        "lost": one.lost.model_dump(),
        "idle": one.idle.model_dump(),
    }


def _of_stage(stage: StageAccount) -> dict[str, Any]:
    return {"state": stage.state}
