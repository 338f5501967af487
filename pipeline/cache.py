"""Where Corpusmill keeps what it can make again: digests of files, fetched packages, copies of a remote store."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache for Corpusmill (``$XDG_CACHE_HOME/corpusmill`` or ``~/.cache/corpusmill``), as it is set now."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corpusmill"
