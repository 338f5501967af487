"""What telling MLflow costs: a minute's 10,000 points do not back up, a stage takes no longer, and the demo's run hardly does.

Goal: the points of a minute told within 5 s of its end; at most 50 ms of stage time added to each stage; at most 5% of the demo's
wall time. The first two are measured on a chain of stages in the driver's process, the dearest case, told and untold by turns;
MLflow's start, once in a run, stands beside it and is part of the demo's share. Wall times move with the machine: of the stages after
the start the median counts, in pairs of runs, and beside it stand the CPU-seconds of all that tells, as a mean, which hides no peak: no
stage can lose more than those, even where every core is wanted. The demo is run once, told;
its share is those CPU-seconds, as if none had been spare, and what its end waits for MLflow. About eleven minutes.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from pipeline import Artifact, Context, Dag, Field, Stage
from pipeline.apart import Apart
from pipeline.events import Event
from pipeline.executor import Executor, Inline
from pipeline.ledger import end
from pipeline.run import run
from pipeline.store import Store
from pipeline.telling import Teller
from pipeline.tracker import RunRecord, StageRecord

ROOT = Path(__file__).parents[1]
SECONDS, POINTS = 60, 10_000
DRAIN = 5.0
LINKS, STARTING, ROUNDS = 40, 20, 5
"""Stages of the chain, and how many of them run while MLflow is imported and makes its tables."""
STAGE_SECONDS = 0.05
SHARE = 0.05


class Metered(Apart):
    """MLflow's tracker, with the CPU-seconds that it takes: until its start has been told, in all, and of the thread that tells it."""

    def __init__(self, store: str) -> None:
        super().__init__("mlflow", store)
        self.starting = self.cpu = self.telling = 0.0

    def start(self, record: RunRecord) -> None:
        super().start(record)
        self.starting = self._spent()

    def _close(self) -> None:
        self.cpu, self.telling = self._spent(), time.thread_time()
        super()._close()

    def _spent(self) -> float:
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)


class Link(Stage[Artifact]):
    """Hashes for about half a second, as a stage that works in compiled code, and logs ten metrics on the way."""

    number: int = Field(description="which link")
    before: tuple[Artifact, ...] = ()

    def run(self, out: Artifact, ctx: Context) -> None:
        import hashlib

        block, state = bytes(1 << 24), hashlib.sha256()
        for step in range(10):
            state.update(block * 3)
            ctx.log(step=step, loss=1 / (1 + step))
            ctx.progress(step + 1, 10, "blocks")
        (out.path / "digest").write_text(f"{self.number} {state.hexdigest()}")


def chain() -> Dag:
    """The links one after the other."""
    link = Link(number=0, label="link-0")
    for number in range(1, LINKS):
        link = Link(number=number, before=(link.out,), label=f"link-{number}")
    return Dag(link)


def main() -> bool:
    """Run, print, and tell whether the goals hold."""
    folder = Path(tempfile.mkdtemp(prefix="bench-tracking-"))
    try:
        minute = _child("minute", folder / "minute")
        told: dict[str, list[dict[str, float]]] = {"none": [], "mlflow": []}
        for turn in range(ROUNDS):
            for who in ("none", "mlflow") if turn % 2 else ("mlflow", "none"):  # A B B A: a drift hits both alike
                told[who].append(_child("links", folder / f"{who}-{turn}", who))
        return _report(minute, told, _child("demo", folder / "demo"))
    finally:
        shutil.rmtree(folder)


def _child(function: str, store: Path, *words: str) -> dict[str, float]:
    """The figures that a function of this module prints, in a process of its own."""
    script = f"import sys; from bench import tracking; tracking.{function}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(store), *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def minute(store: str) -> None:
    """A minute of one stage's metrics in real time: what is not yet told at its end, how long that takes, CPU-seconds."""
    stages = {"Train": StageRecord(stage="train", kind="Model", settings={}, inputs={}, state="run", reason="")}
    record = RunRecord(
        run="minute", dag="bench", dials={}, store=store, executor="inline", started=time.time(), stages=stages
    )
    warnings: list[str] = []
    tracker, began = Metered(store), time.monotonic()
    teller = Teller([tracker], warnings, "corpusmill track {}".format)
    teller.say("start", record)
    teller.say("event", Event(label="Train", kind="state", data={"state": "started"}))
    for point in range(POINTS):
        values = {"loss": 1 / (1 + point)}
        teller.say("event", Event(label="Train", kind="metrics", data={"step": point, "values": values}))
        time.sleep(max(0.0, began + (point + 1) * SECONDS / POINTS - time.monotonic()))
    backlog, ended = teller.calls.qsize(), time.monotonic()
    teller.close("finished")
    assert not warnings, warnings
    figures = {"backlog": backlog, "drain": time.monotonic() - ended, "cpu": tracker.cpu + tracker.telling}
    print(json.dumps(figures))


def links(store: str, who: str) -> None:
    """The chain, told to MLflow or to nobody."""
    _run(chain(), store, "chain", Inline, who)


def demo(store: str) -> None:
    """The demo with its own dials on its own executor, told to MLflow."""
    from dags.quickstart import quickstart
    from infra.ray_executor import RayExecutor

    _run(quickstart(), store, "quickstart", RayExecutor, "mlflow")


def _run(dag: Dag, store: str, name: str, executor: Callable[[], Executor], who: str) -> None:
    """Run `dag`, and print seconds of the run, of its stages and of what it waited for at its end; CPU-seconds of telling."""
    trackers = [Metered(store)] if who == "mlflow" else []
    outcome = run(dag, Store(store), name=name, dials={}, executor=executor, trackers=lambda: trackers)
    returned, ended = time.time(), end(outcome.store, outcome.run)
    assert outcome.ok and not outcome.warnings and ended is not None, (outcome.states, outcome.warnings)
    took = [outcome.manifests[label].cost.wall_seconds for label in outcome.plan.entries]
    figures = {"run": outcome.seconds, "stages": sum(took), "count": len(took), "wait": returned - ended.ended}
    figures["later"] = statistics.median(took[STARTING:])
    for one in trackers:
        figures |= {"starting": one.starting, "cpu": one.cpu, "telling": one.telling}
    print(json.dumps(figures))


def _report(minute: dict[str, float], told: dict[str, list[dict[str, float]]], demo: dict[str, float]) -> bool:
    pairs = list(zip(told["mlflow"], told["none"], strict=True))
    rows: list[tuple[str, str, Sequence[float]]] = [
        ("points a minute: not told at its end", f"≤ {POINTS // 20}", [minute["backlog"]]),
        ("points a minute: seconds to tell them", f"≤ {DRAIN:g}", [minute["drain"]]),
        ("points a minute: CPU-seconds", "≤ 20", [minute["cpu"]]),
        ("stage: seconds added", f"≤ {STAGE_SECONDS}", [one["later"] - other["later"] for one, other in pairs]),
        ("stage: CPU-seconds of telling", f"≤ {STAGE_SECONDS}", [_telling(one) for one in told["mlflow"]]),
        ("chain: seconds added to all stages, by the start too", "", [one["stages"] - other["stages"] for one, other in pairs]),
        ("chain: seconds added to the run", "", [one["run"] - other["run"] for one, other in pairs]),
        ("chain: seconds waited at its end", "≤ 5", [one["wait"] - other["wait"] for one, other in pairs]),
        ("once: CPU-seconds to start", "≤ 10", [one["starting"] for one in told["mlflow"]]),
        ("demo: seconds", "", [demo["run"]]),
        ("demo: seconds of its stages", "", [demo["stages"]]),
        ("demo: CPU-seconds to start telling", "≤ 10", [demo["starting"]]),
        ("demo: CPU-seconds of telling, by stage", "", [_telling(demo)]),
        ("demo: seconds waited at its end", "≤ 5", [demo["wait"]]),
        ("demo: share of its time", f"≤ {SHARE}", [(demo["cpu"] + demo["telling"] + demo["wait"]) / demo["run"]]),
    ]  # fmt: skip
    table = Table("", "expected", "median", "least–most", title=f"{POINTS:,} points; {LINKS} stages, told or not; demo")
    figures: dict[str, Any] = {}
    for name, expected, values in rows:
        figures[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
        spread = f"{min(values):.3f}–{max(values):.3f}" if len(values) > 1 else ""
        table.add_row(name, expected, f"{statistics.median(values):.3f}", spread)
    Console().print(table)
    limits = {rows[1][0]: DRAIN, rows[3][0]: STAGE_SECONDS, rows[4][0]: STAGE_SECONDS, rows[-1][0]: SHARE}
    holds = all(figures[name]["median"] <= limit for name, limit in limits.items())
    goal = f"told within {DRAIN:g} s, at most {STAGE_SECONDS} s added to a stage and {SHARE:.0%} to the demo"
    rounded = {name: {part: round(value, 4) for part, value in one.items()} for name, one in figures.items()}
    print(json.dumps({"bench": "tracking", "figures": rounded, "goal": goal, "holds": holds}))
    return holds


def _telling(one: dict[str, float]) -> float:
    """CPU-seconds for each stage, once the run has been told."""
    return (one["cpu"] - one["starting"] + one["telling"]) / one["count"]
