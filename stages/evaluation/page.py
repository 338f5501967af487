"""An evaluation as one self-contained page: a bar with its interval for each category, and the answers themselves."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#667085;--paper:#fff;--line:#e3e7ee;--bar:#3565c9;--good:#1a7f4b;--bad:#b3382c}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--dim:#98a2b3;--paper:#14181f;--line:#2b323d;--bar:#7aa2f7;--good:#5fcf94;--bad:#f0877b}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:3rem auto;padding:0 1.25rem}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.25rem 0 .5rem}p{color:var(--dim);margin:.25rem 0 1rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--dim);font-size:.85rem}.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:var(--good)}.bad{color:var(--bad)}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font:14px system-ui,sans-serif}svg .dim{fill:var(--dim);font-size:12px}
"""

LEFT, RIGHT, WIDTH, ROW = 130, 90, 800, 44
"""Pixels: room for the names and the figures, the whole width, and the height of a row."""


def render(report: dict[str, Any]) -> str:
    """The whole page for a report as `Evaluate` writes it."""
    whole = report["accuracy"]
    manner = f"{report['shots']}-shot completion" if report["shots"] else "chat"
    lead = f"{whole['right']} of {whole['asked']} held-out questions answered exactly, asked as {manner}."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Evaluation</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{_percent(whole['accuracy'])} right</h1><p>{escape(lead)} Lines are 95% intervals (Wilson); "
        "a tick marks what the commonest answer alone would score.</p>\n"
        f"{_chart({**report['categories'], 'all': whole})}\n<h2>Figures</h2>{_figures({**report['categories'], 'all': whole})}\n"
        f"<h2>Some answers</h2>{_answers(report['examples'])}\n</body></html>\n"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _chart(rows: dict[str, dict[str, Any]]) -> str:
    height = ROW * len(rows) + 28
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="share of right answers by category">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{_x(share)}" x2="{_x(share)}" y1="0" y2="{height - 24}" stroke="var(--line)"/>')
        parts.append(
            f'<text class="dim" x="{_x(share)}" y="{height - 6}" text-anchor="middle">{_percent(share)}</text>'
        )
    for place, (name, row) in enumerate(rows.items()):
        parts.append(_bar(name, row, ROW * place))
    return "".join([*parts, "</svg>"])


def _bar(name: str, row: dict[str, Any], top: int) -> str:
    middle, bottom, end = top + ROW / 2, top + ROW, round(_x(row["accuracy"]) - _x(0), 1)
    common = _x(row["majority"])
    return (
        f'<text x="{LEFT - 12}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_x(0)}" y="{top + 11}" width="{end}" height="{ROW - 22}" rx="3" fill="var(--bar)" opacity=".75"/>'
        f'<path d="M{_x(row["low"])} {middle}H{_x(row["high"])}" stroke="var(--ink)" stroke-width="2"/>'
        f'<path d="M{common} {top + 6}V{bottom - 6}" stroke="var(--bad)" stroke-width="2"/>'
        f'<text x="{WIDTH - RIGHT + 12}" y="{middle + 5}">{_percent(row["accuracy"])}</text>'
    )


def _figures(rows: dict[str, dict[str, Any]]) -> str:
    body = [
        [
            name,
            f"{row['right']} of {row['asked']}",
            _percent(row["accuracy"]),
            f"{_percent(row['low'])} – {_percent(row['high'])}",
            _percent(row["majority"]),
        ]
        for name, row in rows.items()
    ]
    return _table(
        ("category", "right", "share", "95% interval", "commonest answer"),
        ([escape(cell) for cell in row] for row in body),
    )


def _answers(examples: Iterable[dict[str, Any]]) -> str:
    body = ([escape(shown["question"]), escape(shown["expected"]), _marked(shown)] for shown in examples)
    return _table(("question", "expected", "answer"), body)


def _marked(shown: dict[str, Any]) -> str:
    colour, mark = ("good", "✓") if shown["right"] else ("bad", "✗")
    return f'<span class="{colour}">{mark} {escape(shown["answer"] or "(nothing)")}</span>'


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
