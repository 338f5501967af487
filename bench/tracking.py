"""What telling MLflow costs: 10,000 metric points a minute do not back up, a stage takes no longer, and what it adds to a run.

Goal: the points of a minute told within 5 s of its end; at most 50 ms of stage time added to each stage. The start, once in a
run, is told apart: where stages share the driver's process, MLflow's import takes time from them. About four minutes.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import cpu_seconds
from infra.mlflow_tracker import MlflowTracker
from pipeline import Artifact, Context, Dag, Field, Stage
from pipeline.events import Event
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from pipeline.telling import Teller
from pipeline.tracker import RunRecord, StageRecord

ROOT = Path(__file__).parents[1]
SECONDS, POINTS = 60, 10_000
DRAIN = 5.0
LINKS, STARTING, ROUNDS = 30, 15, 3
"""Stages, and how many of them run while MLflow is imported and makes its tables: the dearest case, one process for both."""
STAGE_SECONDS = 0.05


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
        told = [{who: _child(folder / f"{who}-{turn}", who) for who in ("none", "mlflow")} for turn in range(ROUNDS)]
        return _report(_minute(folder / "minute"), told)
    finally:
        shutil.rmtree(folder)


def _minute(store: Path) -> dict[str, float]:
    """A minute of one stage's metrics in real time: what is not yet told at its end, how long that takes, CPU-seconds."""
    stages = {"Train": StageRecord(stage="train", kind="Model", settings={}, inputs={}, state="run", reason="")}
    record = RunRecord(
        run="minute", dag="bench", dials={}, store=str(store), executor="inline", started=time.time(), stages=stages
    )
    warnings: list[str] = []
    cpu, began = cpu_seconds(), time.monotonic()
    teller = Teller([MlflowTracker(str(store))], warnings, "corpusmill track {}".format)
    teller.say("start", record)
    teller.say("event", Event(label="Train", kind="state", data={"state": "started"}))
    for point in range(POINTS):
        teller.say(
            "event", Event(label="Train", kind="metrics", data={"step": point, "values": {"loss": 1 / (1 + point)}})
        )
        time.sleep(max(0.0, began + (point + 1) * SECONDS / POINTS - time.monotonic()))
    backlog, ended = teller.calls.qsize(), time.monotonic()
    teller.close("finished")
    assert not warnings, warnings
    return {"backlog": backlog, "drain_seconds": time.monotonic() - ended, "cpu_seconds": cpu_seconds() - cpu}


def _child(store: Path, who: str) -> dict[str, float]:
    """One run of the chain in a process of its own: seconds of all stages, of the whole, and of CPU."""
    script = "import sys; from bench.tracking import tell; tell(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(store), who], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def tell(store: str, who: str) -> None:
    """What a child does: run the chain, told to MLflow or to nobody, and print the figures."""
    began, trackers = time.perf_counter(), [MlflowTracker(store)] if who == "mlflow" else []
    outcome = run(chain(), Store(store), name="chain", dials={}, executor=Inline, trackers=lambda: trackers)
    assert outcome.ok and not outcome.warnings, outcome.warnings
    took = [outcome.manifests[f"link-{number}"].cost.wall_seconds for number in range(LINKS)]
    start, one = sum(took[:STARTING]), statistics.median(took[STARTING:])  # a median: others use this machine too
    print(json.dumps({"start": start, "stage": one, "wall": time.perf_counter() - began, "cpu": cpu_seconds()}))


def _report(minute: dict[str, float], told: list[dict[str, dict[str, float]]]) -> bool:
    def added(what: str) -> list[float]:
        return [turn["mlflow"][what] - turn["none"][what] for turn in told]

    per_stage = added("stage")
    share = statistics.median(cpu / turn["mlflow"]["cpu"] for cpu, turn in zip(added("cpu"), told, strict=True))
    figures: dict[str, Any] = {
        **minute,
        "added_per_stage_seconds": statistics.median(per_stage),
        "added_at_start_seconds": statistics.median(added("start")),
        "added_to_run_seconds": statistics.median(added("wall")),
        "added_to_run_cpu_seconds": statistics.median(added("cpu")),
        "share_of_cpu": share,
    }
    expected = {
        "backlog": f"≤ {POINTS // 20}",
        "drain_seconds": f"≤ {DRAIN}",
        "cpu_seconds": "≤ 20",
        "added_per_stage_seconds": f"≤ {STAGE_SECONDS}",
        "added_at_start_seconds": "≤ 5",
        "added_to_run_seconds": "≤ 15",
        "added_to_run_cpu_seconds": "≤ 15",
        "share_of_cpu": "",
    }
    table = Table(
        "", "expected", "measured", "least–most", title=f"{POINTS:,} points a minute; {LINKS} stages, told or not"
    )
    spread = {"added_per_stage_seconds": per_stage, "added_at_start_seconds": added("start")}
    spread |= {"added_to_run_seconds": added("wall"), "added_to_run_cpu_seconds": added("cpu")}
    for name, value in figures.items():
        ends = f"{min(spread[name]):.3f}–{max(spread[name]):.3f}" if name in spread else ""
        table.add_row(name, expected[name], f"{value:.3f}", ends)
    Console().print(table)
    holds = minute["drain_seconds"] <= DRAIN and statistics.median(per_stage) <= STAGE_SECONDS
    rounded = {name: round(value, 4) for name, value in figures.items()}
    goal = f"a minute's points told within {DRAIN} s of its end, at most {STAGE_SECONDS} s added to a stage"
    print(json.dumps({"bench": "tracking", "figures": rounded, "goal": goal, "holds": holds}))
    return holds
