"""The impact of dropping a source as people and machines read it."""

from __future__ import annotations

from typing import Any

from pipeline.artifact import MODEL
from pipeline.impact import REBUILT, Impact
from pipeline.lineage_lines import NONE, SHORT, count, measures, share
from pipeline.tables import dollars, duration, style, table


def impact_lines(found: Impact, colour: bool) -> list[str]:
    """What is dropped, a table of what holds it, and what rebuilding costs."""
    lines = [
        " · ".join(part for part in (name, record.licence, record.at) if part) for name, record in found.dropped.items()
    ]
    if not found.touched:
        return [*lines, "", "nothing in force holds it"]
    priced = any(one.dollars is not None for one in found.touched)
    rows, shown = [], measures(one.amount for one in found.touched)
    for one in found.touched:
        figures = [*(count(getattr(one.amount, what)) for what in shown), share(one.amount)]
        again = duration(one.seconds) if one.fate == REBUILT else one.fate
        money = [dollars(one.dollars) if one.fate == REBUILT else NONE] if priced else []
        where = ", ".join((*one.versions, *one.dags))
        rows.append(
            [
                style(one.hop.label, "bold", colour and one.hop.kind == MODEL),
                one.hop.kind,
                one.hop.digest[:SHORT],
                *figures,
                again,
                *money,
                where,
            ]
        )
    header = [
        "artifact",
        "kind",
        "digest",
        *shown,
        "share",
        "rebuild",
        *(["dollars"] if priced else []),
        "in force in",
    ]
    lines = [*lines, "", *table(header, rows, right=range(3, len(shown) + 5 + priced), colour=colour), ""]
    return [*lines, _total(found)]  # fmt: skip


def _total(found: Impact) -> str:
    seconds, money, unknown = found.rebuilding()
    again = sum(one.fate == REBUILT for one in found.touched)
    models = sum(one.hop.kind == MODEL for one in found.touched)
    line = f"{len(found.touched)} artifacts hold it, {models} of them models; {again} would be rebuilt"
    if not again:
        return line
    line += f": about {duration(seconds)} of stage time" if seconds is not None else ": time unknown"
    line += f", and {unknown} of unknown time" if unknown and seconds is not None else ""
    return f"{line}, dollars unknown" if money is None else f"{line}, {dollars(money)} as far as priced"


def as_json(found: Impact) -> dict[str, Any]:
    """``dropped`` by name, ``touched`` in the order of the table, ``rebuild`` in all. Fields are added, never renamed."""
    seconds, money, unknown = found.rebuilding()
    return {
        "dropped": {name: record.model_dump() for name, record in found.dropped.items()},
        "touched": [
            {
                "label": one.hop.label, "kind": one.hop.kind, "place": one.hop.place, "digest": one.hop.digest,
                **one.amount._asdict(),
                "dags": list(one.dags), "versions": list(one.versions), "fate": one.fate, "seconds": one.seconds, "dollars": one.dollars,
            }
            for one in found.touched
        ],
        "rebuild": {"seconds": seconds, "dollars": money, "of_unknown_time": unknown},
    }  # fmt: skip
