"""What a person reads at the top of a run, a stage's run and a model version in MLflow: markdown, with live links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.mlflow_child import Child
from infra.mlflow_fields import clip
from infra.mlflow_home import WORKFLOW
from pipeline.lineage_nodes import key_metric
from pipeline.manifest import Manifest
from pipeline.tracker import RunRecord

WHOLE = "\u00a0"
"""A space at which no line is broken; at the end of a cell it keeps the next one away, for MLflow sets tables without room."""
LONGEST = 7500  # bytes; the description is a tag, and MLflow refuses a tag above 8,000


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
    return f"[{text}]({run_address(experiment, run)})" if run else text


def run_address(experiment: str, run: str) -> str:
    """Where a run is, below MLflow's own address."""
    return f"#/experiments/{experiment}/runs/{run}?{WORKFLOW}"


def artifact_link(text: str, experiment: str, run: str, name: str) -> str:
    """A link to an artifact of a run, opened."""
    return f"[{text}](#/experiments/{experiment}/runs/{run}/artifacts/{name}?{WORKFLOW})"


def image(text: str, run: str, name: str) -> str:
    """An artifact of a run as a picture in the text: MLflow's server hands it out below its own address."""
    return f"![{text}](get-artifact?path={name}&run_uuid={run})"


def model_link(text: str, experiment: str, model: str) -> str:
    """A link to a logged model."""
    return f"[{text}](#/experiments/{experiment}/models/{model}?{WORKFLOW})"


def version_link(text: str, model: str, version: str) -> str:
    """A link to a version of a registered model."""
    return f"[{text}](#/models/{model}/versions/{version}?{WORKFLOW})"


def run_page(
    record: RunRecord,
    state: str,
    experiment: str,
    rows: Iterable[Row],
    champion: str = "",
    pictures: Sequence[str] = (),
) -> str:
    """The parent run: a table of its stages with links, then how it ended and its dials, and `pictures`.

    The table comes first because MLflow folds a description after a few lines.
    """
    rows = list(rows)
    priced = any(row.dollars is not None for row in rows)
    titles = ["stage", "state", "minutes", *(["dollars"] if priced else []), "key metric", "made from"]
    lines = table(titles, ())
    foot = "\n" + "\n\n".join([_foot(record, state, rows, champion), *pictures])
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
    return _row(
        [run_link(row.label, experiment, row.run), state, minutes, *dollars, key_metric(row.metrics), made_from]
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_cells(titles), _cells(["---"] * len(titles)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return _cells([*(f"{cell}{WHOLE}{WHOLE}" if cell else "" for cell in cells[:-1]), *cells[-1:]])


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def stage_page(
    stage: str,
    reason: str,
    run: str,
    upstream: Sequence[str],
    downstream: Sequence[str],
    holds: str,
    artifact: str,
    child: Child,
) -> str:
    """A stage's run: how it failed if it did, why it ran, what it was made from and into (links), what it holds of which
    source (a table), its artifact, and what became of attempts before."""
    fault = child.ended
    lines = [f"**failed:** {clip(fault, 1500)}"] if fault else []
    why = f"found in the store, built by {child.built}" if child.built else reason
    lines.append(f"**{stage}** of {run}" + (f" — {why}" if why else ""))
    lines += ["made from " + ", ".join(upstream)] if upstream else []
    lines += ["made into " + ", ".join(downstream)] if downstream else []
    lines += [holds] if holds else []
    lines += [f"artifact {artifact}"] if artifact else []
    lines += _log("the end of its log", "\n".join(child.tail)) if fault else []
    for number, (earlier, tail) in enumerate(child.failures[-3:], max(len(child.failures) - 2, 1)):
        lines += [
            f"**attempt {number} of {len(child.failures) + 1} failed:** {clip(earlier, 500)}",
            *_log("its log ended", tail, 900),
        ]
    return clip("\n\n".join(lines), LONGEST)


def _log(title: str, text: str, longest: int = 2500) -> list[str]:
    last = text[-longest:].replace("```", "~~~")
    return [f"{title}:\n```\n{last}\n```"] if last else []


def row_of(
    label: str, record: RunRecord, state: str, run: str, manifest: Manifest | None, seconds: float | None = None
) -> Row:
    """The row of a stage that has ended with `manifest`, or without one."""
    made_from = tuple(dict.fromkeys(record.stages[label].inputs.values())) if label in record.stages else ()
    if manifest is None:
        return Row(label, state, run, minutes=None if seconds is None else seconds / 60, made_from=made_from)
    cost = manifest.cost
    return Row(label, state, run, manifest.metrics, cost.wall_seconds / 60, cost.dollars, made_from)
