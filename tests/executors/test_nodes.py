"""The contract, and what is more, on a Ray cluster of three machines that share no disk and have no code of this project."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from pipeline import Resources, UsageError
from pipeline.executor import Inline, check_reach
from pipeline.store import Store
from pipeline.stream import Follower
from tests.executors.cluster import Cluster, title
from tests.executors.helpers import SECONDS, Hand, unfinished, words_in
from tests.executors.stages_for_tests import Maps, Sees, Spreads
from tests.executors.test_contract import *  # noqa: F403  (the suite itself, with the hand below)
from tests.house import ROOT
from tests.pages import follow
from tests.pipeline.toys import Say

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


IN_FLIGHT = 4 + 2
"""Shards that a stage on a machine of two cores has begun, or made and not committed: there, and on another of two."""
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


DOLLAR_A_SECOND = Resources(dollars_per_hour=3600)
WORDS = tuple(f"word-{number:02d}" for number in range(32))


def _said(hand: Hand) -> Say:
    """A stage of 32 files, whose artifact is in the store and on no machine of the cluster."""
    say = Say(words=WORDS)
    Hand(Inline(), hand.root).made(say)
    return say


def _machines(trace: Path) -> dict[str, list[int]]:
    """By the address of each machine, the numbers of the shards that it began."""
    found: dict[str, list[int]] = {}
    for line in words_in(trace).splitlines():
        machine, number = line.split()
        found.setdefault(machine, []).append(int(number))
    return found


def test_shards_of_one_stage_are_made_on_several_machines_each_of_which_fetches_what_it_reads(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    say, trace, gate = _said(hand), tmp_path / "trace", tmp_path / "gate"
    spreads = Spreads(words=say.out, trace=str(trace), gate=str(gate), resources=DOLLAR_A_SECOND)
    future = hand.over(spreads)["spreads"]
    _until(lambda: len(_machines(trace)) == 2)
    gate.touch()
    made = future.result(SECONDS)
    here = Hand(Inline(), tmp_path / "here").made(Spreads(words=say.out, seconds=0))
    assert made.digest == here.digest
    begun = _machines(trace)
    assert len(begun) == 2 and sorted(chain(*begun.values())) == list(range(len(WORDS))), begun
    copies = {
        one.address: len(list(one.cache.glob(f"corpusmill/stores/{hand.store.local.name}/say/*/*/data/*")))
        for one in cluster.workers
    }
    home, other = sorted(copies, key=lambda one: -copies[one])
    assert copies[home] == len(WORDS) and copies[other] == len(begun[other]) < len(WORDS), "no more than what it read"
    beyond = made.cost.beyond_cpu_seconds
    assert made.cost.dollars == pytest.approx(made.cost.wall_seconds + beyond, abs=0.01)
    assert 0.5 * len(begun[other]) < beyond < 3 * made.cost.wall_seconds, "four CPUs, one of which the stage asked for"
    assert hand.log("spreads").splitlines() == ["shards are made on other machines as well"]
    assert not [name for name in hand.store.files.below("") if "/part/" in name]


def test_a_machine_that_is_lost_with_shards_of_another_ones_stage_costs_those_shards(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    """Of shards that wait for a gate none ends meanwhile: what was begun there is what is lost."""
    cluster.add()
    say, trace, gate = _said(hand), tmp_path / "trace", tmp_path / "gate"
    spreads = Spreads(words=say.out, seconds=0, trace=str(trace), gate=str(gate), resources=DOLLAR_A_SECOND)
    future = hand.over(spreads)["spreads"]
    _until(lambda: len(_machines(trace)) == 3)
    home = cluster.running("spreads")
    assert home
    lost = next(machine for machine in cluster.workers if machine is not home)
    cluster.lose(lost)
    gate.touch()
    made, begun = future.result(SECONDS), _machines(trace)
    assert hand.text(made).split() == [word.upper() for word in WORDS]
    every = list(chain(*begun.values()))
    again = {number for number in every if every.count(number) > 1}
    assert again == set(begun[lost.address]) and 1 <= len(again) <= 2, begun
    assert made.lost.wall_seconds == 0, "the stage itself went on"
    assert 0 < made.lost.cpu_seconds == pytest.approx(made.lost.dollars, abs=0.01)
    assert made.lost.beyond_cpu_seconds == made.lost.cpu_seconds < made.cost.beyond_cpu_seconds


def test_a_run_outlives_the_links_that_died_on_the_head_and_makes_nothing_twice(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    futures = hand.over(Maps(shards=8, seconds=0, trace=str(trace), gate=str(gate), free=4))
    _until(lambda: 4 in hand.done("maps"))
    links = [pid for pid in cluster.head.pids() if title(pid).lower().startswith("ray::link")]
    assert links
    for pid in links:
        os.kill(pid, signal.SIGKILL)
    _until(lambda: "resumed" in _states(hand, "maps"))
    gate.touch()
    assert hand.text(futures["maps"].result(SECONDS)).split() == ["a"] * 8
    _only_those_in_flight_were_made_again(trace, 8)


def test_a_lost_machine_costs_the_shards_in_flight_and_nothing_else(
    hand: Hand, cluster: Cluster, tmp_path: Path
) -> None:
    """The last of these tests: afterwards the cluster has a machine less."""
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    futures = hand.over(Maps(label="mapped", shards=12, seconds=0, trace=str(trace), gate=str(gate), free=4))
    _until(lambda: 4 in hand.done("mapped"))
    _until(lambda: cluster.lose_at_work("mapped", lambda: unfinished(hand.store, "maps")) is not None)
    gate.touch()
    made = futures["mapped"].result(SECONDS)
    assert hand.text(made).split() == ["a"] * 12
    _only_those_in_flight_were_made_again(trace, 12)
    assert 0 < made.lost.wall_seconds < made.cost.wall_seconds, "the lost session's account is in the store"


def _states(hand: Hand, label: str) -> list[str]:
    """The states that a stage has told."""
    return [event.data["state"] for event in Follower(hand.store, hand.run, [label]).new() if event.kind == "state"]


def _only_those_in_flight_were_made_again(trace: Path, shards: int) -> None:
    """Of `shards` the four that were free to end had been committed: only others, and of them no more than IN_FLIGHT, began twice."""
    begun = words_in(trace)
    assert all(begun.count(letter) == 1 for letter in "abcd") and shards <= len(begun) <= shards + IN_FLIGHT, begun


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
