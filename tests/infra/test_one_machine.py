"""A stage that has a machine to itself: shards in processes, a gang as torchrun starts it, a hand-over when its time is up."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from infra.one_machine import OneMachine
from pipeline import Context, Resources, Stage
from pipeline.errors import SourceError, StageFailed
from pipeline.job import Job
from pipeline.limits import HandedOver
from tests.executors.stages_for_tests import Ganged, Maps, Misses
from tests.pipeline.toys import Words


def made(stage: Stage[Words], folder: Path, until: float = float("inf")) -> Path:
    job = Job.of(stage, [], run="run", store=str(folder / "store"))
    (folder / "work").mkdir()
    given = Context.local(folder / "work")
    ctx = Context(given._workspace, backend=OneMachine(job, until))
    stage.run(Words(given._workspace.data), ctx)
    return given._workspace.data


def test_shards_run_at_once_in_processes_of_their_own_and_print_into_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    stage = Maps(shards=3, seconds=0, place=str(place), together=2, resources=Resources(cpus=2))
    data = made(stage, tmp_path)
    assert sorted(path.name for path in data.iterdir()) == ["000.txt", "001.txt", "002.txt"]
    assert sorted(capsys.readouterr().out.splitlines()) == [f"shard {index} of a" for index in range(3)]


def test_a_fault_of_a_shard_arrives_as_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not there"):
        made(Two(resources=Resources(cpus=2)), tmp_path)


class Two(Misses):
    """Misses in two shards, so that they go to processes."""

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._miss, ["a", "b"])


def test_a_gang_has_torchruns_environment_one_process_for_each_rank(tmp_path: Path) -> None:
    data = made(Ganged(workers=2), tmp_path)
    assert (data / "seen.txt").read_text() == "0:2:0:127.0.0.1 1:2:1:127.0.0.1"


def test_a_rank_that_dies_ends_the_gang(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="the worker of rank 0 died"):
        made(Dies(), tmp_path)


class Dies(Ganged):
    """Its first rank is gone before it says anything."""

    def run(self, out: Words, ctx: Context) -> None:
        ctx.gang(gone, self.workers)


def gone() -> None:
    """End this process without a word; the other rank waits for it."""
    if os.environ["RANK"] == "0":
        os._exit(9)
    time.sleep(60)


def test_once_the_time_of_the_machine_is_up_the_next_commit_hands_over() -> None:
    job = Job.of(Maps(), [], run="run", store="nowhere")
    OneMachine(job).look()
    with pytest.raises(HandedOver, match="goes on at another machine"):
        OneMachine(job, until=0).look()
