"""`--max-cost` on Modal: each job holds itself to it, and what was spent is on record, whoever is still there to see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import ledger
from pipeline.driver import HANDLE, Handle
from pipeline.ledger import Account
from tests.executors.helpers import words_in
from tests.modal_servicer.service import Service
from tests.on_modal import Home, a_trace, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]

DAG = """
from pipeline import Dag, Resources
from tests.pipeline.toys import Slow, Upper

def costly(*, trace: str = "") -> Dag:
    slow = Slow(words=tuple(f"w{number:03d}" for number in range(800)), trace=trace, resources=Resources(dollars_per_hour=3600))
    return Dag(Upper(words=slow.out))
"""
"""Eight hundred words, which take four minutes at least, at a dollar a second."""
LIMIT = ("--max-cost", "8")
TOLD = "were spent, and --max-cost is $8.00"


@pytest.fixture
def home(tmp_path: Path, modal_service: Service) -> Home:
    return Home(tmp_path, modal_service, DAG)


def account(home: Home, run: str) -> Account:
    found = ledger.account(home.store, run)
    assert isinstance(found, Account), found
    return found


def stopped_in_time(home: Home, run: str, trace: Path) -> None:
    """The run was stopped at its limit, in the middle of the stage, and what it spent is on record."""
    one = account(home, run)
    assert (one.ended, one.stages["slow"].state) == ("stopped", "stopped"), one
    assert 8 < (one.cost.dollars or 0) < 100, "some twelve, where nothing else is busy"
    assert one.lost.wall_seconds < one.cost.wall_seconds and 1 <= len(words_in(trace)) // 4 < 400


def test_a_run_that_is_driven_from_here_stops_at_its_limit(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        said = home.said(
            "run", "mine.py:costly", f"trace={trace}", "--on", "modal", *LIMIT, "--tracker", "none", code=3
        )
        assert TOLD in said and "raise the limit" in said
        modal_service.wait(lambda: not modal_service.running)
        stopped_in_time(home, ledger.runs(home.store)[0], trace)


def test_a_detached_run_stops_at_its_limit(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("costly", f"trace={trace}", *LIMIT)
        said = home.said("attach", run, "--tracker", "none", code=3)
        assert TOLD in said and "with one that is not spent" in said
        modal_service.wait(lambda: not modal_service.running)
        stopped_in_time(home, run, trace)


def test_the_job_stops_by_itself_though_laptop_and_driver_are_gone(home: Home, modal_service: Service) -> None:
    import modal

    with a_trace() as trace:
        run = home.detached("costly", f"trace={trace}", *LIMIT)
        until(lambda: words_in(trace))
        call = home.store.read(Handle, f".runs/{run}/{HANDLE}").words["call"]
        modal.FunctionCall.from_id(call).cancel(terminate_containers=True)
        modal_service.wait(lambda: not modal_service.running)
        spoken = words_in(trace)
        said = home.said("attach", run, "--tracker", "none", code=3)
        assert TOLD in said
        assert words_in(trace) == spoken
        stopped_in_time(home, run, trace)
    again = home.said("attach", run, "--tracker", "none", code=3)
    assert TOLD in again, "it is the same whenever it is asked"
