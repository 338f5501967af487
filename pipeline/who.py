"""Who does something that goes on record (an acceptance, a pin, an adoption, a run), and from which commit."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """``user@machine``, or what CORPUSMILL_USER says."""
    named = os.environ.get("CORPUSMILL_USER")
    if named:
        return named
    return f"{user()}@{socket.gethostname()}"


def user() -> str:
    """The user's name on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def commit() -> str:
    """The commit of the repository around the working directory; empty where there is none, or no git."""
    import subprocess  # only where something runs

    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        return asked.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
