"""The metrics that say how much a stage took of which source, ``from.SOURCE.documents``, and all others without them."""

from __future__ import annotations

from collections.abc import Mapping

OWN = "from."
PAIRS = "pairs"
MEASURES = ("tokens", "chats", PAIRS, "documents")
"""What may be counted; a share is of the first of these that is known. A pair is a choice between two answers."""

Figures = dict[str, float]


def counted(metrics: Mapping[str, float]) -> dict[str, Figures]:
    """What was counted of each source, by its name."""
    found: dict[str, Figures] = {}
    for metric, value in metrics.items():
        name, _, what = metric.removeprefix(OWN).rpartition(".")
        if metric.startswith(OWN) and what in MEASURES:
            found.setdefault(name, {})[what] = value
    return found


def plain(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that a person reads as they are: those by source are left to the lineage."""
    return {name: value for name, value in metrics.items() if not name.startswith(OWN)}
