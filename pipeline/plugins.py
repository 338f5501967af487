"""Executors, trackers and commands that installed packages bring, found by entry point and loaded only when named."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pipeline.errors import UsageError


def named(group: str) -> dict[str, EntryPoint]:
    """The entry points of ``corpusmill.<group>`` by name."""
    return {point.name: point for point in entry_points(group=f"corpusmill.{group}")}


def load(group: str, name: str, beside: Sequence[str] = ()) -> Any:
    """What the entry point `name` of the group stands for. Raises UsageError where there is none, or its packages are missing."""
    points = named(group)
    if name not in points:
        raise UsageError(
            f"no {group.rstrip('s')} is called {name!r}; there are: {', '.join(sorted([*points, *beside])) or 'none'}"
        )
    try:
        return points[name].load()
    except ModuleNotFoundError as fault:
        raise UsageError(f"{name} needs the package {fault.name!r}", mend=f"pip install 'corpusmill[{name}]'") from None


def executor_at(place: str) -> Any:
    """A new executor of the place: its name, or a name with an address (``ray://HOST:10001``), which the executor is given."""
    from pipeline.executor import Inline

    kind, at, _ = place.partition("://")
    options = {"address": place} if at else {}
    return (Inline if kind == Inline.name else load("executors", kind, beside=[Inline.name]))(**options)
