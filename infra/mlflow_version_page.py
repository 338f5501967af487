"""What a person reads on a version of the registered model: the way from it to the raw sources, each one click away."""

from __future__ import annotations

from collections.abc import Mapping

from infra.mlflow_holdings import Link, held, holdings
from pipeline.artifact import MODEL
from pipeline.counted import plain
from pipeline.lineage import Hop
from pipeline.manifest import Manifest
from pipeline.store import place_of
from pipeline.tables import figure, size

LONGEST = 4800  # characters; MLflow's column holds 5,000


def version_page(made: Manifest, hops: Mapping[str, Hop], link: Link, run: str) -> str:
    """The version `made`, of whose lineage `hops` are the artifacts. `run` is a link to the run of the dag, and its graph."""
    chain = [link(one.manifest) for one in hops.values() if one.kind == MODEL and one.manifest is not None]
    head = [f"The model that stage {link(made)} made" + (f" in {run}." if run else "."), " → ".join(chain)]
    foot = [", ".join(f"{name} {figure(value)}" for name, value in list(plain(made.metrics).items())[:12])]
    foot += [f"content digest `{made.digest}`, {size(made.size)}, by reference in the store"]
    room = LONGEST - len("\n\n".join([*head, *foot])) - 2
    rows = holdings(hops[place_of(made)], hops, link)
    return "\n\n".join(part for part in [*head, held(rows, room), *foot] if part)
