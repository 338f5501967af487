"""What a check of `corpusmill doctor` tells."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One line: what was looked at, how it is, what was seen, and the command or the edit that mends it."""

    check: str
    state: State
    said: str
    mend: str = ""
