"""What a run may spend is held by its driver, and by every job, which needs no driver for it; and what was idle is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pipeline import Dag, Field, Resources, ledger
from pipeline.accounts import end_lines
from pipeline.errors import Stopped
from pipeline.executor import Inline
from pipeline.forecast import forecast
from pipeline.job import Job
from pipeline.ledger import Account
from pipeline.ledger_lines import run_lines, runs_table
from pipeline.machine import Meter
from pipeline.manifest import Cost, Manifest
from pipeline.request import Request
from pipeline.run import run
from pipeline.spending import Spending
from pipeline.spent import TOLD_SECONDS, Session, Spent, sessions
from pipeline.store import Store
from pipeline.stream import Emitter
from pipeline.tables import duration
from tests.pipeline.clocks import stopped
from tests.pipeline.toys import Say, Slow

A_SECOND = Resources(dollars_per_hour=3600)
"""A dollar a second."""

DRIVER = """
import sys
from pipeline import Dag, Resources
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.executors.far import Far
from tests.pipeline.test_spending import Stays
from tests.pipeline.toys import Upper

root, trace, gate = sys.argv[1:]
stays = Stays(words=("a", "b", "c"), trace=trace, gate=gate, resources=Resources(dollars_per_hour=3600))
run(Dag(Upper(words=stays.out)), Store(root), name="toys", dials={}, executor=Far, request=Request(max_cost=1.5))
"""


class Stays(Say):
    """Says a word, and is not done with it before the file `gate` is there."""

    gate: str = Field(description="file that is waited for")

    def _say(self, word: str, folder: Path) -> int:
        value = super()._say(word, folder)
        until(Path(self.gate).exists)
        return value


def until(passed: Any) -> None:
    deadline = time.monotonic() + 240
    while not passed():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_job_stops_at_the_limit_of_its_run_though_the_driver_is_gone(tmp_path: Path) -> None:
    trace, gate, root = tmp_path / "trace", tmp_path / "gate", tmp_path / "store"
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(root), str(trace), str(gate)]) as driver:
        until(trace.exists)
        driver.send_signal(signal.SIGKILL)
    store = Store(str(root))
    (name,) = ledger.runs(store)
    until(lambda: store.stop_asked(name))
    gate.touch()
    until(lambda: account(store, name).stages["stays"].state == "stopped")
    one = account(store, name)
    assert (one.ended, one.stages["upper"].state) == ("killed", "not begun")
    assert "were spent, and --max-cost is $1.50" in store.stop_asked(name)
    assert (one.cost.dollars or 0) > 1.5 and trace.read_text() == "a", "it stops at the first commit from then on"


def account(store: Store, name: str) -> Account:
    found = ledger.account(store, name)
    assert isinstance(found, Account), found
    return found


def test_a_stage_of_less_than_a_heartbeat_is_stopped_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(monkeypatch, "pipeline.machine", "tests.pipeline.toys")
    dag = Dag(Slow(words=("a", "b", "c", "d"), resources=A_SECOND))
    outcome = run(
        dag, Store(str(tmp_path)), name="toys", dials={}, executor=Inline, request=Request(max_cost=0.4)
    )  # fmt: skip
    assert outcome.stopped and outcome.costs["slow"].dollars == 0.6, "two words, of 0.3 s each"


def cost(dollars: float) -> Session:
    return Session(session=f"of {dollars}", cost=Cost(wall_seconds=1, dollars=dollars))


def on_record(store: Store, label: str, *dollars: float) -> None:
    for one in dollars:
        emit = Emitter(store, "r", label)
        emit("cost", **cost(one).model_dump())
        emit.close()
        time.sleep(0.002)  # a job begins at a millisecond of its own


def test_what_the_other_stages_of_the_run_have_on_record_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    on_record(store, "first", 1.0, 0.5)
    on_record(store, "second", 0.25)
    enough, spending = Spending(store, "r", 2.0), Spending(store, "r", 1.8)
    for one in (enough, spending):
        one.count(cost(0.1))
        one.look()
    assert not enough.over, "1.85 of 2"
    assert spending.over == store.stop_asked("r") == "$1.85 were spent, and --max-cost is $1.80"


def test_a_cost_that_is_heard_twice_counts_once(tmp_path: Path) -> None:
    spending = Spending(Store(str(tmp_path)), "r", 1.0)
    for dollars in (0.2, 0.9, 0.4):
        spending.count(Session(session="one", cost=Cost(wall_seconds=1, dollars=dollars)))
    assert not spending.over
    spending.count(Session(session="one", cost=Cost(wall_seconds=1, dollars=1.1)))
    assert spending.over


def test_no_job_begins_once_the_limit_is_spent_whoever_noticed(tmp_path: Path) -> None:
    store, trace = Store(str(tmp_path / "store")), tmp_path / "trace"
    on_record(store, "first", 3.0)
    job = Job.of(Say(trace=str(trace), resources=A_SECOND), [], run="r", store=store.url, max_cost=2.0)
    with pytest.raises(Stopped, match=r"stage 'say' was stopped: \$3.00 were spent, and --max-cost is \$2.00"):
        job.execute([], executor="inline")
    assert not trace.exists()
    assert job.model_copy(update={"max_cost": None, "run": "other"}).execute([], executor="inline").label == "say"


@pytest.mark.parametrize(("resources", "told"), [(A_SECOND, 1), (Resources(), 0)])
def test_a_commit_tells_what_was_spent_where_that_has_a_price_and_floods_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: Resources, told: int
) -> None:
    clock, heard = stopped(monkeypatch, "pipeline.spent"), list[str]()
    spent = Spent(tmp_path / "spent", Meter(resources), lambda kind, **data: heard.append(kind))
    for _ in range(50):
        spent.commit()
    assert heard == ["cost"] * told
    clock.sleep(TOLD_SECONDS)
    spent.commit()
    assert heard == ["cost"] * 2 * told


class Rented(Inline):
    """A machine that was paid for, and did nothing, for five seconds before each job."""

    name = "rented"

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        future: Future[Manifest] = Future()
        parents = [parent.result() for parent in after]
        future.set_result(job.execute(parents, executor=self.name, since=time.time() - 5))
        return future


def test_a_machine_that_is_held_and_does_not_work_yet_costs_and_is_told_as_idle(tmp_path: Path) -> None:
    store, say = Store(str(tmp_path)), Say(resources=A_SECOND)
    outcome = run(Dag(say), store, name="toys", dials={}, executor=Rented)
    made = outcome.manifests["say"]
    assert 5 <= made.idle.wall_seconds < 5 + outcome.seconds
    assert made.idle.dollars == pytest.approx(made.idle.wall_seconds, abs=1e-3)
    assert (made.cost.dollars or 0) > (made.idle.dollars or 0) and made.lost == Cost()
    assert forecast(say, [made], {}).seconds == pytest.approx(made.cost.wall_seconds - made.idle.wall_seconds)
    one = account(store, outcome.run)
    assert one.idle == one.stages["say"].idle == made.idle
    assert f"{duration(made.idle.wall_seconds)} idle before it began" in end_lines(outcome, colour=False)[1]
    assert " idle " in runs_table([one], colour=False)[0] and "\nidle " in "\n".join(run_lines(one, colour=False))
    run(Dag(Say(words=("x",))), store, name="toys", dials={}, executor=Inline)
    assert " idle " not in runs_table([account(store, ledger.runs(store)[0])], colour=False)[0]


def test_what_was_idle_before_a_session_that_committed_nothing_is_lost(tmp_path: Path) -> None:
    first = Spent(tmp_path / "spent", Meter(A_SECOND, idle=3.0))
    first.tell()
    (left,) = sessions(tmp_path / "spent")
    second = Spent(tmp_path / "spent", Meter(A_SECOND, idle=1.0))
    spent, lost, idle = second.costs()
    assert left.idle.wall_seconds == 3 and lost == left.lost and lost.wall_seconds >= 3
    assert idle.wall_seconds == 1 and spent.wall_seconds >= 4
