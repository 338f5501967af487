"""What a person reads on a version of the registered model: the way from it to the raw sources, each one click away."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.mlflow_lineage import MODEL
from infra.mlflow_page import table
from pipeline.counted import plain
from pipeline.lineage import Hop, sources
from pipeline.lineage_lines import record_of, share, taken
from pipeline.manifest import Manifest
from pipeline.store import place_of
from pipeline.tables import figure, size

LONGEST = 4800  # characters; MLflow's column holds 5,000
SHORT = 16

Link = Callable[[Manifest], str]
"""A stage's label as a link to the MLflow run that made the attempt, or found it."""


def version_page(made: Manifest, hops: Mapping[str, Hop], link: Link, run: str) -> str:
    """The version `made`, of whose lineage `hops` are the artifacts. `run` is a link to the run of the dag, and its graph."""
    hop = hops[place_of(made)]
    chain = [link(one.manifest) for one in hops.values() if one.kind == MODEL and one.manifest is not None]
    head = [f"The model that stage {link(made)} made" + (f" in {run}." if run else "."), " → ".join(chain)]
    foot = [", ".join(f"{name} {figure(value)}" for name, value in list(plain(made.metrics).items())[:12])]
    foot += [f"content digest `{made.digest}`, {size(made.size)}, by reference in the store"]
    rows = _sources(hop, hops, link)
    while rows and len("\n\n".join([*head, _held(rows), *foot])) > LONGEST:
        rows = [*rows[:-2], ["…", *[""] * 6]]  # the smallest go first
    return "\n\n".join(part for part in [*head, _held(rows), *foot] if part)


def _held(rows: list[list[str]]) -> str:
    return (
        "\n".join(table(["source", "holds", "share", "licence", "revision", "from", "collected by"], rows))
        if rows
        else ""
    )


def _sources(hop: Hop, hops: Mapping[str, Hop], link: Link) -> list[list[str]]:
    """A row for each source, the largest first; one that stands for others is followed by those."""
    known, rows = sources(hops), []
    makers: dict[str, list[Manifest]] = {}
    for one in hops.values():
        for name in one.manifest.sources if one.manifest is not None else ():
            makers.setdefault(name, []).append(one.manifest)  # type: ignore[arg-type]  # the line above asked
    for name, amount in hop.amounts.items():
        others = [one for one in hop.origins[name] if one != name and one in known and one not in hop.amounts]
        for each, much in [(name, [taken(amount), share(amount)]), *((one, ["", ""]) for one in others)]:
            record = record_of(each, hop.origins[name] if each == name else (), known)
            collected = ", ".join(link(maker) for maker in makers.get(each, ()))
            about = [record.licence or "unknown", _code(record.revision[:SHORT]), _code(record.at)]
            rows.append([each, *much, *about, collected])
    return rows


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""
