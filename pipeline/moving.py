"""What a run would move between places, as far as its plan knows: each artifact once, by the size that it has or had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from pipeline.dag import Dag
from pipeline.entry import Entry
from pipeline.tables import gib

HERE = "here"
FEW = 4
"""Artifacts that are named one by one."""


class Move(BaseModel):
    """One artifact that leaves the place where it lies or is made: whose, its bytes (None: never made before), and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    size: int | None
    to: tuple[str, ...]


def moves(entries: Mapping[str, Entry], dag: Dag, *, kept_here: bool) -> tuple[Move, ...]:
    """What has to leave its place for the stages that run; with a store that is `kept_here`, all that is made elsewhere too.

    What is cached is taken to lie here: what another place still has of it is not known before it is asked.
    """
    readers: dict[str, list[str]] = {label: [] for label in entries}
    for label, entry in entries.items():
        if entry.state != "cached":
            for parent in dag.parents(dag.stages[label]):
                readers[parent.label].append(_side(entry))
    found = []
    for label, entry in entries.items():
        home = HERE if entry.state == "cached" else _side(entry)
        goes = [*readers[label], *([HERE] if kept_here and home != HERE else [])]
        if to := tuple(side for side in dict.fromkeys(goes) if side != home):
            found.append(Move(label=label, size=entry.made.size if entry.made else None, to=to))
    return tuple(found)


def _side(entry: Entry) -> str:
    return entry.place if entry.away else HERE


def known_bytes(found: Sequence[Move]) -> int:
    """The bytes of those whose size is known."""
    return sum(move.size or 0 for move in found)


def told(found: Sequence[Move]) -> str:
    """How much, the largest first, and what nobody knows the size of."""
    sized = sorted((move for move in found if move.size is not None), key=lambda move: move.size or 0, reverse=True)
    unsized = _few([move.label for move in found if move.size is None], "others")
    parts = _few([f"{move.label} {gib(move.size or 0)} to {' and '.join(move.to)}" for move in sized], "smaller ones")
    known = f"{gib(known_bytes(found))} ({parts})" if parts else ""
    return ", and ".join(filter(None, [known, f"of unknown size {unsized}" if unsized else ""]))


def _few(words: Sequence[str], rest: str) -> str:
    """The first of `words`, and how many more there are."""
    return ", ".join([*words[:FEW], *([f"{len(words) - FEW} {rest}"] if len(words) > FEW else [])])
