"""What every executor promises: one suite, run against each of them; a cluster of nodes has a file of its own for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from pipeline import Resources
from pipeline.errors import SourceError, StageFailed, Stopped
from pipeline.executor import Inline
from pipeline.job import Job
from pipeline.manifest import Manifest
from tests.executors.helpers import SECONDS, Hand, words_in
from tests.executors.stages_for_tests import DiesBetween, Maps, Misses, Spans, Stubborn, Tells
from tests.on_modal import a_trace
from tests.pipeline.toys import Join, Say, Upper


@pytest.fixture(params=["inline", "ray", pytest.param("modal", marks=[pytest.mark.slow, pytest.mark.elsewhere])])
def hand(request: pytest.FixtureRequest, tmp_path: Path) -> Hand:
    executor = Inline() if request.param == "inline" else request.getfixturevalue(f"{request.param}_executor")
    return Hand(executor, tmp_path / "store")


@pytest.fixture
def trace() -> Iterator[Path]:
    """A file that stages write to, wherever they run."""
    with a_trace() as one:
        yield one


def test_a_stage_runs_after_its_inputs_and_reads_them(hand: Hand) -> None:
    assert hand.text(hand.made(Upper(words=Say(words=("one", "two")).out))) == "ONE TWO"


def test_a_manifest_names_its_executor_inputs_metrics_and_cost(hand: Hand) -> None:
    say = Say(words=("one", "two"))
    futures = hand.over(Upper(words=say.out))
    above, below = futures[say.label].result(SECONDS), futures["upper"].result(SECONDS)
    assert below.executor == hand.executor.name
    assert below.inputs["words"].digest == above.digest and below.inputs["words"].attempt == above.attempt
    assert above.metrics == {"words": 2.0} and above.cost.wall_seconds > 0


def test_a_stage_of_several_inputs_gets_each_in_its_place(hand: Hand) -> None:
    first, second = Say(words=("x",), label="first"), Say(words=("y",), label="second")
    assert hand.text(hand.made(Join(parts=(second.out, first.out, second.out)))) == "y x y"


def test_what_is_there_is_not_made_again(hand: Hand, trace: Path) -> None:
    say = Say(words=("a", "b"), trace=str(trace))
    assert hand.made(say) == hand.made(say)
    assert sorted(words_in(trace)) == ["a", "b"]


def test_what_is_forced_is_made_again(hand: Hand) -> None:
    say = Say()
    first, second = hand.made(say), hand.made(say, force=True)
    assert first.attempt != second.attempt and first.digest == second.digest


def test_a_parent_may_be_a_manifest_that_was_there_before(hand: Hand) -> None:
    say = Say(words=("one",))
    cached: Future[Manifest] = Future()
    cached.set_result(Hand(Inline(), hand.root).made(say))
    job = Job.of(Upper(words=say.out), [say], run=hand.run, store=hand.root)
    assert hand.text(hand.executor.submit(job, [cached]).result(SECONDS)) == "ONE"


def test_every_executor_makes_the_same_bytes(hand: Hand, tmp_path: Path) -> None:
    stage = Maps(shards=5, seconds=0)
    here = Hand(Inline(), tmp_path / "another").made(stage)
    made = hand.made(stage)
    assert (made.key, made.digest, made.files) == (here.key, here.digest, here.files)


@pytest.mark.parametrize("in_shard", [False, True])
def test_a_fault_arrives_as_it_was_raised(hand: Hand, in_shard: bool) -> None:
    with pytest.raises(SourceError) as raised:
        hand.made(Misses(in_shard=in_shard))
    assert type(raised.value) is SourceError
    assert (raised.value.message, raised.value.mend) == ("pages.html is not there", "fetch it first")


@pytest.mark.parametrize("in_shard", [False, True])
def test_a_bug_is_told_in_one_line_and_never_tried_again(hand: Hand, trace: Path, in_shard: bool) -> None:
    with pytest.raises(StageFailed) as raised:
        hand.made(Misses(bug=True, in_shard=in_shard, trace=str(trace)))
    assert "'misses': ZeroDivisionError: by nought (at stages_for_tests.py:" in raised.value.message
    assert "Traceback" in hand.log("misses") and "by nought" in hand.log("misses")
    assert words_in(trace) == "x"


def test_a_failed_stage_leaves_nothing_stops_its_children_and_no_other_branch(hand: Hand) -> None:
    misses = Misses()
    say = Say(words=("on", "goes"))
    after = Join(parts=(misses.out, say.out))
    futures = hand.over(Upper(words=after.out), Upper(words=say.out, label="beside"))
    for label in ("join", "upper"):
        with pytest.raises(SourceError, match="pages"):
            futures[label].result(SECONDS)
    assert not hand.store.of_stage("misses") and not hand.store.of_stage("join")
    assert hand.text(futures["beside"].result(SECONDS)) == "ON GOE"


def test_what_a_stage_prints_goes_to_its_log(hand: Hand, capfd: pytest.CaptureFixture[str]) -> None:
    hand.made(Tells())
    hand.made(Maps(shards=2, seconds=0))
    out, err = capfd.readouterr()
    assert "to std" not in out + err and "shard" not in out + err
    assert hand.log("tells").splitlines()[:2] == ["to stdout", "to stderr"]
    assert sorted(hand.log("maps").splitlines()) == ["shard 0 of a", "shard 1 of a"]


def test_a_stage_runs_in_the_folder_of_the_run(hand: Hand) -> None:
    if hand.executor.remote:
        pytest.skip("another machine has no such folder")
    assert hand.text(hand.made(Tells(seed=1))).split()[0] == str(Path.cwd())


def test_independent_branches_run_at_once_where_the_executor_has_the_cores(hand: Hand, trace: Path) -> None:
    alone = hand.executor.name == "inline"
    stages = [Spans(label=name, name=name, trace=str(trace), seconds=0.2 if alone else 500) for name in ("one", "two")]
    assert hand.text(hand.made(Join(parts=tuple(stage.out for stage in stages)))) == "one two"
    in_turn, at_once = ["begins", "ends"] * 2, ["begins"] * 2 + ["ends"] * 2
    assert words_in(trace).split() == (in_turn if alone else at_once)


KILLED = """
import sys
from pipeline.executor import Inline
from tests.executors.helpers import Hand
from tests.executors.stages_for_tests import DiesBetween
Hand(Inline(), sys.argv[1]).made(DiesBetween(trace=sys.argv[2]))
"""


def test_a_killed_stage_goes_on_from_its_commits(hand: Hand, trace: Path) -> None:
    if hand.executor.name == "inline":  # the process of the stage is that of the driver
        died = subprocess.run([sys.executable, "-c", KILLED, hand.root, str(trace)], check=False)
        assert died.returncode == -9
    else:
        with pytest.raises(StageFailed, match="worker process died"):
            hand.made(DiesBetween(trace=str(trace), resources=Resources(retries=0)))
    made = hand.made(DiesBetween(trace=str(trace)))
    assert hand.text(made) == "a b c d"
    assert [sorted(part) for part in words_in(trace).split("|")] == [["a", "b"], [], ["c", "d"]]
    assert made.lost.wall_seconds <= made.cost.wall_seconds


def test_a_stage_is_held_to_its_limit_of_time_and_keeps_its_commits(hand: Hand, trace: Path) -> None:
    """A machine that has much else to do may not come to the first commit in time: then it gets more."""
    limits = iter((0.01 if hand.executor.name == "inline" else 0.05, 0.2, 1))

    def is_held_to(minutes: float) -> None:
        with pytest.raises(StageFailed, match=f"'stubborn' ran longer than its limit of {minutes:g} minutes"):
            hand.made(Stubborn(trace=str(trace), resources=Resources(minutes=minutes)))

    limit = 0.0
    while 1 not in hand.done("stubborn"):
        is_held_to(limit := next(limits))
    said = words_in(trace)
    is_held_to(limit)
    assert words_in(trace) == said and not hand.store.of_stage("stubborn")


def test_a_run_that_is_asked_to_stop_does_so_at_the_next_commit(hand: Hand, trace: Path) -> None:
    """Left alone, it would take a quarter of a minute and more."""
    hurry = trace.with_name("hurry")
    stage = Maps(shards=30, seconds=2, trace=str(trace), hurry=str(hurry))

    def ask() -> None:
        while not trace.exists():
            time.sleep(0.02)
        hand.store.ask_stop(hand.run, "enough was spent", "somebody")

    threading.Thread(target=ask, daemon=True).start()
    futures = hand.over(Upper(words=stage.out))
    for label in ("maps", "upper"):
        with pytest.raises(Stopped, match="stage 'maps' was stopped: enough was spent"):
            futures[label].result(SECONDS)
    assert not hand.store.of_stage("maps")
    hurry.touch()
    again = Hand(hand.executor, hand.root, "another")
    assert again.text(again.made(stage)) == " ".join("a" * 30)
    assert again.done("maps")[0] == hand.done("maps")[-1] >= 1, "of what was committed nothing was made again"
