"""Places for the boxes of a dag: layers by the longest path, each in an order that crosses few edges. Pure and small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

SWEEPS = 8


class Layout(NamedTuple):
    """Column and layer of each name, both counted from 0 (columns may be fractions); an edge's bends as (column, layer)."""

    places: dict[str, tuple[float, int]]
    bends: dict[tuple[str, str], list[tuple[float, int]]]
    columns: float
    layers: int


def layout(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Place `names` so that every edge (from, to) leads down. Edges of unknown names, and what would close a circle, are left out."""
    known = dict.fromkeys(names)
    above: dict[str, list[str]] = {name: [] for name in known}
    for start, end in dict.fromkeys(edges):
        if start in known and end in known and start != end:
            above[end].append(start)
    layer = _layers(above)
    above = {end: [start for start in starts if layer[start] < layer[end]] for end, starts in above.items()}
    layer = {name: _lowered(name, layer, above) for name in known}
    chains, up = _chains(layer, above)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name, level in layer.items():
        rows[level].append(name)
    down: dict[str, list[str]] = {name: [] for name in layer}
    for end, starts in up.items():
        for start in starts:
            down[start].append(end)
    column = _columns(rows, up, down)
    places = {name: (column[name], layer[name]) for name in known}
    bends = {edge: [(column[name], layer[name]) for name in chain] for edge, chain in chains.items()}
    return Layout(places, bends, max(column.values(), default=0.0), len(rows))


def _layers(above: Mapping[str, list[str]]) -> dict[str, int]:
    """The longest path from a source to each name; what stands in a circle comes last, in the order of its names."""
    layer: dict[str, int] = {}
    waiting = dict(above)
    while waiting:
        ready = [name for name, starts in waiting.items() if all(start in layer for start in starts)]
        for name in ready or list(waiting)[:1]:
            layer[name] = max((layer[start] + 1 for start in waiting.pop(name) if start in layer), default=0)
    return layer


def _lowered(name: str, layer: Mapping[str, int], above: Mapping[str, list[str]]) -> int:
    """A source stands just above the first that reads it, rather than at the top of a long empty edge."""
    if above[name]:
        return layer[name]
    return min((layer[end] - 1 for end, starts in above.items() if name in starts), default=layer[name])


def _chains(
    layer: dict[str, int], above: Mapping[str, list[str]]
) -> tuple[dict[tuple[str, str], list[str]], dict[str, list[str]]]:
    """Each edge with a stand-in on every layer that it crosses; `layer` gains them. The neighbours above each name."""
    chains: dict[tuple[str, str], list[str]] = {}
    up: dict[str, list[str]] = {name: [] for name in above}
    for end, starts in above.items():
        for start in starts:
            before, chain = start, []
            for level in range(layer[start] + 1, layer[end]):
                bend = f"\0{start}\0{end}\0{level}"  # no label holds a NUL
                layer[bend], up[bend] = level, [before]
                chain.append(bend)
                before = bend
            up[end].append(before)
            chains[start, end] = chain
    return chains, up


def _columns(rows: list[list[str]], up: Mapping[str, list[str]], down: Mapping[str, list[str]]) -> dict[str, float]:
    """Columns at least one apart: each name drawn to the middle of its neighbours, from above and from below in turn."""
    column = {name: float(index) for row in rows for index, name in enumerate(row)}
    for sweep in range(SWEEPS):
        near, order = (up, rows) if sweep % 2 == 0 else (down, rows[::-1])
        for row in order:
            wish = {
                name: sum(column[other] for other in near[name]) / len(near[name]) if near[name] else column[name]
                for name in row
            }
            row.sort(key=lambda name: wish[name])
            _spread(row, wish, column)
    least = min(column.values(), default=0.0)
    return {name: value - least for name, value in column.items()}


def _spread(row: Sequence[str], wish: Mapping[str, float], column: dict[str, float]) -> None:
    """Give each of `row` its wish, pushed right where it would stand too close; then the row as a whole back by the mean push."""
    at, pushed = float("-inf"), 0.0
    for name in row:
        at = max(at + _room(name), wish[name])
        column[name] = at
        pushed += at - wish[name]
    for name in row:
        column[name] -= pushed / len(row)


def _room(name: str) -> float:
    return 0.5 if name.startswith("\0") else 1.0
