"""A dag as one SVG picture: a box for each stage, coloured by its state, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pipeline.lineage_layout import layout

WIDE, HIGH = 186, 58  # of a box, in pixels
GAP, FALL, MARGIN = 20, 40, 14  # between two columns, between two layers, around all

COLOURS = {
    "finished": ("#e3f4e6", "#2e7d32"),
    "cached": ("#e4edf8", "#4a6fa5"),
    "running": ("#fff6d9", "#b58900"),
    "failed": ("#fde4e1", "#c62828"),
    "stopped": ("#fdeed9", "#c77700"),
    "skipped": ("#ececec", "#666666"),
    "not run": ("#ececec", "#666666"),
    "drift": ("#dff3f5", "#00838f"),
}
"""Fill and edge by state. Boxes are opaque and hold all the text, so that the page behind them does not matter."""
PLANNED = ("#f7f7f7", "#666666")


@dataclass(frozen=True)
class Node:
    """One stage: `name` is what edges call it; `note` follows its state (minutes, or where from), `metric` is its third line."""

    name: str
    label: str
    state: str = ""
    note: str = ""
    metric: str = ""


def drawing(nodes: Sequence[Node], edges: Iterable[tuple[str, str]]) -> str:
    """The picture of `nodes` and `edges` (from, to), sources on top, complete in itself. Each box is a group of class ``stage``
    with the node's name in ``data-name``."""
    drawn = layout([node.name for node in nodes], edges)
    wide, high = int(_x(drawn.columns) + WIDE / 2 + MARGIN), int(_y(max(drawn.layers - 1, 0)) + HIGH + MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
        ' role="img" font-family="system-ui,Segoe UI,Helvetica,Arial,sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>',
    ]
    for (start, end), bends in drawn.bends.items():
        lines.append(_edge(start, end, [drawn.places[start], *bends, drawn.places[end]]))
    lines += [_box(node, *drawn.places[node.name]) for node in {node.name: node for node in nodes}.values()]
    return "\n".join([*lines, "</svg>"])


def _x(column: float) -> float:
    return MARGIN + WIDE / 2 + column * (WIDE + GAP)


def _y(layer: int) -> float:
    return MARGIN + layer * (HIGH + FALL)


def _edge(start: str, end: str, points: Sequence[tuple[float, int]]) -> str:
    """A curve from the foot of one box to the head of the next; past the layers between them it runs straight down."""
    column, layer = points[0]
    x, y = _x(column), _y(layer) + HIGH
    path = f"M{x:.0f} {y:.0f}"
    for index, (column, layer) in enumerate(points[1:], 1):
        to, at = _x(column), _y(layer)
        path += f"C{x:.0f} {y + FALL / 2:.0f} {to:.0f} {at - FALL / 2:.0f} {to:.0f} {at:.0f}"
        x, y = to, at
        if index < len(points) - 1:
            y += HIGH
            path += f"L{x:.0f} {y:.0f}"
    names = f'data-from="{escape(start)}" data-to="{escape(end)}"'
    return (
        f'<path class="edge" {names} d="{path}" fill="none" stroke="#888" stroke-width="1.3" marker-end="url(#tip)"/>'
    )


def _box(node: Node, column: float, layer: int) -> str:
    fill, edge = COLOURS.get(node.state, PLANNED)
    left, top = _x(column) - WIDE / 2, _y(layer)
    dashes = "" if node.state in ("finished", "failed") else ' stroke-dasharray="5 3"'
    second = " · ".join(part for part in (node.state, node.note) if part)
    told = "\n".join(part for part in (node.label, second, node.metric) if part)
    return (
        f'<g class="stage" data-name="{escape(node.name)}" transform="translate({left:.0f} {top:.0f})">'
        f"<title>{escape(told)}</title>"
        f'<rect width="{WIDE}" height="{HIGH}" rx="6" fill="{fill}" stroke="{edge}" stroke-width="1.5"{dashes}/>'
        f'<rect width="5" height="{HIGH}" rx="2" fill="{edge}"/>'
        f'<text x="13" y="18" font-weight="600" font-size="13" fill="#1a1a1a">{_fit(node.label, 22)}</text>'
        f'<text x="13" y="34" fill="{edge}">{_fit(second, 24)}</text>'
        f'<text x="13" y="50" fill="#444">{_fit(node.metric, 24, node.metric.rpartition(" ")[2])}</text></g>'
    )


def _fit(text: str, most: int, end: str = "") -> str:
    """`text` escaped, cut at the characters that a box holds, its `end` kept; the whole stands in the box's title."""
    if len(text) > most:
        end = f" {end}" if 0 < len(end) < most / 2 else ""
        text = text[: most - 1 - len(end)] + "…" + end
    return escape(text)
