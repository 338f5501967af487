"""What Ray brings beyond the contract: parallel work, resources, and stages that outlive a kill."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.ray_executor import RayExecutor, RayFuture
from pipeline import Resources, StageFailed
from pipeline.errors import UsageError
from pipeline.job import Job
from tests.executors.helpers import SECONDS, Hand, words_in
from tests.executors.stages_for_tests import DiesBetween, Ganged, Maps, Meets, Sleeps, Stuck, Tells, Timed
from tests.pipeline.toys import Join, Say, Upper
from tests.processes import below, command, left, named


@pytest.fixture
def hand(ray_executor: RayExecutor, tmp_path: Path) -> Hand:
    return Hand(ray_executor, tmp_path / "store")


DOLLAR_A_SECOND = Resources(dollars_per_hour=3600)


def test_ray_is_neither_imported_nor_started_before_the_first_submit() -> None:
    code = "import sys; from infra.ray_executor import RayExecutor; RayExecutor().close(); print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_independent_branches_run_at_the_same_time(hand: Hand, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    left, right = (Meets(label=name, name=name, place=str(place)) for name in ("left", "right"))
    assert hand.text(hand.made(Join(parts=(left.out, right.out)))) == "left right"


def test_two_stages_that_map_side_by_side_lend_their_cpus_to_their_shards(hand: Hand, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    stages = [
        Maps(label=name, name=name, shards=4, place=str(place), together=2, resources=Resources(cpus=cpus))
        for name, cpus in (("one", 1), ("both", 2))
    ]
    assert hand.text(hand.made(Join(parts=tuple(stage.out for stage in stages)))).split() == ["one"] * 4 + ["both"] * 4


def test_shards_that_work_at_once_cost_the_cpus_that_they_hold(hand: Hand) -> None:
    made = hand.made(Timed(shards=4, seconds=1.0, resources=DOLLAR_A_SECOND))
    shards = sum(map(float, hand.text(made).split()))
    wall, beyond = made.cost.wall_seconds, made.cost.beyond_cpu_seconds
    assert shards - wall <= beyond < wall, "two at a time, on one CPU of the stage's own and another"
    assert made.cost.dollars == pytest.approx(wall + beyond, abs=0.01)


def test_stages_that_wait_for_the_same_key_hold_no_cpus(hand: Hand) -> None:
    stages = [Maps(label=name, shards=6, seconds=1.0) for name in ("one", "two", "three", "four")]
    made = hand.made(Join(parts=tuple(stage.out for stage in stages)))
    assert hand.text(made).split() == ["a"] * 24
    assert len({record.attempt for record in made.inputs.values()}) == 1


def test_a_stage_killed_between_its_maps_goes_on_from_its_commits(hand: Hand, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert hand.text(hand.made(DiesBetween(trace=str(trace)))) == "a b c d"
    first, second, third = words_in(trace).split("|")
    assert (sorted(first), second, sorted(third)) == (["a", "b"], "", ["c", "d"])


def test_a_shard_whose_worker_is_killed_is_made_again_alone(hand: Hand, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert hand.text(hand.made(Say(words=("a", "b", "c"), trace=str(trace), die_at="b"))) == "a b c"
    assert sorted(words_in(trace)) == ["a", "b", "b", "c"]


def test_a_shard_killed_after_its_files_were_in_place_is_made_again(tmp_path: Path) -> None:
    from infra.ray_backend import run_shard

    job = Job.of(Say(), [], run="run", store=str(tmp_path / "store"))
    place = tmp_path / "part"
    place.mkdir()
    for _ in range(2):  # the second finds the files of the first, whose value never arrived
        _, told = run_shard(pickle.dumps(write_word), job.model_dump_json(), "again", str(place))
        assert told == ("again", None, "")
    assert [path.name for path in tmp_path.iterdir()] == ["part"] and (place / "word.txt").read_text() == "again"


def write_word(word: str, folder: Path) -> str:
    (folder / "word.txt").write_text(word)
    return word


@pytest.mark.parametrize("sent", ['{"ref": 7, "end": "{}"}\n', '{"ref": 1, "en'])
def test_an_answer_to_nothing_or_cut_short_leaves_no_stage_waiting(sent: str) -> None:
    executor, future = RayExecutor(cpus=1), RayFuture(1, "say")
    channel, host = socket.socketpair()
    executor._pending[1] = future
    listener = threading.Thread(target=executor._listen, args=[channel])
    listener.start()
    host.sendall(sent.encode())
    host.close()
    listener.join(SECONDS)
    channel.close()
    with pytest.raises(StageFailed, match="stage 'say': Ray stopped before it ended"):
        future.result(0)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_is_lost_too_often_fails_its_stage(hand: Hand, tmp_path: Path, retries: int) -> None:
    trace = tmp_path / "trace"
    stage = DiesBetween(trace=str(trace), times=9, resources=Resources(retries=retries))
    with pytest.raises(StageFailed, match="stage 'dies-between': its worker process died") as raised:
        hand.made(stage)
    assert "run the same command again" in raised.value.mend
    assert words_in(trace).count("|") == retries + 1


def test_a_gang_starts_together_under_the_contract_of_torchrun(hand: Hand) -> None:
    made = hand.made(Ganged(workers=2, resources=DOLLAR_A_SECOND))
    seen = hand.text(made).split()
    assert 0.01 < made.cost.beyond_cpu_seconds < made.cost.wall_seconds, "the stage asked for one CPU of its own"
    assert made.cost.dollars == pytest.approx(made.cost.wall_seconds + made.cost.beyond_cpu_seconds, abs=0.01)
    assert seen == ["0:2:0:127.0.0.1", "1:2:1:127.0.0.1"]


def test_more_than_the_machine_has_is_refused_at_once(hand: Hand) -> None:
    with pytest.raises(UsageError, match="stage 'say' asks for 3 CPU cores, but this machine has 2") as raised:
        hand.over(Say(resources=Resources(cpus=3)))
    assert "Resources(cpus=2)" in raised.value.mend
    with pytest.raises(UsageError, match=r"GiB of memory"):
        hand.over(Say(resources=Resources(memory_gib=1e6)))


def test_a_machine_without_ray_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs the package 'ray'") as raised:
        Hand(RayExecutor(), tmp_path / "store").over(Say())
    assert raised.value.mend == "pip install 'corpusmill[ray]'"


def test_a_stage_that_outruns_its_time_limit_fails(hand: Hand) -> None:
    with pytest.raises(StageFailed, match=r"'sleeps' ran longer than its limit of 0.005 minutes"):
        hand.made(Sleeps(resources=Resources(minutes=0.005)))


@pytest.mark.parametrize("in_shard", [False, True])
def test_what_is_stuck_in_c_code_is_ended_all_the_same(hand: Hand, in_shard: bool) -> None:
    hand.made(Say(label="before"))  # a worker for shards is warm
    stage = Stuck(in_shard=in_shard, resources=Resources(minutes=0.02, retries=1))
    with pytest.raises(StageFailed, match=r"'stuck' ran longer than its limit of 0.02 minutes") as raised:
        hand.made(stage)
    assert "what was committed is kept" in raised.value.mend
    commits = list(Path(hand.root).glob(".partial/stuck/*/*/commits/*.json"))
    assert len(commits) == 1
    assert hand.text(hand.made(Say(words=("free",), label="after"))) == "free", "its CPU was given back"


def test_a_stage_may_use_every_thread_whatever_ran_before_it(hand: Hand) -> None:
    for seed, cpus in ((1, 1), (2, 2)):
        told = hand.text(hand.made(Tells(seed=seed, resources=Resources(cpus=cpus))))
        assert told.split()[1] == os.environ.get("OMP_NUM_THREADS", "2")


def test_many_stages_that_wait_cost_no_process_each(hand: Hand, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    first = Sleeps(seconds=3, begun=str(begun))
    before = {process.pid for process in below()}
    wide = [Join(label=f"join-{index}", parts=(first.out,)) for index in range(100)]
    futures = hand.over(Join(parts=tuple(stage.out for stage in wide), label="end"))
    _until_there(begun)
    time.sleep(1.5)
    assert len({process.pid for process in below()} - before) < 20
    assert hand.text(futures["end"].result(SECONDS)) == " ".join(["slept"] * 100)


def test_a_stage_of_a_users_own_folder_reaches_its_shards(
    hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a_users_own.py").write_text(
        "from pipeline import Stage\nfrom tests.pipeline.toys import Words\n\n"
        "def write(word, folder):\n    (folder / f'{word}.txt').write_text(word)\n\n"
        "class Own(Stage[Words]):\n    def run(self, out, ctx):\n        ctx.map(write, ['a', 'b'])\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    from a_users_own import Own  # type: ignore[import-not-found]

    assert hand.text(hand.made(Upper(words=Own().out))) == "A B"


def test_a_run_outlives_the_actor_that_links_its_stages(hand: Hand, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    futures = hand.over(Upper(words=Sleeps(seconds=1, begun=str(begun)).out))
    _until_there(begun)
    links = [process for process in below() if "ray::link" in command(process).lower()]
    assert links
    for link in links:
        link.kill()
    assert hand.text(futures["upper"].result(SECONDS)) == "SLE"


@pytest.mark.slow
def test_a_dead_raylet_fails_what_was_pending_within_seconds(tmp_path: Path) -> None:
    executor = RayExecutor(cpus=1)
    hand, before = Hand(executor, tmp_path / "store"), set(below())
    begun = tmp_path / "begun"
    futures = hand.over(Upper(words=Sleeps(begun=str(begun)).out))
    _until_there(begun)
    ours = set(below()) - before
    named(ours, "raylet")[0].kill()
    killed = time.monotonic()
    for label in ("sleeps", "upper"):
        with pytest.raises(StageFailed, match=f"stage '{label}': Ray") as raised:
            futures[label].result(SECONDS)
        assert "run the same command again" in raised.value.mend
    assert time.monotonic() - killed < 40, "a second or so; Ray itself waits on and on"
    executor.close()
    assert not left(ours, 0)


DRIVER = """
import sys, time
from pathlib import Path
from infra.ray_executor import RayExecutor
from pipeline import StageFailed
from tests.executors.helpers import Hand
from tests.executors.stages_for_tests import DiesBetween, Ganged, Maps, Misses, Sleeps, Tells
executor = RayExecutor(cpus=2)
hand = Hand(executor, Path(sys.argv[1]) / "store")
hand.made(Tells()); hand.made(Maps(seconds=0)); hand.made(DiesBetween(trace=sys.argv[1] + "/trace"))
try:
    hand.made(Misses(bug=True, in_shard=True))
except StageFailed:
    print("ours", flush=True)
hand.over(Sleeps(begun=sys.argv[1] + "/begun"))
time.sleep(600)
"""


@pytest.mark.slow
def test_nothing_of_ray_is_seen_and_nothing_is_left_when_the_driver_is_killed(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    _until_there(tmp_path / "begun")
    started = below(driver.pid)
    folder = Path(named(started, "raylet")[0].cwd())
    assert len(started) > 5 and folder.stat().st_mode & 0o077 == 0
    driver.kill()
    driver.wait(SECONDS)
    assert not left(started, SECONDS)
    assert not folder.exists()
    assert os.read(ours, 100_000).decode().split() == ["ours"]


def _until_there(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)
