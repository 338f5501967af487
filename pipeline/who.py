"""Who does something that goes on record: an acceptance, a pin, an adoption."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """``user@machine``, or what CORPUSMILL_USER says."""
    named = os.environ.get("CORPUSMILL_USER")
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
