"""Since when a process runs, a machine is up, and a machine that was started for a stage is paid for and has not worked yet."""

from __future__ import annotations

import os
import time
from pathlib import Path


def booted() -> float:
    """When this machine booted, in seconds since 1970: that of a container is its host's. Raises OSError, IndexError, ValueError."""
    return float(Path("/proc/stat").read_text().split("btime ")[1].split()[0])


def began(process: int | str = "self") -> float:
    """When a process began, in seconds since 1970; now, where the system does not tell."""
    try:
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        return min(booted() + ticks / os.sysconf("SC_CLK_TCK"), time.time())
    except (OSError, IndexError, ValueError):
        return time.time()


def held(asked: float, ready: float, mark: Path) -> float | None:
    """Since when this machine is held for the stage that begins on it now; None where it was not started for it.

    `asked` is when the stage asked for a machine that was not there (0: it was), `ready` when what runs stages began here. A
    machine that booted after it was asked for is held since then. `mark` is made by the first stage on the machine: to others
    it came as it was, be they of another run.
    """
    try:
        mark.touch(exist_ok=False)
    except OSError:
        return None
    try:
        boot = booted()
    except (OSError, IndexError, ValueError):
        boot = 0.0
    return (boot if boot > asked else ready) if asked else None
