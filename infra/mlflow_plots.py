"""Two plots as plain SVG, readable on a light and on a dark page: curves over steps, and bars that narrow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pipeline.tables import figure

Curve = Sequence[tuple[float, float]]
Bar = tuple[str, str, Mapping[str, float]]
"""A label, what its figures count, and a figure for each part."""

INK, DIM, LINE, PAPER = "#1c2430", "#5b6675", "#d9dee6", "#ffffff"
PARTS = ("#3565c9", "#c77700", "#2e7d32", "#8e44ad", "#00838f", "#b3382c", "#6d7b8a", "#a0863c")
WIDE, HIGH, LEFT, TOP = 360, 190, 52, 34  # of one panel, in pixels, and the room for its scale and its title
BAR, ROW, NAMES, ROOM, FIGURES = 22, 38, 220, 400, 130


def _svg(wide: float, high: float, lines: Sequence[str]) -> str:
    """A picture on a paper of its own."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}"'
        ' font-family="system-ui,Segoe UI,Helvetica,Arial,sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>' + "\n".join(lines) + "</svg>"
    )


def _text(x: float, y: float, text: str, *, fill: str = INK, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def curves(panels: Mapping[str, Curve], across: int = 2) -> str:
    """One panel for each named curve of (step, value), `across` to a row, each with a scale of its own."""
    lines = []
    for number, (name, points) in enumerate(panels.items()):
        down, right = divmod(number, across)
        inner = "\n".join(_panel(name, [point for point in points if math.isfinite(point[1])]))
        lines.append(f'<g transform="translate({right * WIDE} {down * HIGH})">{inner}</g>')
    rows = math.ceil(len(panels) / across)
    return _svg(WIDE * min(across, max(len(panels), 1)), max(rows, 1) * HIGH, lines)


def _panel(name: str, points: Curve) -> list[str]:
    lines = [_text(LEFT, 20, name, bold=True)]
    if not points:
        return lines
    low, high = min(value for _, value in points), max(value for _, value in points)
    first, last = points[0][0], points[-1][0]
    wide, tall = WIDE - LEFT - 16, HIGH - TOP - 30

    def x(step: float) -> float:
        return LEFT + (wide * (step - first) / (last - first) if last > first else wide / 2)

    def y(value: float) -> float:
        return TOP + (tall * (high - value) / (high - low) if high > low else tall / 2)

    for value in dict.fromkeys((high, (high + low) / 2, low)):
        lines.append(f'<path d="M{LEFT} {y(value):.1f}h{wide}" stroke="{LINE}"/>')
        lines.append(_text(LEFT - 6, y(value) + 4, f"{value:.3g}", fill=DIM, anchor="end"))
    lines.append(_text(LEFT, HIGH - 10, figure(first), fill=DIM))
    lines.append(_text(WIDE - 16, HIGH - 10, f"step {figure(last)}", fill=DIM, anchor="end"))
    path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
    lines.append(f'<path d="M{path}" fill="none" stroke="{PARTS[0]}" stroke-width="1.6"/>')
    step, value = points[-1]
    lines.append(f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="3" fill="{PARTS[0]}"/>')
    lines.append(_text(WIDE - 16, 20, figure(value), fill=PARTS[0], anchor="end", bold=True))
    return lines


def funnel(bars: Sequence[Bar]) -> str:
    """One bar for each label, as long as the sum of its parts beside the largest of what counts the same; a legend of the parts."""
    names = list(dict.fromkeys(part for _, _, parts in bars for part in parts))
    colours = {name: PARTS[number % len(PARTS)] for number, name in enumerate(names)}
    most: dict[str, float] = {}
    for _, what, parts in bars:
        most[what] = max(most.get(what, 0.0), sum(parts.values()))
    lines = []
    for number, (label, what, parts) in enumerate(bars):
        top, left = 14 + number * ROW, float(NAMES)
        lines.append(_text(NAMES - 10, top + 15, label, anchor="end"))
        for name, count in parts.items():
            wide = ROOM * count / most[what] if most[what] else 0.0
            told = f"<title>{escape(f'{name}: {figure(count)} {what}')}</title>"
            lines.append(
                f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{BAR}" fill="{colours[name]}">{told}</rect>'
            )
            left += wide
        lines.append(_text(left + 8, top + 15, f"{figure(sum(parts.values()))} {what}", fill=DIM))
    below = 14 + len(bars) * ROW
    shown = [name for name in names if name]
    for number, name in enumerate(shown):
        down, right = divmod(number, 3)
        x, y = NAMES + right * 180, below + 6 + down * 20
        lines.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colours[name]}"/>')
        lines.append(_text(x + 17, y + 10, name if len(name) < 24 else name[:23] + "…", fill=DIM))
    return _svg(NAMES + ROOM + FIGURES, below + 12 + 20 * math.ceil(len(shown) / 3), lines)
