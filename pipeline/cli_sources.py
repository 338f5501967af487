"""The commands `corpusmill sources list` and `corpusmill sources update`: what a dag reads from outside, and its pins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from pipeline.cli_options import DagName, Dials

if TYPE_CHECKING:
    from pipeline.sources import Source

sources = typer.Typer(
    help="List and pin what a dag reads from outside the store.", no_args_is_help=True, rich_markup_mode=None
)

SHORT = 12
"""Hex digits of a digest that are shown."""


@sources.command("list")
def list_sources(dag: DagName, dials: Dials = None) -> None:
    """Show each source: pinned, changed since, missing, or not pinned. Nothing is fetched."""
    from pipeline import sources as known
    from pipeline.loading import draw
    from pipeline.tables import coloured, table

    drawn, lock = draw(dag, dials or [])
    pins = known.read(lock)
    rows = []
    for at, places in known.sources(drawn).items():
        for place, source in places.items():
            pin = source.sha256.lower() or pins.get(at, "")
            where = "the dag" if source.sha256 else lock.name if pin else ""
            rows.append([at, _state(source, pin), pin[:SHORT], where, place])
    if rows:
        print(
            "\n".join(table(["source", "state", "sha256", "pinned in", "read by"], rows, colour=coloured(sys.stdout)))
        )
    else:
        print("this dag reads nothing from outside")


def _state(source: Source, pin: str) -> str:
    from pipeline.errors import SourceError

    try:
        now = source.now(fetch=False)
    except SourceError:
        return "missing"
    if not pin:
        return "not pinned"
    return "pinned" if now in (pin, "") else "changed since"


@sources.command()
def update(dag: DagName, dials: Dials = None) -> None:
    """Pin every source of a dag that the dag itself does not pin to what it holds now, in sources.lock beside the dag."""
    from pipeline import sources as known
    from pipeline.loading import draw

    drawn, lock = draw(dag, dials or [])
    before = known.read(lock)
    now = {at: source.now(fetch=True) for at, source in known.unpinned(drawn).items()}
    if not now:
        print("no source of this dag needs a pin: it reads nothing from outside, or pins it itself")
        return
    if now.items() - before.items():
        known.write(lock, before | now)
    for at, pin in now.items():
        old = before.get(at, "")
        change = "unchanged" if old == pin else f"{old[:SHORT]} → {pin[:SHORT]}" if old else f"pinned to {pin[:SHORT]}"
        print(f"{at}: {change}")
    print(f"{lock}: {len(before | now)} pinned")
