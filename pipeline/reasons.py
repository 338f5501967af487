"""Why the plan says what it says, in words that a person can act on: the field, the input or the definition that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.changes import changes
from pipeline.code import changed_packages, explain_drift
from pipeline.manifest import CodeRecord, Manifest
from pipeline.store import Store
from pipeline.tables import moment

__all__ = ["differences", "explain_drift", "in_force", "unless", "why"]


def in_force(made: Manifest, code: CodeRecord, store: Store) -> str:
    """What is to be known of an attempt that counts: adopted, accepted, made with other versions of libraries; or nothing."""
    if made.origin:
        return f"adopted from {made.origin.get('from', 'elsewhere')}"
    told = []
    if made.code.digest != code.digest:
        accepted = store.acceptance(made, code.digest)
        by = "accepted now"
        if accepted:
            because = f" ({accepted.why})" if accepted.why else ""
            by = f"accepted by {accepted.who} on {moment(accepted.when)[:10]}{because}"
        told.append(f"{by}, though {explain_drift(made.code, code)}")
    if changes := changed_packages(made.code, code):
        told.append("though " + ", ".join(changes))
    return "; ".join(told)


def unless(labels: list[str]) -> str:
    """For a stage that runs if what is above it yields other bytes."""
    return f"unless {' and '.join(labels)} yield{'s' if len(labels) == 1 else ''} the same bytes"


def why(
    settings: Mapping[str, Any],
    code: CodeRecord,
    digests: Mapping[str, str | None],
    makers: Mapping[str, str],
    last: Manifest | None,
    unsettled: list[str],
) -> str:
    """Why a stage runs: what differs from its last attempt. `digests` and `makers` are of its inputs, by place."""
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


def differences(old: Any, new: Any) -> list[str]:
    """Where two settings in stable form differ, as ``threshold 0.8 → 0.7``, down to the leaf."""
    return [f"{place} {_short(before)} → {_short(after)}" for place, before, after in changes(old, new)]


def _short(value: Any) -> str:
    text = (
        value if isinstance(value, str) else f"{len(value)} items" if isinstance(value, (list, dict)) else repr(value)
    )
    return text if len(text) <= 24 else text[:12] + "…"
