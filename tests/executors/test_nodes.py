"""The contract, and what is more, on a Ray cluster of three machines that share no disk and have no code of this project."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import UsageError
from pipeline.executor import check_reach
from pipeline.store import Store
from tests.executors.cluster import Cluster, title
from tests.executors.helpers import SECONDS, Hand, words_in
from tests.executors.stages_for_tests import Maps, Sees
from tests.executors.test_contract import *  # noqa: F403  (the suite itself, with the hand below)
from tests.house import ROOT
from tests.pages import follow

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere]


@pytest.fixture
def hand(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Hand:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return Hand(cluster.executor, f"{cluster.s3.bucket()}/store")


def test_a_machine_of_the_cluster_sees_no_folder_of_the_driver_and_the_driver_none_of_its(
    hand: Hand, cluster: Cluster
) -> None:
    (cluster.hidden / "here").touch()
    seen, home = hand.text(hand.made(Sees(place=str(cluster.hidden)))).split()
    assert seen == "[]" and home != os.environ["HOME"]
    assert hand.store.local.is_relative_to(cluster.hidden), "what was read has come over the wire"


def test_a_store_that_a_cluster_cannot_reach_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder of this machine, and the executor 'ray' works on others"):
        check_reach(cluster.executor, Store(str(tmp_path)).files)


IN_FLIGHT = 4
"""Shards that a machine of two cores has begun, or made and not committed."""
PLANTED = "a-secret-of-the-drivers-environment"
LAZY = """
from pipeline import Artifact, Dag, Field, Resources, Stage

class Read(Stage[Artifact]):
    file: str = Field(default="words.txt", description="the file, beside the dag")

    def run(self, out, ctx):
        import lazily
        ctx.map(self._write, open(self.file).read().split())

    def _write(self, word, folder):
        from lazily import twice
        (folder / f"{word}.txt").write_text(twice(word))

def words(*, gpus: int = 0) -> Dag:
    return Dag(Read(resources=Resources(gpus=gpus)))
"""


def test_the_page_about_clusters_does_what_it_says(hand: Hand, cluster: Cluster, tmp_path: Path) -> None:
    names = {"CLUSTER": cluster.address, "STORE": hand.root, "HF_TOKEN": PLANTED}
    page = ROOT / "docs" / "ray-clusters.md"
    ran, listed = follow(page, tmp_path, {**os.environ, **cluster.environment, **names})
    assert "shouted: done in" in ran and re.search(r"done .* shouted", listed), ran + listed
    (made,) = hand.store.of_stage("shouted")
    assert hand.text(made) == "A CITIES OF TALE TWO"
    assert {"helper.py:shout", "shouted.py:Shouted"} <= set(made.code.definitions)
    secrets = [PLANTED, *(cluster.environment[name] for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY"))]
    logs = [path for machine in (cluster.head, *cluster.workers) for path in machine.logs]
    assert len(logs) > 10
    assert [path for path in logs if any(secret.encode() in path.read_bytes() for secret in secrets)] == []


def test_a_stage_that_no_machine_can_take_waits_for_one_and_says_so(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    """And its folder is sent with what its stage imports late and reads."""
    (tmp_path / "mine.py").write_text(LAZY)
    (tmp_path / "lazily.py").write_text("def twice(word):\n    return word + word\n")
    (tmp_path / "words.txt").write_text("over the wire")
    words = ["run", "mine.py:words", "gpus=1", "--on", cluster.address, "--tracker", "none", "--store", hand.root]
    run = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *words], cwd=tmp_path, text=True,
        env={**os.environ, **cluster.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdout
    said = ""
    while "waiting for" not in said:
        said += (line := run.stdout.readline())
        assert line, said
    assert said.rstrip().endswith("read: waiting for a machine with 1 GPU")
    newcomer = cluster.add("--num-gpus=1", cpus=1)
    try:
        out, errors = run.communicate(timeout=SECONDS)
        assert run.returncode == 0 and "words: done in" in out and errors == "", out + errors
        (made,) = hand.store.of_stage("read")
        assert hand.text(made) == "overover thethe wirewire" and "lazily.py:twice" in made.code.definitions
    finally:
        cluster.lose(newcomer)


def test_a_run_outlives_the_links_that_died_on_the_head_and_makes_nothing_twice(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    futures = hand.over(Maps(shards=8, seconds=0.5, trace=str(trace)))
    _until(lambda: len(words_in(trace)) >= 5)
    links = [pid for pid in cluster.head.pids() if title(pid).lower().startswith("ray::link")]
    assert links
    for pid in links:
        os.kill(pid, signal.SIGKILL)
    assert hand.text(futures["maps"].result(SECONDS)).split() == ["a"] * 8
    assert len(words_in(trace)) <= 8 + IN_FLIGHT, "and nothing else is made again"


def test_a_lost_machine_costs_the_shards_in_flight_and_nothing_else(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    """The last of these tests: afterwards the cluster has a machine less."""
    trace = tmp_path / "trace"
    futures = hand.over(Maps(label="mapped", shards=8, seconds=1.5, trace=str(trace)))
    _until(lambda: len(words_in(trace)) >= 5)
    _until(lambda: any("/spent/" in name for name in hand.store.files.below(".partial")))
    machine = cluster.running("mapped")
    assert machine
    cluster.lose(machine)
    made = futures["mapped"].result(SECONDS)
    assert hand.text(made).split() == ["a"] * 8
    assert len(words_in(trace)) <= 8 + IN_FLIGHT
    assert 0 < made.lost.wall_seconds < made.cost.wall_seconds, "the lost session's account is in the store"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
