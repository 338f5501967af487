"""Who drives a detached run may change, be gone or be stopped: whoever follows tells it so, and nobody drives what has its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import UsageError, attaching
from pipeline.attaching import attach, cancel
from pipeline.carrying import Carrier
from pipeline.cli_attach import told
from pipeline.detached import End, Ends, Graph, detaching, drive, note_end
from pipeline.driver import Beat, Handle
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.store import Store
from tests.pipeline.test_driver import A_SECOND, Elsewhere, account, left
from tests.pipeline.test_parting import begun, chain


class Apart(Elsewhere):
    """Machines with a store of their own; `looks` is what is found of the driver, look by look, until it has none left."""

    def __init__(self, far: str = "") -> None:
        super().__init__()
        self.far = far
        self.looks: Iterator[str] = iter(())

    def carrier(self, handle: Handle, store: Store) -> Carrier | None:  # type: ignore[override]
        return Carrier(store, Store(self.far)) if self.far else None

    def over(self, handle: Handle) -> str:
        return next(self.looks, self.lost)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 0.01)


@pytest.fixture
def far() -> str:
    return f"memory://{uuid.uuid4().hex}/store"


def followed(outcome: Outcome, away: Apart) -> Outcome:
    return attach(outcome.store, outcome.run, places=lambda place: away if place == "away" else Inline())


def driven(graph: Graph, until: float = float("inf")) -> bool:
    with Beat(Store(graph.store), graph.run, A_SECOND) as beat:
        return drive(graph, Inline(), beat, until)


def test_a_run_whose_driver_is_gone_has_failed_and_a_driver_that_comes_late_finds_its_end(
    tmp_path: Path, far: str
) -> None:
    away = Apart(far)
    outcome = left(tmp_path, away)
    away.lost = "it was killed"
    for _ in range(2):  # whoever asks again is told the same
        one = followed(outcome, away)
        assert set(one.states.values()) == {"failed"}
        assert "stage 'upper': its driver is gone (it was" in str(one.faults["upper"])
    last = Ends(Store(far), outcome.run).last()
    assert last and set(last.states.values()) == {"failed"} and account(outcome).ended == "failed"


def test_a_driver_that_gives_way_to_the_next_is_not_gone_however_often_it_happens(tmp_path: Path) -> None:
    away = Apart()
    outcome = left(tmp_path, away)

    def looks() -> Iterator[str]:
        for _ in range(5):
            yield from ("it ended", "it ended", "")
        driven(away.graphs[0])
        while True:
            yield "it ended"

    away.looks = looks()
    one = followed(outcome, away)
    assert one.ok and set(one.states.values()) == {"finished"}


def test_a_run_that_is_stopped_has_its_end_here_and_where_its_driver_looks(tmp_path: Path, far: str) -> None:
    away = Apart(far)
    outcome = left(tmp_path, away)
    cancel(outcome.store, outcome.run, places=lambda place: away, who="ann")
    for store in (outcome.store, Store(far)):
        last = Ends(store, outcome.run).last()
        assert last and set(last.states.values()) == {"stopped"}
        assert store.stop_asked(outcome.run) == "ann stopped it"
    assert followed(outcome, away).stopped and account(outcome).ended == "stopped"


def test_what_is_left_to_who_follows_is_not_begun_once_the_run_was_stopped(tmp_path: Path) -> None:
    away = Apart()
    outcome = begun(away, tmp_path, chain(), there=("join",))
    assert driven(away.graphs[0])
    outcome.store.ask_stop(outcome.run, "ann stopped it", "ann")
    one = followed(outcome, away)
    assert one.stopped and (one.states["join"], one.states["after"]) == ("finished", "stopped")
    assert [made.label for made in outcome.store.of_stage("upper")] == ["before"]


def test_a_driver_that_is_started_again_goes_on_from_what_was_written_down(tmp_path: Path) -> None:
    away = Apart()
    outcome = left(tmp_path / "whole", away)
    (graph,) = away.graphs
    say, _ = graph.jobs
    note_end(
        outcome.store, outcome.run, "say", End(state="finished", manifest=say.execute([], executor="an earlier one"))
    )
    assert driven(graph)
    (said,), (upper,) = outcome.store.of_stage("say"), outcome.store.of_stage("upper")
    assert (said.executor, upper.executor) == ("an earlier one", "inline")
    for state in ("failed", "stopped"):
        away = Apart()
        outcome = left(tmp_path / state, away)
        note_end(outcome.store, outcome.run, "say", End(state=state, fault="no luck"))  # type: ignore[arg-type]
        assert driven(away.graphs[0])
        last = Ends(outcome.store, outcome.run).last()
        assert last and last.states == {"say": state, "upper": "skipped"} and last.faults == {"say": "no luck"}


def test_a_driver_whose_time_is_up_leaves_the_end_to_the_next(tmp_path: Path) -> None:
    away = Apart()
    outcome = left(tmp_path, away)
    assert not driven(away.graphs[0], until=time.monotonic())
    assert Ends(outcome.store, outcome.run).last() is None
    assert driven(away.graphs[0]) and Ends(outcome.store, outcome.run).last()


def test_who_leaves_a_run_is_told_how_to_follow_it_with_its_dag_and_how_to_stop_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told("r-1", "my store", "mine.py:words", ["serve"])
    said = capsys.readouterr().out
    assert "makes:  corpusmill attach r-1 --dag mine.py:words --store 'my store'\n" in said
    assert "spends:         corpusmill attach r-1 --store 'my store' --stop\n" in said
    assert said.endswith("made here, by whoever follows it to its end: serve\n")


def test_an_executor_whose_runs_end_with_this_process_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="a run on 'inline' ends with this process"):
        detaching(Inline())
