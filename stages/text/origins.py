"""How much of an artifact comes from which source: counts of one shard, and their sum as metrics ``from.SOURCE.documents``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

MOST = 200
"""Sources that are told apart in one artifact: those with least are one, `OTHERS`, so that a column of addresses fills no record."""
OTHERS = "(others)"


def by_source(names: Iterable[str | None]) -> dict[str, int]:
    """How often each source stands in the column `source`, in order of its name; JSON, as a shard's function returns it."""
    return dict(sorted(Counter(name or "" for name in names).items()))


def from_sources(what: str, shards: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The counts of all shards as metrics, largest first; `what` is counted: ``documents``, ``tokens`` or ``chats``."""
    total: Counter[str] = Counter()
    for counts in shards:
        total.update(counts)  # type: ignore[arg-type]
    ordered = sorted(((name, count) for name, count in total.items() if count), key=lambda one: (-one[1], one[0]))
    named, rest = ordered[:MOST], sum(count for _, count in ordered[MOST:])
    return {f"from.{name}.{what}": float(count) for name, count in [*named, *([(OTHERS, rest)] if rest else [])]}
