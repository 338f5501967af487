"""A cluster that grows: Ray's own autoscaler starts a machine for the stage that waits for one, and takes it away again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.resources import Resources
from pipeline.stream import Follower
from tests.executors.bridge import why_not
from tests.executors.cluster import Cluster, a_cluster, title
from tests.executors.helpers import SECONDS, Hand
from tests.executors.stages_for_tests import Sits

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere]

KINDS = {name: {"CPU": 1, "GPU": 1, f"accelerator_type:{name}": 1} for name in ("H100", "A100")}
DAG = """
from pipeline import Artifact, Dag, Resources, Stage

class Learn(Stage[Artifact]):
    def run(self, out, ctx):
        (out.path / "model").write_text("learnt")

class Learn_more(Stage[Artifact]):
    before: Artifact

    def run(self, out, ctx):
        (out.path / "model").write_text((self.before.path / "model").read_text() + " more")

def learnt() -> Dag:
    h100 = Resources(gpu="H100", dollars_per_hour=3600)
    return Dag(Learn_more(before=Learn(resources=h100).out, resources=h100))
"""


@pytest.fixture(scope="module")
def grows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head without a core, whose autoscaler starts a machine with an H100, and one with an A100, where one is asked for."""
    if why := why_not():
        pytest.skip(why)
    with a_cluster(tmp_path_factory.mktemp("hidden"), workers=0, kinds=KINDS) as one:
        yield one


@pytest.fixture
def hand(grows: Cluster, monkeypatch: pytest.MonkeyPatch) -> Hand:
    for name, value in grows.environment.items():
        monkeypatch.setenv(name, value)
    return Hand(grows.executor, f"{grows.s3.bucket()}/store")


def test_a_stage_that_needs_what_no_machine_has_gets_one_started_and_its_idle_time_is_in_the_ledger(
    hand: Hand, grows: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(DAG)
    assert _machines(grows) == 0

    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from pipeline.cli import main; main()", *words, "--store", hand.root],
            cwd=tmp_path, text=True, env={**os.environ, **grows.environment}, capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    began = time.time()
    said = command("run", "mine.py:learnt", "--on", grows.address, "--tracker", "none")
    took = time.time() - began
    assert "learn: waiting for a machine with 1 CPU core and 1 H100 GPU" in said and "learnt: done in" in said
    (made,) = hand.store.of_stage("learn")
    assert 0.5 < made.idle.wall_seconds < took, "from the start of that machine on"
    assert made.idle.dollars == pytest.approx(made.idle.wall_seconds, abs=0.01)
    assert (made.cost.dollars or 0) > (made.idle.dollars or 0)
    (more,) = hand.store.of_stage("learn_more")
    assert 0 < more.idle.wall_seconds < more.created - made.created, "between two stages it is idle too"
    assert "idle" in command("show", made.run) and "idle" in command("runs")
    _until(lambda: _machines(grows) == 0)
    assert hand.text(more) == "learnt more", "what nobody asks for any more is given back"


def test_each_stage_gets_a_machine_with_its_type_of_gpu_and_one_of_no_such_type_waits(
    hand: Hand, grows: Cluster, tmp_path: Path
) -> None:
    """One after the other: each new machine unpacks the code anew, and these share one disk, below the feet of who works."""
    gate = tmp_path / "gate"
    waits = hand.over(Sits(label="other", resources=Resources(gpu="H200")))["other"]
    known = {"h100": "H100", "A100-80GB": "A100"}
    stages = [Sits(label=name, seed=name, gate=str(gate), resources=Resources(gpu=name)) for name in known]
    first = hand.over(stages[0])["h100"]
    _until(lambda: any("1 H200 GPU (its GPUs are " in why for why in _waited(hand, "other")))
    gate.touch()
    both = [first.result(SECONDS), hand.made(stages[1])]
    assert [hand.text(made) for made in both] == [f"accelerator_type:{name}" for name in known.values()]
    _until(lambda: _machines(grows) == 0)
    assert not waits.done(), "and no other machine was taken for it"
    assert _waited(hand, "other")[0].startswith("waiting for a machine with 1 CPU core and 1 H200 GPU")
    assert all(made.idle.wall_seconds for made in both), "each was the first on its machine"


def _waited(hand: Hand, label: str) -> list[str]:
    """What a stage that waits has told that it waits for."""
    return [event.data["why"] for event in Follower(hand.store, hand.run, [label]).new()]


def _machines(grows: Cluster) -> int:
    """How many machines the autoscaler has running: raylets but the head's own."""
    return sum("/raylet/raylet " in title(pid) for pid in grows.head.pids()) - 1


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
