"""What a person reads at the top of a run, a stage's run and a model version in MLflow: markdown, with live links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from infra.mlflow_fields import clip
from infra.mlflow_home import WORKFLOW
from pipeline.counted import plain
from pipeline.manifest import Manifest
from pipeline.tracker import RunRecord

LONGEST = 7500  # bytes; the description is a tag, and MLflow refuses a tag above 8,000
KEY_METRICS = (
    "accuracy", "preference_accuracy", "bits_per_byte", "loss", "right",
    "documents_unique", "documents_kept", "vocab_size", "tokens", "pairs", "chats", "documents",
)  # fmt: skip
"""The figure that says most about a stage: the first of these that it has."""


@dataclass
class Row:
    """One stage as the page shows it."""

    label: str
    state: str
    run: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    minutes: float | None = None
    dollars: float | None = None
    made_from: tuple[str, ...] = ()


def run_link(text: str, experiment: str, run: str) -> str:
    """A link to a run that works in MLflow's UI whatever kind of work it was last opened for."""
    return f"[{text}](#/experiments/{experiment}/runs/{run}?{WORKFLOW})" if run else text


def version_link(text: str, model: str, version: str) -> str:
    """A link to a version of a registered model."""
    return f"[{text}](#/models/{model}/versions/{version}?{WORKFLOW})"


def key_metric(metrics: Mapping[str, float]) -> str:
    """The metric that says most about a stage, by the order of `KEY_METRICS`, else its first, as ``name value``."""
    for wanted in KEY_METRICS:
        if wanted in metrics:
            return f"{wanted} {number(metrics[wanted])}"
    first = next(iter(plain(metrics)), None)
    return "" if first is None else f"{first} {number(metrics[first])}"


def number(value: float) -> str:
    """A count with thousands marked, anything else to four significant digits."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def run_page(record: RunRecord, state: str, experiment: str, rows: Iterable[Row], champion: str = "") -> str:
    """The parent run: a table of its stages with links, then how it ended and its dials.

    The table comes first because MLflow folds a description after a few lines.
    """
    rows = list(rows)
    priced = any(row.dollars is not None for row in rows)
    titles = ["stage", "state", "minutes", *(["dollars"] if priced else []), "key metric", "made from"]
    lines = [_cells(titles), _cells(["---"] * len(titles))]
    foot = "\n" + _foot(record, state, rows, champion)
    used = sum(len(line.encode()) + 1 for line in [*lines, foot])
    for shown, row in enumerate(rows):
        line = _line(row, experiment, priced)
        used += len(line.encode()) + 1
        if used > LONGEST - 60:
            lines.append(f"\n… and {len(rows) - shown} more stages")
            break
        lines.append(line)
    return "\n".join([*lines, foot])


def _foot(record: RunRecord, state: str, rows: list[Row], champion: str) -> str:
    spent = sum(row.minutes or 0 for row in rows if row.state != "cached")
    parts = [f"**{record.dag}** {state}", f"{spent:.1f} minutes of stages", f"executor {record.executor}"]
    parts += [f"champion {champion}"] if champion else []
    dials = " ".join(f"{name}={value}" for name, value in record.dials.items())
    return " · ".join(parts) + (f"\n\ndials: `{clip(dials, 500)}`" if dials else "")


def _line(row: Row, experiment: str, priced: bool) -> str:
    state = f"**{row.state}**" if row.state == "failed" else row.state
    minutes = "" if row.minutes is None else f"{row.minutes:.2f}"
    dollars = [("" if row.dollars is None else f"{row.dollars:.2f}")] if priced else []
    made_from = ", ".join(row.made_from)
    return _cells(
        [run_link(row.label, experiment, row.run), state, minutes, *dollars, key_metric(row.metrics), made_from]
    )


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def stage_page(
    stage: str,
    reason: str,
    upstream: Mapping[str, str],
    artifact: str,
    built: str = "",
    fault: str = "",
    tail: Iterable[str] = (),
) -> str:
    """A stage's run: how it failed if it did, why it ran, what it was made from (links by label), its artifact."""
    lines = [f"**failed:** {clip(fault, 1500)}"] if fault else []
    lines.append(f"**{stage}** — {reason}" if reason and not built else f"**{stage}**")
    lines += [f"found in the store, built by {built}"] if built else []
    lines += ["made from " + ", ".join(upstream.values())] if upstream else []
    lines += [f"artifact `{artifact}`"] if artifact else []
    last = "\n".join(tail)[-2500:]
    lines += [f"the end of its log:\n```\n{last}\n```"] if fault and last else []
    return "\n\n".join(lines)


def version_page(manifest: Manifest, experiment: str, run: str, record: RunRecord) -> str:
    """A version of the registered model: what made it, from which artifacts, and its last figures."""
    lines = [f"The model that stage {run_link(manifest.label, experiment, run)} of **{record.dag}** made."]
    lines += [f"- made from {given.label}: `{given.digest[:16]}`" for given in manifest.inputs.values()]
    lines += [f"- {name}: {number(value)}" for name, value in list(plain(manifest.metrics).items())[:12]]
    lines += [f"- content digest `{manifest.digest}`, {manifest.size:,} bytes, by reference in the store"]
    return "\n".join(lines)


def row_of(
    label: str, record: RunRecord, state: str, run: str, manifest: Manifest | None, seconds: float | None = None
) -> Row:
    """The row of a stage that has ended with `manifest`, or without one."""
    made_from = tuple(dict.fromkeys(record.stages[label].inputs.values())) if label in record.stages else ()
    if manifest is None:
        return Row(label, state, run, minutes=None if seconds is None else seconds / 60, made_from=made_from)
    cost = manifest.cost
    return Row(label, state, run, manifest.metrics, cost.wall_seconds / 60, cost.dollars, made_from)
