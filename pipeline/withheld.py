"""What must never be written down. An address with a password is refused where it would go on record; of what a stage prints,
the value of a secret in its environment gives way to the secret's name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel

_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|KEY)(_|$)", re.IGNORECASE)
"""Names of variables that hold secrets, as tools and clouds give them."""
SHORTEST = 8
"""Characters of a value that is hidden: a shorter one may be a word of any text."""
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


def masking(environ: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """A function that puts ``[NAME]`` where a text, JSON or not, holds the value of a variable whose name says it is secret."""
    hidden: dict[str, str] = {}
    for name, value in environ.items():
        if _SECRET.search(name) and len(value) >= SHORTEST and not (value.startswith("/") and os.path.exists(value)):
            hidden |= {value: f"[{name}]", json.dumps(value)[1:-1]: f"[{name}]"}
    longest_first = sorted(hidden.items(), key=lambda pair: -len(pair[0]))

    def masked(text: str) -> str:
        for value, name in longest_first:
            if value in text:
                text = text.replace(value, name)
        return text

    return masked
