"""What must never be written down: an address that holds a password or a signature. It is refused where it would go on record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
DEEPEST = 64


def holds_password(value: object) -> bool:
    """Whether a value that is to be recorded, or anything within it, has an address with a password in it."""
    return any(_PASSWORD.search(text) for text in _texts(value, DEEPEST))


def _texts(value: object, deeper: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif not deeper:
        return
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name), deeper - 1)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name, deeper - 1)
            yield from _texts(inner, deeper - 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _texts(inner, deeper - 1)
