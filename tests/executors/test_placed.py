"""Several places in one run: each job goes to its own, what it needs of others is waited for by nobody who holds something."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from infra.ray_executor import RayExecutor
from pipeline import Dag, StageFailed
from pipeline.errors import SourceError
from pipeline.executor import NO_ROOM, Executor, Inline
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.placed import Placed, gathered
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.executors.far import Far
from tests.executors.helpers import SECONDS, Hand
from tests.executors.stages_for_tests import Misses
from tests.pipeline.toys import Join, Say, Upper


class Later:
    """Takes jobs at once, and does them when it is let go: a place where things take time."""

    name = "later"
    remote = carries = False
    room = NO_ROOM
    check = Inline.check

    def __init__(self) -> None:
        self.go, self.given, self.closed = threading.Event(), list[Sequence[Future[Manifest]]](), list[bool]()

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        future: Future[Manifest] = Future()
        self.given.append(after)

        def work() -> None:
            self.go.wait(SECONDS)
            try:
                future.set_result(Inline().submit(job, after).result())
            except Exception as fault:
                future.set_exception(fault)

        threading.Thread(target=work, daemon=True).start()
        return future

    def close(self, *, cancel: bool = False) -> None:
        self.closed.append(cancel)


class Made:
    """Makes executors by place, and knows which were made."""

    def __init__(self, **executors: Executor) -> None:
        self.executors, self.asked = executors, list[str]()

    def __call__(self, place: str) -> Executor:
        self.asked.append(place)
        return self.executors[place]


def chain() -> tuple[Upper, dict[str, str]]:
    """say (here) → first (there) → second (there) → last (here)."""
    say = Say(words=("one", "two"))
    first = Upper(words=say.out, label="first")
    second = Upper(words=first.out, label="second")
    return Upper(words=second.out, limit=2, label="last"), {
        "say": "here",
        "first": "there",
        "second": "there",
        "last": "here",
    }


def test_jobs_cross_between_two_places_and_back(tmp_path: Path) -> None:
    last, where = chain()
    there = Later()
    there.go.set()
    hand = Hand(Placed(Made(here=Inline(), there=there), where), tmp_path)
    assert hand.text(hand.made(last)) == "ON TW"
    hand.executor.close()
    assert there.closed == [False]


def test_within_one_place_the_executor_holds_the_dag_and_of_another_it_gets_what_has_ended(tmp_path: Path) -> None:
    last, where = chain()
    there = Later()
    hand = Hand(Placed(Made(here=Inline(), there=there), where), tmp_path)
    futures = hand.over(last)
    first, second = there.given
    assert first[0].done() and first[0] is not futures["say"], "of no other executor's kind"
    assert second[0] is futures["first"] and not second[0].done(), "its own, as it was"
    there.go.set()
    assert futures["last"].result(SECONDS).label == "last"


def test_handing_over_a_job_waits_for_nothing(tmp_path: Path) -> None:
    there = Later()
    slow, quick = Say(label="slow"), Say(words=("x",), label="quick")
    where = {"slow": "there", "quick": "here", "join": "here", "upper": "here"}
    hand = Hand(Placed(Made(here=Inline(), there=there), where), tmp_path)
    began = time.monotonic()
    futures = hand.over(Join(parts=(slow.out, quick.out)), Upper(words=quick.out))
    assert time.monotonic() - began < SECONDS / 2 and futures["upper"].done() and not futures["join"].done()
    there.go.set()
    assert hand.text(futures["join"].result(SECONDS)) == "a b c x"


def test_a_place_that_no_job_goes_to_is_never_made(tmp_path: Path) -> None:
    made = Made(here=Inline())
    Hand(Placed(made, {"say": "here", "other": "there"}), tmp_path).made(Say())
    assert made.asked == ["here"]


def test_a_fault_at_one_place_ends_what_is_below_it_at_every_other_and_nothing_beside(tmp_path: Path) -> None:
    there = Later()
    misses, say = Misses(), Say()
    below = Join(parts=(misses.out, say.out))
    where = {"misses": "there", "say": "here", "join": "here", "upper": "there"}
    hand = Hand(Placed(Made(here=Inline(), there=there), where), tmp_path)
    futures = hand.over(Upper(words=below.out))
    there.go.set()
    for label in ("misses", "join", "upper"):
        with pytest.raises(SourceError, match="pages"):
            futures[label].result(SECONDS)
    assert futures["say"].result().label == "say" and not hand.store.of_stage("upper")


def test_what_still_waits_when_a_run_is_cancelled_is_told_as_stopped_and_never_begins(tmp_path: Path) -> None:
    last, where = chain()
    there = Later()
    hand = Hand(Placed(Made(here=Inline(), there=there), where), tmp_path)
    futures = hand.over(last)
    hand.executor.close(cancel=True)
    with pytest.raises(StageFailed, match="stage 'last': it was stopped"):
        futures["last"].result(SECONDS)
    there.go.set()
    futures["second"].result(SECONDS)
    assert not any(made.label == "last" for made in hand.store.of_stage("upper")) and there.closed == [True]


def test_every_executor_is_closed_though_one_cannot_be(tmp_path: Path) -> None:
    class Stuck(Inline):
        def close(self, *, cancel: bool = False) -> None:
            raise OSError("no")

    there = Later()
    hand = Hand(Placed(Made(here=Stuck(), there=there), {"say": "here", "other": "there"}), tmp_path)
    there.go.set()
    hand.made(Say())
    hand.made(Say(label="other"))
    with pytest.raises(OSError, match="no"):
        hand.executor.close()
    assert there.closed == [False]


def test_one_place_needs_no_one_between() -> None:
    here = Inline()
    assert gathered(Made(here=here), {"a": "here", "b": "here"}) is here


def test_of_a_run_here_one_stage_goes_far_away_and_its_model_comes_back(tmp_path: Path) -> None:
    last, _ = chain()
    outcome = run(
        Dag(last), Store(str(tmp_path)), name="toys", dials={}, executor=Inline, elsewhere=Made(far=Far()),
        request=Request(place=("first=far", "second=far")),
    )  # fmt: skip
    assert outcome.ok and {label: made.executor for label, made in outcome.manifests.items()} == {
        "say": "inline", "first": "far", "second": "far", "last": "inline",
    }  # fmt: skip
    assert '"executor":"inline, far"' in (tmp_path / ".runs" / outcome.run / "run.json").read_text().replace(": ", ":")
    same = run(Dag(last), Store(str(tmp_path / "other")), name="toys", dials={}, executor=Inline).manifests
    assert {label: (one.key, one.digest) for label, one in same.items()} == {
        label: (one.key, one.digest) for label, one in outcome.manifests.items()
    }


def test_ray_and_this_process_share_a_dag(ray_executor: RayExecutor, tmp_path: Path) -> None:
    last, where = chain()
    hand = Hand(Placed(Made(here=Inline(), there=ray_executor), where), tmp_path)
    futures = hand.over(last)
    made = futures["last"].result(SECONDS)
    assert hand.text(made) == "ON TW" and made.executor == "inline"
    assert futures["second"].result().executor == "ray"
