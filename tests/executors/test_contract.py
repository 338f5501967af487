"""What every executor promises: one suite, run against each of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from pipeline.errors import SourceError, StageFailed
from pipeline.executor import Executor, Inline
from pipeline.manifest import Manifest
from pipeline.store import Store
from tests.executors.helpers import SECONDS, Hand, words_in
from tests.executors.stages_for_tests import Maps, Misses, Tells
from tests.pipeline.toys import Join, Say, Upper


@pytest.fixture(params=["inline", "ray"])
def hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hand]:
    executor: Executor = Inline() if request.param == "inline" else request.getfixturevalue("ray_executor")
    yield Hand(executor, tmp_path / "store")


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


def test_what_is_there_is_not_made_again(hand: Hand, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
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
    from pipeline.job import Job

    job = Job.of(Upper(words=say.out), [say], run=hand.run, store=str(hand.root))
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
def test_a_bug_is_told_in_one_line_and_never_tried_again(hand: Hand, tmp_path: Path, in_shard: bool) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(StageFailed) as raised:
        hand.made(Misses(bug=True, in_shard=in_shard, trace=str(trace)))
    assert "'misses': ZeroDivisionError: by nought (at stages_for_tests.py:" in raised.value.message
    assert "Traceback" in hand.log("misses") and "by nought" in hand.log("misses")
    assert words_in(trace) == "x"


def test_a_failed_stage_leaves_nothing_that_counts_and_its_children_do_not_run(hand: Hand, tmp_path: Path) -> None:
    misses = Misses()
    after = Join(parts=(misses.out, Say(trace=str(tmp_path / "said")).out))
    last = Upper(words=after.out)
    futures = hand.over(last)
    for label in ("join", "upper"):
        with pytest.raises(SourceError, match="pages"):
            futures[label].result(SECONDS)
    store = Store(str(hand.root))
    assert futures["say"].result(SECONDS).label == "say"
    assert not store.of_stage("misses") and not store.of_stage("join") and not store.of_stage("upper")


def test_what_a_stage_prints_goes_to_its_log(hand: Hand, capfd: pytest.CaptureFixture[str]) -> None:
    hand.made(Tells())
    hand.made(Maps(shards=2, seconds=0))
    out, err = capfd.readouterr()
    assert "to std" not in out + err and "shard" not in out + err
    assert hand.log("tells").splitlines()[:2] == ["to stdout", "to stderr"]
    assert sorted(hand.log("maps").split("\n"))[-2:] == ["shard 0 of a", "shard 1 of a"]


def test_a_stage_runs_in_the_folder_of_the_run(hand: Hand) -> None:
    assert hand.text(hand.made(Tells(seed=1))).split()[0] == str(Path.cwd())
