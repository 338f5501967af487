"""The command `corpusmill card`, which prints the card of a model as the records have it now, or writes it into the store."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli_care import DagOf, Thing
from pipeline.cli_options import DEFAULT_STORE, StoreRoot
from pipeline.errors import UsageError


def card(
    name: Thing,
    write: Annotated[bool, typer.Option("--write", help="write it into the store, beside the model's files")] = False,
    dag: DagOf = "",
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Print the card of a model: data with licences, training, scores, cost and lineage, from the records alone."""
    from pipeline import card as cards
    from pipeline.artifact import MODEL
    from pipeline.catalogue import find_artifact
    from pipeline.rendering import lay
    from pipeline.store import Store, place_of

    opened = Store(store)
    made = find_artifact(opened, name, dag)
    if made.kind != MODEL:
        raise UsageError(
            f"{made.label} is of the kind {made.kind}, and only a Model has a card",
            mend=f"corpusmill show {made.label} tells what is on record of it",
        )
    text = cards.card(opened, made)
    if not write:
        print(text, end="")
        return
    if not made.rendered:
        raise UsageError(
            f"{made.label} was made when README.md still was content, and is not changed",
            mend=f"print its card without --write, or build it again: corpusmill run DAG --rebuild {made.label}",
        )
    if opened.is_dropped(made):
        raise UsageError(f"the data of {made.label} was dropped", mend=f"corpusmill run DAG --rebuild {made.label}")
    lay(opened, made, text)
    for file in made.rendered:
        print(f"wrote {opened.url}/{place_of(made)}/data/{file}")
