"""What a run's page shows beside its table: the graph as a picture and as a page to click in, the funnel of documents, the losses.

They are artifacts of the parent run. One that cannot be written is a note on the run, and never stops the other records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.mlflow_child import Child
from infra.mlflow_home import without_userinfo
from infra.mlflow_plots import Bar, curves, funnel
from pipeline.counted import plain
from pipeline.lineage import Hop, sources, web
from pipeline.lineage_html import detail, document
from pipeline.lineage_nodes import Detail, key_metric, shown_settings
from pipeline.lineage_svg import Node, drawing
from pipeline.manifest import Manifest
from pipeline.store import place_of
from pipeline.tables import duration
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

PAGE, GRAPH, FUNNEL, LOSS = "0-graph.html", "graph.svg", "funnel.svg", "loss.svg"
"""The page comes first in MLflow's list, which is ordered by name."""
COUNTS = ("documents_unique", "documents_kept", "documents")


def nodes(record: RunRecord, children: Mapping[str, Child], states: Mapping[str, str], over: bool) -> list[Node]:
    """The boxes of a run: how far each stage has come, or what the plan says of one that has not begun."""
    found = []
    for label, drawn in record.stages.items():
        child = children.get(label)
        if child is None:
            expected = "" if drawn.expected_seconds is None or over else f"about {duration(drawn.expected_seconds)}"
            found.append(Node(label, label, states.get(label, "not run" if over else drawn.state), expected))
        elif child.manifest is None:
            found.append(Node(label, label, child.state, duration(child.last - child.began) if over else ""))
        else:
            took = "" if child.state == "cached" else duration(child.manifest.cost.wall_seconds)
            found.append(Node(label, label, child.state, took, key_metric(child.manifest.metrics)))
    return found


def edges(record: RunRecord) -> list[tuple[str, str]]:
    """Upstream and downstream label of every input."""
    return [(above, label) for label, drawn in record.stages.items() for above in drawn.inputs.values()]


def details(record: RunRecord, children: Mapping[str, Child], links: Mapping[str, str]) -> dict[str, Detail]:
    """What a click on each stage tells."""
    hops = hops_of(children)
    known, found = sources(hops), {}
    for label, drawn in record.stages.items():
        child, inputs = children.get(label), list(drawn.inputs.items())
        link, about = links.get(label, ""), f"{drawn.stage} · {drawn.kind} · {drawn.state}: {drawn.reason}"
        made = child.manifest if child is not None else None
        unmade = Detail(label, settings=shown_settings(drawn.settings))
        told = unmade if made is None else detail(hops[place_of(made)], known, hops)
        found[label] = replace(told, label=label, about=about, inputs=inputs, link=link)
    return found


def hops_of(children: Mapping[str, Child], *made: Manifest) -> dict[str, Hop]:
    """The lineage of `made`, or of all that the stages of a run ended with, by place, from their manifests alone."""
    known = {place_of(child.manifest): child.manifest for child in children.values() if child.manifest is not None}
    return web(known, [place_of(one) for one in made] or list(known))


def bars(record: RunRecord, children: Mapping[str, Child]) -> list[Bar]:
    """From the documents that came in to those that were kept and the tokens that are trained on, by source where that is known.

    Stages equally far from the sources are one bar.
    """
    hops, depth = hops_of(children), dict[str, int]()
    rows: dict[tuple[str, int], tuple[list[str], dict[str, float]]] = {}
    for label, drawn in record.stages.items():
        depth[label] = max((depth.get(above, -1) + 1 for above in drawn.inputs.values()), default=0)
        child = children.get(label)
        if child is None or child.manifest is None or drawn.kind not in ("Documents", "Tokens"):
            continue
        what = "documents" if drawn.kind == "Documents" else "tokens"
        amounts = hops[place_of(child.manifest)].amounts
        parts = {name: value for name, one in amounts.items() if (value := getattr(one, what)) is not None}
        if not parts:
            metrics = plain(child.manifest.metrics)
            wanted = COUNTS if what == "documents" else ("train_tokens", "tokens")
            parts = {"": next((metrics[name] for name in wanted if name in metrics), 0.0)}
        names, total = rows.setdefault((what, depth[label]), ([], {}))
        names.append(label)
        for name, value in parts.items():
            total[name] = total.get(name, 0.0) + value
    ordered = sorted(rows.items(), key=lambda row: (row[0][0], row[0][1]))
    return [(_short(names), what, total) for (what, _), (names, total) in ordered]


def _short(names: list[str]) -> str:
    text = ", ".join(names)
    return (
        text if len(text) <= 30 else f"{names[0][:14]} and {len(names) - 1} more" if len(names) > 1 else text[:29] + "…"
    )


def drawn(
    record: RunRecord,
    children: Mapping[str, Child],
    states: Mapping[str, str],
    links: Mapping[str, str],
    *,
    over: bool,
    server: str = "",
) -> dict[str, str]:
    """Every picture that there is something to draw of, by the name of its file. `links` lead to the stages' runs."""
    boxes, arrows = nodes(record, children, states, over), edges(record)
    title = f"{record.dag} · {record.run}"
    found = {
        PAGE: document(title, boxes, arrows, details(record, children, links), server=server),
        GRAPH: drawing(boxes, arrows),
    }
    losses = {f"{label} {name}": points for label, child in children.items() for name, points in child.curves.items()}
    long = {name: points for name, points in losses.items() if len(points) > 1}
    if long:
        found[LOSS] = curves(long)
    if narrowing := bars(record, children):
        found[FUNNEL] = funnel(narrowing)
    return found


def write(client: MlflowClient, run: str, pictures: Mapping[str, str]) -> tuple[list[str], str]:
    """Put the pictures among the artifacts of a run, until one cannot be written; the names of those that lie there, and why not all."""
    written: list[str] = []
    for name, text in pictures.items():
        try:
            client.log_text(run, text, name)
        except Exception as raised:  # each place for artifacts has exceptions of its own
            return written, without_userinfo(f"{name}: {(str(raised) or repr(raised)).splitlines()[0]}")
        written.append(name)
    return written, ""
