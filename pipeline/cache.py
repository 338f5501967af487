"""Where Corpusmill keeps what it can make again: digests of files, fetched packages, copies of a remote store."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache for Corpusmill (``$XDG_CACHE_HOME/corpusmill`` or ``~/.cache/corpusmill``), as it is set now."""
    return _folder(os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", ""))


@lru_cache(maxsize=8)
def _folder(cache: str, home: str) -> Path:
    return Path(cache or Path.home() / ".cache") / "corpusmill"
