"""The commands `lineage` and `impact`: what an artifact was made of, what was made from it, and what holds a source. They write nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, AsJson, StoreRoot
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.manifest import Manifest
    from pipeline.store import Store

Thing = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@ALIAS]|ARTIFACT|RUN",
        help="a registered model (its champion; @previous, @VERSION), a label, a digest, or a run",
    ),
]
DagOf = Annotated[str, typer.Option("--dag", metavar="DAG", help="the dag that a label is of")]
Down = Annotated[bool, typer.Option("--down", help="what was made from it, to every model, instead of what it is of")]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="print a flowchart that GitHub draws")]
Html = Annotated[bool, typer.Option("--html", help="print one page of HTML that needs nothing else")]
Drop = Annotated[list[str], typer.Option(metavar="source=NAME", help="a source, by its name or address; repeatable")]


def lineage(
    name: Thing,
    down: Down = False,
    as_json: AsJson = False,
    mermaid: Mermaid = False,
    html: Html = False,
    dag: DagOf = "",
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Say what an artifact was made of: which sources, how much of each, under which licence, at every hop."""
    from pipeline import lineage as made
    from pipeline.lineage_lines import as_json as fields
    from pipeline.lineage_lines import made_from, made_of
    from pipeline.lineage_lines import mermaid as flowchart
    from pipeline.store import Store, place_of
    from pipeline.tables import coloured

    if as_json + mermaid + html > 1:
        raise UsageError("a lineage is printed in one form", mend="give one of --json, --mermaid and --html")
    opened = Store(store)
    found = _ends(opened, name, dag)
    targets = [place_of(one) for one in found]
    hops = made.below(opened, *found) if down else made.above(opened, *found)
    if as_json:
        print(json.dumps(fields(hops, targets, down), indent=1))
    elif mermaid:
        print(flowchart(hops, targets))
    elif html:
        from pipeline.lineage_html import page

        print(page(f"{name}: what was made from it" if down else f"{name}: what it was made of", hops, targets))
    else:
        print("\n".join((made_from if down else made_of)(hops, targets, coloured(sys.stdout))))


def _ends(store: Store, name: str, dag: str) -> list[Manifest]:
    """The artifact that is meant, or those that a run ended with."""
    from pipeline.catalogue import find
    from pipeline.lineage import final

    found = find(store, name, dag)
    ends = final(store, found) if isinstance(found, str) else [found]
    if not ends:
        raise UsageError(f"the run {found} ended with no artifact", mend="corpusmill runs lists the runs")
    return ends


def impact(drop: Drop, as_json: AsJson = False, store: StoreRoot = DEFAULT_STORE) -> None:
    """Say which models and artifacts hold a source, how much of it, and what rebuilding them without it would cost."""
    from pipeline.impact import find
    from pipeline.impact_lines import as_json as fields
    from pipeline.impact_lines import impact_lines
    from pipeline.store import Store
    from pipeline.tables import coloured

    asked = []
    for word in drop:
        key, _, value = word.partition("=")
        if key != "source" or not value:
            raise UsageError(f"{word!r} is nothing that can be dropped", mend='write --drop "source=NAME"')
        asked.append(value)
    found = find(Store(store), asked)
    if as_json:
        print(json.dumps(fields(found), indent=1))
    else:
        print("\n".join(impact_lines(found, coloured(sys.stdout))))
