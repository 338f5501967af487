"""What a manifest says of the machine, and what an attempt cost there."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.manifest import Cost


def environment() -> dict[str, str]:
    """Python and platform, as an attempt saw them."""
    return {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def machine() -> dict[str, Any]:
    """Cores that this process may use, and GiB of memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory, 1),
    }


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children so far."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Meter:
    """Measures one attempt from its construction on; `shards` is the CPU time that other processes reported."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), cpu_seconds()
        self.shards = 0.0

    def cost(self, dollars_per_hour: float) -> Cost:
        """The cost so far; dollars only where a price is known."""
        wall = time.monotonic() - self._wall
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(
            wall_seconds=round(wall, 3),
            cpu_seconds=round(cpu_seconds() - self._cpu + self.shards, 3),
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            dollars=round(wall / 3600 * dollars_per_hour, 6) if dollars_per_hour else None,
        )


class Metered:
    """A shard function that also says what it cost where it ran: ``(value, pid, CPU seconds)``."""

    def __init__(self, function: Callable[[Any, Path], Any]) -> None:
        self.function = function

    def __call__(self, item: Any, folder: Path) -> tuple[Any, int, float]:
        before = cpu_seconds()
        value = self.function(item, folder)
        return value, os.getpid(), cpu_seconds() - before
