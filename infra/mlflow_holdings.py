"""What an artifact holds of each source, as the table that stands on the page of a stage's run and of a model's version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from infra.mlflow_page import WHOLE, table
from pipeline.lineage import Hop, readings, sources
from pipeline.lineage_lines import record_of, share, taken
from pipeline.manifest import Manifest

SHORT = 16
TITLES = ("source", "holds", "share", "licence", "revision", "from", "collected by")

Link = Callable[[Manifest], str]
"""A stage's label as a link to the MLflow run that made the attempt, or found it."""


def holdings(hop: Hop, hops: Mapping[str, Hop], link: Link) -> list[list[str]]:
    """A row for each source, the largest first; one that stands for others is followed by those."""
    known, read, rows = sources(hops), readings(hops), []
    for name, amount in hop.amounts.items():
        others = [one for one in hop.origins[name] if one != name and one in known and one not in hop.amounts]
        figures = [text.replace(" ", WHOLE) for text in (taken(amount), share(amount))]
        for each, much in [(name, figures), *((one, ["", ""]) for one in others)]:
            record = record_of(each, hop.origins[name] if each == name else (), known)
            collected = ", ".join(dict.fromkeys(link(maker) for maker, _ in read.get(each, ())))
            about = [record.licence or "unknown", _code(record.revision[:SHORT]), _code(record.at)]
            rows.append([each, *much, *about, collected])
    return rows


def held(rows: Sequence[Sequence[str]], longest: int) -> str:
    """The table of as many of `rows`, the first, as `longest` characters hold; empty without any."""
    shown = [*rows]
    while shown and len(text := "\n".join(table(TITLES, shown))) > longest:
        shown = [*shown[:-2], ["…", *[""] * (len(TITLES) - 1)]] if len(shown) > 1 else []
    return text if shown else ""


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""
