"""A graph of stages as one page of HTML that needs nothing else: zoom and move it; a click on a stage tells all about it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from pipeline.artifact import MODEL
from pipeline.lineage import Hop, sources
from pipeline.lineage_lines import record_of, share, taken
from pipeline.lineage_lines import title as named
from pipeline.lineage_nodes import Detail, facts, key_metric, shown_metrics, shown_settings
from pipeline.lineage_svg import Node, drawing
from pipeline.manifest import SourceRecord
from pipeline.tables import duration

LOCAL = "http://127.0.0.1:5000/"
"""Where `corpusmill ui` shows MLflow, unless that port is taken."""


def page(title: str, hops: dict[str, Hop], targets: Sequence[str]) -> str:
    """The lineage page: `hops` by place, the sources first; `targets` are the places that it is about. The first of them, a
    model before others, begins chosen; where there are several, each is a button at the top."""
    known = sources(hops)
    nodes = [_node(one) for one in hops.values()]
    edges = [(above, place) for place, one in hops.items() for above in one.above if above in hops]
    details = {place: detail(one, known, hops) for place, one in hops.items()}
    return document(title, nodes, edges, details, targets=sorted(targets, key=lambda one: hops[one].kind != MODEL))


def document(
    title: str,
    nodes: Sequence[Node],
    edges: Iterable[tuple[str, str]],
    details: Mapping[str, Detail],
    *,
    targets: Sequence[str] = (),
    server: str = "",
) -> str:
    """The page of any graph, with a way to each of `targets`. Links lead below `server`, or where the page is itself shown by MLflow."""
    parts = {
        "title": escape(title),
        # Inside HTML the picture needs no name of its format, and the page then holds no address that anyone would fetch.
        "drawing": re.sub(r' xmlns="[^"]*"', "", drawing(nodes, edges), count=1),
        "data": _script({name: asdict(detail) for name, detail in details.items()}),
        "targets": _script(list(targets)),
        "server": _script(
            server.rstrip("/") + "/" if server else LOCAL if any(one.link for one in details.values()) else ""
        ),
    }
    template = Path(__file__).with_name("lineage_page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _script(value: object) -> str:
    """JSON that ends no script and opens no comment, whatever text stands in it."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")


def _node(hop: Hop) -> Node:
    made = hop.manifest
    if made is None:
        return Node(hop.place, hop.label, "skipped", "gap", hop.gap)
    top = next((f"{name} {share(amount)}" for name, amount in hop.amounts.items() if amount.share), "")
    return Node(hop.place, hop.label, "finished", duration(made.cost.wall_seconds), key_metric(made.metrics) or top)


def detail(hop: Hop, known: Mapping[str, SourceRecord], hops: Collection[str]) -> Detail:
    """What a click on a hop tells; inputs are by place, as far as they are among `hops`."""
    made = hop.manifest
    inputs = [(field, place) for field, place in hop.inputs.items() if place in hops]
    if made is None:
        return Detail(hop.label, hop.gap, inputs=inputs)
    return Detail(
        hop.label,
        named(hop),
        inputs=inputs,
        sources=held(hop, known),
        metrics=shown_metrics(made),
        settings=shown_settings(made.settings),
        facts=facts(made),
    )


def held(hop: Hop, known: Mapping[str, SourceRecord]) -> list[list[str]]:
    """What an artifact holds of each source, as a click on it tells: name, how much, where from, licence, revision."""
    found = []
    for name, amount in hop.amounts.items():
        record = record_of(name, hop.origins[name], known)
        much = " · ".join(part for part in ("" if amount.share is None else share(amount), taken(amount)) if part)
        licence = f"licence {record.licence}" if record.licence else ""
        found.append([name, much, record.at, licence, f"revision {record.revision}" if record.revision else ""])
    return found
