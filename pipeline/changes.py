"""Where two records differ, down to the leaf: settings in stable form, metrics, anything that is JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class _Unset:
    def __repr__(self) -> str:
        return "unset"


UNSET = _Unset()
"""Stands for what the other side does not have."""


def changes(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each place, dotted, at which the two differ, with both values; a class's name stands at the place of what it makes."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*new, *(name for name in old if name not in new)):
            within = place if name.startswith("$") else f"{place}.{name}" if place else name
            yield from changes(old.get(name, UNSET), new.get(name, UNSET), within)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from changes(before, after, f"{place}.{position}")
    elif old != new:
        yield place, old, new
