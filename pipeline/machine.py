"""What a manifest says of the machine, and what an attempt cost there."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.machine_load import gpu_names
from pipeline.manifest import Cost
from pipeline.prices import core, hourly
from pipeline.resources import Resources


def environment() -> dict[str, str]:
    """Python and platform, as an attempt saw them."""
    return {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def machine(resources: Resources | None = None) -> dict[str, Any]:
    """Cores that this process may use, and GiB of memory; of what is held of `resources`, the price, and which GPUs they are."""
    price = hourly(resources) if resources else None
    gpus = gpu_names()[: resources.gpus] if resources and resources.gpus else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory, 1),
        **({"gpu": ", ".join(sorted(set(gpus)))} if gpus else {}),
        **({} if price is None else {"dollars_per_hour": price}),
    }


def _living() -> Iterator[list[str]]:
    """The fields of /proc/PID/stat after the name, of every living process below this one; none where there is no /proc."""
    pending = ["self"]
    while pending:
        process = pending.pop()
        with contextlib.suppress(OSError):  # it ended while we looked
            if process != "self":
                yield Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            for thread in os.listdir(f"/proc/{process}/task"):
                pending += Path(f"/proc/{process}/task/{thread}/children").read_text().split()


def usage() -> tuple[float, int]:
    """CPU seconds of this process and all below it, ended or not, so far; bytes of memory that those below it hold now."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    living = list(_living())
    ticks = sum(int(field) for fields in living for field in fields[11:15])
    pages = sum(int(fields[21]) for fields in living)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime + ticks / os.sysconf("SC_CLK_TCK")
    return cpu, pages * os.sysconf("SC_PAGE_SIZE")


def _forget_peak() -> None:
    """Let the peak of this process begin anew, where the system can: a worker may have made something larger before."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Peak resident memory of this process, in bytes. Not ru_maxrss, which begins with that of the process it was forked from."""
    try:
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _here() -> str:
    return f"{platform.node()}:{os.getpid()}"


class Share(NamedTuple):
    """What one call took in the process where it ran: from when to when, CPU seconds, peak memory in bytes."""

    process: str
    began: float
    ended: float
    cpu: float
    peak: int


class Beyond(NamedTuple):
    """CPU seconds that the workers of a stage held beyond what the stage itself holds, and those that were lost with a machine.

    What a machine used that is lost, nobody knows: its CPU is taken to have worked while it was held for what is to be made again.
    """

    held: float = 0.0
    lost: float = 0.0


class Meter:
    """Measures one session of an attempt from its construction on: this process, those below it, and calls that ran elsewhere.

    The machine may have been held for so many seconds of `idle` before: they cost what work costs. What is held `beyond` it
    costs, CPU by CPU, what one of its own does; beside GPUs, nothing. The peak is of this process, of what lived below it at any
    measuring, and of all other processes that worked at once.
    """

    def __init__(
        self, resources: Resources | None = None, idle: float = 0.0, beyond: Callable[[], Beyond] = Beyond
    ) -> None:
        resources = resources or Resources()
        self._gpus, self._price, self._beyond = resources.gpus, hourly(resources), beyond
        self._core = core(resources)
        self.idle = self._held(max(idle, 0.0))
        self._wall, (self._cpu, _) = time.monotonic() - self.idle.wall_seconds, usage()
        self._below = self._elsewhere = 0
        self._latest: dict[str, Share] = {}
        _forget_peak()

    def add(self, share: Share) -> None:
        """Count a call that may have run in another process."""
        if share.process == _here():
            return
        self._cpu -= share.cpu
        before = self._latest.get(share.process, share)
        self._latest = {name: last for name, last in self._latest.items() if last.ended > share.began}
        self._latest[share.process] = share._replace(peak=max(share.peak, before.peak))
        self._elsewhere = max(self._elsewhere, sum(last.peak for last in self._latest.values()))

    def cost(self) -> Cost:
        """The cost so far; dollars only where a price is known."""
        wall, (cpu, below) = time.monotonic() - self._wall, usage()
        self._below, beyond = max(self._below, below), self._beyond()
        worked = {
            "cpu_seconds": round(max(cpu - self._cpu, 0) + beyond.lost, 3),
            "peak_bytes": _peak() + self._below + self._elsewhere,
        }
        return self._held(wall, beyond.held).model_copy(update=worked)

    def lost(self) -> Cost:
        """What of the cost so far was lost with other machines, while the session itself went on."""
        lost = self._beyond().lost
        return self._held(0.0, lost).model_copy(update={"cpu_seconds": round(lost, 3)})

    def _held(self, wall: float, beyond: float = 0.0) -> Cost:
        """What holding the machine for so long costs, and so many CPU seconds beyond it."""
        return Cost(
            wall_seconds=round(wall, 3),
            gpu_seconds=round(wall * self._gpus, 3),
            beyond_cpu_seconds=round(beyond, 3),
            dollars=None if self._price is None else round((wall * self._price + beyond * self._core) / 3600, 6),
        )


class Metered:
    """A function for other processes that also says what it took where it ran: ``(value, Share)``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.home = function, _here()

    def __call__(self, *arguments: Any) -> tuple[Any, Share]:
        began, (before, _) = time.time(), usage()
        if _here() != self.home:
            _forget_peak()
        value = self.function(*arguments)
        cpu, below = usage()
        return value, Share(_here(), began, time.time(), cpu - before, _peak() + below)
