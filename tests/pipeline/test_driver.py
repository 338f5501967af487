"""The driver of a detached run: what the store alone tells of whether the run is on, and what the driver costs."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import Dag, Resources, UsageError, detached, driver, ledger
from pipeline.accounts import end_lines
from pipeline.attaching import attach, cancel
from pipeline.canonical import settings
from pipeline.cli_attach import drawn_of
from pipeline.driver import DRIVER, SILENT_SECONDS, Beat, Handle
from pipeline.executor import Inline
from pipeline.ledger import Account
from pipeline.ledger_lines import run_lines
from pipeline.loading import load
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.test_ledger import until
from tests.pipeline.test_parting import Away, begun, chain
from tests.pipeline.toys import Say, Upper

A_SECOND = Resources(dollars_per_hour=3600)
"""A dollar a second."""
FREE = Resources(dollars_per_hour=0)
OWN = """
from pipeline import Dag
from tests.pipeline.toys import Say, Upper

def own(*, words: tuple[str, ...], limit: int = 3) -> Dag:
    return Dag(Upper(words=Say(words=words).out, limit=limit), summary=lambda outcome: ["it was said"])

def other(*, words: tuple[str, ...], limit: int = 3) -> Dag:
    return Dag(Say(words=words))
"""


class Elsewhere(Away):
    """Machines of which one drives what is handed over, at such a price; `lost` says why it does not any more."""

    lost = ""

    def over(self, handle: Handle) -> str:
        return self.lost

    def cancel(self, handle: Handle) -> None:
        self.lost = "it was cancelled"

    def drives(self, idle: float = 0.0) -> None:
        graph = self.graphs[0].model_copy(update={"driver": A_SECOND})
        with Beat(Store(graph.store), graph.run, graph.driver, idle) as beat:
            assert detached.drive(graph, Inline(), beat)
        self.lost = "it ended"


def account(outcome: Outcome) -> Account:
    found = ledger.account(outcome.store, outcome.run)
    assert isinstance(found, Account), found
    return found


def left(folder: Path, away: Away, max_cost: float | None = None) -> Outcome:
    """A run of two stages that is driven elsewhere."""
    dag = Dag(Upper(words=Say(resources=FREE).out, resources=FREE))
    return run(
        dag, Store(str(folder)), name="toys", dials={}, executor=lambda: away, elsewhere=lambda place: away,
        request=Request(on="away", detach=True, max_cost=max_cost),
    )  # fmt: skip


def test_a_detached_run_whose_driver_has_long_been_silent_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = left(tmp_path, Elsewhere())
    assert account(outcome).ended == "running", "its driver may take its time to begin"
    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.1)

    def at(now: float) -> Account:
        with monkeypatch.context() as then:
            then.setattr(ledger, "time", SimpleNamespace(time=lambda: now))
            return account(outcome)

    with Beat(outcome.store, outcome.run, A_SECOND):
        until(lambda: account(outcome).driver.wall_seconds > 0.8)
        late = account(outcome).started + SILENT_SECONDS
        assert at(late + 0.8).ended == "running", "it has told that it beats, though no stage has told anything"
    assert at(late).ended == "running"
    one = at(time.time() + SILENT_SECONDS)
    assert (one.ended, one.stages["say"].state) == ("killed", "not begun")
    assert one.driver.dollars == one.cost.dollars and (one.driver.dollars or 0) > 0.8, "up to its last beat"


def test_of_a_run_whose_driver_writes_elsewhere_nobody_knows_who_does_not_follow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = begun(Elsewhere(), tmp_path, chain(), there=("join",))
    monkeypatch.setattr(ledger, "SILENT_SECONDS", 0.0)
    one = account(outcome)
    assert one.ended == "detached", "the last of its stages is left to whoever follows it"
    shown = next(line for line in run_lines(one, False) if line.startswith("ended"))
    assert "detached and last heard of" in shown and f"corpusmill attach {outcome.run} asks" in shown


def test_a_detached_run_that_is_stopped_is_written_down_as_stopped_though_nobody_follows_it(tmp_path: Path) -> None:
    away = Elsewhere()
    outcome = begun(away, tmp_path, chain(), there=("join",))
    cancel(outcome.store, outcome.run, places=lambda place: away, who="ann")
    one = account(outcome)
    states = {label: stage.state for label, stage in one.stages.items()}
    assert one.ended == "stopped" and states == {
        "say": "finished",
        "before": "finished",
        "join": "stopped",
        "after": "stopped",
    }
    assert one.stages["join"].fault == "stage 'join' was stopped: ann stopped it"
    cancel(outcome.store, outcome.run, places=lambda place: away, who="ben")
    assert account(outcome) == one, "the first word stands"


def test_what_the_driver_costs_is_in_the_account_and_the_tables_of_its_run(tmp_path: Path) -> None:
    away = Elsewhere()
    outcome = left(tmp_path, away)
    began = time.monotonic()
    away.drives(idle=5.0)
    most, one = 5.0 + time.monotonic() - began, account(outcome)
    assert one.ended == "done" and 5.0 <= (one.driver.dollars or 0) <= most
    assert one.cost.dollars == one.priced == one.driver.dollars, "its stages cost nothing"
    assert one.cost.wall_seconds < one.driver.wall_seconds, "its time is that of the stages, beside which it passed"
    assert one.cost.cpu_seconds > one.driver.cpu_seconds
    assert [line.split()[0] for line in run_lines(one, False)[:6]] == ["run", "dag", "began", "ended", "cost", "driver"]
    ended = attach(outcome.store, outcome.run, places=lambda place: away)
    assert ended.ok and ended.costs[DRIVER] == one.driver
    rows = [line.split()[0] for line in end_lines(ended, False)]
    assert rows == ["stage", "say", "upper", "driver", "in"]
    assert account(outcome) == one, "and settled, it stays so"


def test_what_the_drivers_of_a_run_cost_adds_up_and_counts_towards_its_limit(tmp_path: Path) -> None:
    away = Elsewhere()
    outcome, began = left(tmp_path, away, max_cost=8), time.monotonic()
    with Beat(outcome.store, outcome.run, A_SECOND, idle=5.0):
        pass  # it handed over to the next
    away.drives(idle=5.0)
    most, one = 10.0 + time.monotonic() - began, account(outcome)
    assert (one.ended, {stage.state for stage in one.stages.values()}) == ("stopped", {"stopped", "skipped"})
    assert 10 <= (one.driver.dollars or 0) <= most
    assert "were spent, and --max-cost is $8.00" in outcome.store.stop_asked(outcome.run)


def test_the_dag_of_a_run_is_drawn_again_from_dags_by_its_name_or_from_the_file_that_a_person_names(
    tmp_path: Path,
) -> None:
    file = tmp_path / "own_dag.py"
    file.write_text(OWN)
    name, drawn, dials = load(f"{file}:own", ['words=["1","b"]', "limit=2"])
    away = Elsewhere()
    outcome = run(
        drawn, Store(str(tmp_path / "store")), name=name, dials=dials, executor=lambda: away,
        elsewhere=lambda place: away, request=Request(on="away", detach=True),
    )  # fmt: skip
    begun = ledger.record(outcome.store, outcome.run)
    assert begun and drawn_of(begun, "") is None, "no record names a file, and none is looked for"
    again = drawn_of(begun, f"{file}:own")
    assert again and again.summary and again.summary(outcome) == ["it was said"]
    assert [settings(one.stages[label]) for one in (again, drawn) for label in ("say", "upper")] == 2 * [
        begun.stages[label].settings for label in ("say", "upper")
    ], "its dials are those of the run"
    for other, why in (
        (f"{file}:other", "is not what run"),
        (f"{file}:none", "no function"),
        ("none.py", "no such file"),
    ):
        with pytest.raises(UsageError, match=why):
            drawn_of(begun, other)
    assert drawn_of(begun.model_copy(update={"only": "--only say"}), f"{file}:own") is None
    _, shipped, dials = load("quickstart", ["steps=200"])
    (given, *_) = begun.stages.values()
    stages = {label: given.model_copy(update={"stage": one.stage_name()}) for label, one in shipped.stages.items()}
    whole = begun.model_copy(update={"dag": "quickstart", "dials": dials, "stages": stages})
    found = drawn_of(whole, "")
    assert found and found.summary
    assert drawn_of(whole.model_copy(update={"dials": {"stops": 1}}), "") is None, "it was edited since"
    assert drawn_of(whole.model_copy(update={"stages": begun.stages}), "") is None, "another dag of that name"
