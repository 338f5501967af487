"""What every benchmark shares: rivals measured by turns (A B A B), CPU seconds beside wall, a table and one line of JSON.

Wall time moves with whatever else the machine does; CPU seconds, those of children included, and ratios of rivals measured
side by side are what to trust.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Spent:
    """One turn of one rival: seconds of wall and of CPU, and how much work it did (documents, tokens, calls)."""

    wall: float
    cpu: float
    work: float = 1.0


@dataclass
class Bench:
    """Measured rivals. `goal` says in words what must hold; `holds` is decided by the benchmark and printed with the figures."""

    name: str
    goal: str
    unit: str = "CPU-s"
    turns: dict[str, list[Spent]] = field(default_factory=dict)

    def by_turns(self, rivals: Mapping[str, Callable[[], float | None]], rounds: int = 5) -> None:
        """Measure every rival once in each round; a rival returns how much work it did, or None for one."""
        for _ in range(rounds):
            for rival, work in rivals.items():
                self.turns.setdefault(rival, []).append(measure(work))

    def cpu(self, rival: str) -> float:
        """Median CPU seconds of one unit of work."""
        return statistics.median(_each(self.turns[rival]))

    def ratio(self, rival: str, other: str) -> dict[str, float]:
        """How many times faster `rival` is than `other`, by CPU per unit of work: median, least and greatest over the rounds."""
        pairs = zip(_each(self.turns[rival]), _each(self.turns[other]), strict=True)
        ratios = [slow / fast for fast, slow in pairs]
        return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}

    def report(self, *, holds: bool, ratios: Mapping[str, dict[str, float]] | None = None) -> bool:
        """Print the table, then one line of JSON: figures, ratios with their spread, the goal and whether it holds."""
        table = Table("", "CPU s", "least–most", "wall s", "per CPU-s", title=f"{self.name}: {self.goal}")
        figures = {}
        for rival, turns in self.turns.items():
            cpus, walls = [turn.cpu for turn in turns], [turn.wall for turn in turns]
            rate = 1 / self.cpu(rival)
            row = (rival, f"{statistics.median(cpus):.3f}", f"{min(cpus):.3f}–{max(cpus):.3f}")
            table.add_row(*row, f"{statistics.median(walls):.3f}", f"{rate:,.1f}")
            figures[rival] = {"cpu": statistics.median(cpus), "wall": statistics.median(walls), "per_cpu_second": rate}
        Console().print(table)
        line = {"bench": self.name, "unit": self.unit, "figures": figures, "ratios": dict(ratios or {})}
        print(json.dumps(_rounded({**line, "goal": self.goal, "holds": holds})))
        return holds


def measure(work: Callable[[], float | None]) -> Spent:
    """Call `work` once; its CPU seconds are those of this process and of every child that has ended meanwhile."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    done = work()
    return Spent(time.perf_counter() - wall, cpu_seconds() - cpu, 1.0 if done is None else float(done))


def cpu_seconds() -> float:
    """User and system seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def program(
    words: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Callable[[], None]:
    """A rival that is a whole process, with `environment` beside ours; byte code is kept, as it is for any user.

    Raises CalledProcessError where it does not end with 0.
    """

    def once() -> None:
        env = {**os.environ, **(environment or {})}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(
            list(words), cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    return once


def beside(name: str) -> str:
    """The path of a command that is installed beside the running Python."""
    return str(Path(sys.executable).parent / name)


def _each(turns: Sequence[Spent]) -> list[float]:
    return [turn.cpu / turn.work for turn in turns]


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return round(value, 5) if isinstance(value, float) else value
