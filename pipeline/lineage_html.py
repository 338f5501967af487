"""A lineage as one page of HTML that needs nothing else: what the target holds of each source, then every hop."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pipeline.lineage import Hop, sources
from pipeline.lineage_lines import count, record_of, share, taken
from pipeline.lineage_lines import title as named

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;
vertical-align:top}td.n{text-align:right;white-space:nowrap}:root{color-scheme:light dark}"""


def page(title: str, hops: dict[str, Hop], target: str) -> str:
    """The page. `hops` by place, the sources first; `target` is the place of the artifact that it is about."""
    known, hop = sources(hops), hops[target]
    records = {name: record_of(name, hop.origins[name], known) for name in hop.amounts}
    held = [
        _row(
            [name, records[name].licence, records[name].at],
            [count(amount.documents), count(amount.tokens), count(amount.chats), share(amount)],
        )
        for name, amount in hop.amounts.items()
    ]
    ways = [
        _row(
            [
                named(one),
                ", ".join(hops[place].label for place in one.above if place in hops),
                one.gap or "; ".join(f"{name} {share(amount)} ({taken(amount)})" for name, amount in one.amounts.items()),
            ],
            [],
        )
        for one in hops.values()
    ]  # fmt: skip
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head><body>',
            f"<h1>{escape(title)}</h1><p>{escape(named(hop))}</p>",
            _table(["source", "licence", "from", "documents", "tokens", "chats", "share"], held),
            "<h2>Made by</h2>",
            _table(["artifact", "made from", "holds"], ways),
            "</body></html>",
        ]
    )


def _row(cells: Iterable[str], figures: Iterable[str]) -> str:
    shown = [f"<td>{escape(cell)}</td>" for cell in cells]
    shown += [f'<td class="n">{escape(cell)}</td>' for cell in figures]
    return f"<tr>{''.join(shown)}</tr>"


def _table(header: Iterable[str], rows: Iterable[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>{''.join(rows)}</table>"
