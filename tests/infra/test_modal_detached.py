"""Detached runs: the driver that began one may die at any moment, and whoever attaches later sees all of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from string import ascii_letters

import pytest

from pipeline import chunks
from pipeline.driver import DRIVER, HANDLE, Handle
from pipeline.manifest import Manifest
from pipeline.store import Store
from tests.executors.helpers import SECONDS, words_in
from tests.modal_servicer.rpc import Call
from tests.modal_servicer.service import Service
from tests.on_modal import Home, a_trace, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]

DAG = """
from pipeline import Dag
from tests.pipeline.folding import fold
from tests.pipeline.toys import Held, Say, Slow, Upper

def words(*, trace: str = "", letters: str = "abcdef") -> Dag:
    first = Slow(words=tuple(letters), trace=trace, label="first")
    capitals = Upper(words=first.out)
    beside = Upper(words=Say(words=("beside",)).out, label="beside", limit=9)
    return Dag(capitals, beside, summary=lambda outcome: [f"it reads {outcome.data('upper').joinpath('upper.txt').read_text()}"])

def long(*, trace: str = "") -> Dag:  # minutes: on no machine has it ended before it is stopped
    return words(trace=trace, letters="".join(chr(number) for number in range(0x4E00, 0x4E00 + 640)))

def held(*, trace: str = "") -> Dag:
    first = Held(words=tuple("abcdef"), first=2, trace=trace, gate=f"{trace}-gate", label="first")
    return Dag(Upper(words=first.out), Upper(words=Say(words=("beside",)).out, label="beside", limit=9))

def folded(*, trace: str = "", count: int = 20) -> Dag:
    return fold(count=count, trace=trace)
"""
TRY = "16"
"""Seconds of a container: after half of them a job is handed over, with as many left for that."""
THERE_AND_BACK = """
from pipeline import Dag
from tests.pipeline.toys import Join, Say, Slow, Upper

class Stays(Upper):
    def stays(self) -> str:
        return "it reads what is here alone"

def words(*, trace: str = "", letters: str = "abcdef") -> Dag:
    first = Stays(words=Say(words=("here",), label="say-here").out, label="first")
    slow = Slow(words=tuple(letters), trace=trace, label="slow")
    both = Join(parts=(first.out, slow.out), label="both")
    return Dag(Stays(words=both.out, label="last"))

def between() -> Dag:
    stays = Stays(words=Say().out, label="stays")
    return Dag(Upper(words=stays.out))
"""


@pytest.fixture
def home(tmp_path: Path, modal_service: Service) -> Home:
    return Home(tmp_path, modal_service, DAG)


def test_a_detached_run_survives_who_began_it_and_who_follows_it(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}")
        follower = home.begin("attach", run, "--tracker", "none")
        until(lambda: len(words_in(trace)) >= 2)
        os.kill(follower.pid, signal.SIGKILL)
        follower.communicate()
        said = home.said("attach", run, "--dag", "mine.py:words", "--tracker", "none")
        assert "words: done in" in said and "4 finished" in said
        assert said.endswith("it reads A B C D E F\n"), "what the dag says at the end"
        assert words_in(trace) == "abcdef", "nothing was made twice"
    made = home.store.of_stage("upper")
    assert sorted(home.store.data(one).joinpath("upper.txt").read_text() for one in made) == ["A B C D E F", "BESIDE"]
    again = home.said("attach", run, "--tracker", "none")
    assert "4 finished" in again and "it reads" not in again
    assert "4 cached, 0 to run" in home.said("plan", "mine.py:words", f"trace={trace}")
    modal_service.wait(lambda: not modal_service.running)


def test_a_run_whose_app_is_stopped_is_written_down_as_stopped(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("long", f"trace={trace}")
        until(lambda: len(words_in(trace)) >= 2)
        app = home.store.read(Handle, f".runs/{run}/{HANDLE}").words["app"]
        assert f"run {run} is stopped" in home.said("infra", "modal", "stop", app)
        modal_service.wait(lambda: not modal_service.running)
    (row,) = json.loads(home.said("runs", "--json"))
    assert (row["ended"], row["stages"]["first"]["state"]) == ("stopped", "stopped"), row["stages"]
    assert row["driver"]["dollars"] > 0, "what its driver told is here"


def test_a_run_that_ended_before_its_app_was_stopped_is_left_to_who_follows_it(
    home: Home, modal_service: Service
) -> None:
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}", "letters=ab")
        until(lambda: len(words_in(trace)) == 2)
        modal_service.wait(lambda: not modal_service.running)
    app = home.store.read(Handle, f".runs/{run}/{HANDLE}").words["app"]
    said = home.said("infra", "modal", "stop", app)
    assert f"stopped {app}" in said and run not in said
    assert "4 finished" in home.said("attach", run, "--tracker", "none")


def test_a_driver_whose_machine_is_taken_back_goes_on_where_it_was(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("held", f"trace={trace}")
        until(lambda: len(words_in(trace)) == 2)
        assert modal_service.preempt("drive") == 1
        trace.with_name(f"{trace.name}-gate").touch()
        assert "4 finished" in home.said("attach", run, "--tracker", "none")
        assert words_in(trace) == "abcdef", "the stage went on while its driver was gone"


def test_a_driver_whose_time_is_up_hands_over_to_the_next_and_who_follows_sees_one_run(
    tmp_path: Path, modal_service: Service
) -> None:
    home, letters = Home(tmp_path, modal_service, DAG, CORPUSMILL_MODAL_TRY_SECONDS=TRY), ascii_letters[:36]
    drivers = len(modal_service.started("drive"))
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}", f"letters={letters}")
        follower = home.begin("attach", run, "--tracker", "none")
        until(lambda: len(words_in(trace)) >= 2)
        modal_service.slow("ContainerHello", 5, times=2)  # the next driver, and the next container of the stage
        out, err = follower.communicate(timeout=SECONDS)
        assert follower.returncode == 0 and "4 finished" in out, out + err
        assert words_in(trace) == letters, "nothing was lost, and nothing made twice"
    assert len(modal_service.started("drive")) - drivers >= 2
    assert {one.stopping for one in modal_service.started("drive")[drivers:]} <= {"", "idle"}, "none was overdue"
    assert [len(home.store.of_stage(stage)) for stage in ("slow", "say", "upper")] == [1, 1, 2]
    modal_service.wait(lambda: not modal_service.running)


def test_a_driver_that_is_killed_between_starting_the_next_and_writing_it_down_drives_no_more(
    tmp_path: Path, modal_service: Service
) -> None:
    home, letters = Home(tmp_path, modal_service, DAG, CORPUSMILL_MODAL_TRY_SECONDS=TRY), ascii_letters[:36]

    def starts_the_next(call: Call) -> bool:
        function = modal_service.state.function(call.request.function_id)  # type: ignore[attr-defined]
        return call.container is not None and function.definition.function_name == "drive"

    with a_trace() as trace:
        with modal_service.held("FunctionMap", starts_the_next) as held:
            run = home.detached("words", f"trace={trace}", f"letters={letters}")
            modal_service.wait(lambda: held)
            assert modal_service.preempt("drive") == 1
        far = Store(home.store.read(Handle, f".runs/{run}/{HANDLE}").store)
        assert far.files.exists(f".runs/{run}/drivers/000001-next.json"), "it had written down that its turn is over"
        said = home.said("attach", run, "--tracker", "none")
        assert "4 finished" in said and "hands out the jobs there" in said
        assert words_in(trace) == letters, "nothing was lost, and nothing made twice"
    turns = [name for name in far.files.children(f".runs/{run}/drivers") if "next" not in name]
    beats = [session for session in chunks.sessions(far.files, run) if session.label == DRIVER]
    assert len(beats) == len(turns) >= 2, "each drove in its own turn, and the one that was killed not again"
    modal_service.wait(lambda: not modal_service.running)


def test_what_a_driver_had_begun_that_is_gone_is_ended_by_who_attaches(home: Home, modal_service: Service) -> None:
    import modal

    with a_trace() as trace:
        run = home.detached("long", f"trace={trace}")
        until(lambda: len(words_in(trace)) >= 2)
        call = home.store.read(Handle, f".runs/{run}/{HANDLE}").words["call"]
        modal.FunctionCall.from_id(call).cancel(terminate_containers=True)
        assert "its driver is gone" in home.said("attach", run, "--tracker", "none", code=1)
        modal_service.wait(lambda: not modal_service.running)


def test_more_of_a_stage_goes_on_from_what_it_kept_from_here_to_there_and_back(home: Home) -> None:
    with a_trace() as trace:

        def made(count: int, *words: str) -> Manifest:
            trace.write_text("")
            if words:
                home.said("run", "mine.py:folded", f"trace={trace}", f"count={count}", *words, "--tracker", "none")
            else:
                run = home.detached("folded", f"trace={trace}", f"count={count}")
                home.said("attach", run, "--tracker", "none")
            return home.store.of_stage("fold")[0]

        def numbers() -> list[int]:
            return [int(line) for line in trace.read_text().split()]

        home.said(
            "run",
            "mine.py:folded",
            f"trace={trace}",
            "count=60",
            "--on",
            "inline",
            "--store",
            "whole",
            "--tracker",
            "none",
        )
        short = made(20, "--on", "inline")
        assert "extend 20 → 40" in home.said("plan", "mine.py:folded", f"trace={trace}", "count=40", "--on", "modal")
        middle = made(40)
        assert (middle.executor, middle.extended_from, numbers()) == ("modal", short.attempt, [*range(12, 40)])
        long = made(60, "--on", "inline")
        assert (long.executor, long.extended_from, numbers()) == ("inline", middle.attempt, [*range(24, 60)])
        assert Store(str(home.folder / "whole")).of_stage("fold")[0].digest == long.digest


def test_ctrl_c_ends_a_run_that_is_driven_from_here_and_all_that_it_spends(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        words = [
            "run",
            "mine.py:long",
            f"trace={trace}",
            "--on",
            "modal",
            "--tracker",
            "none",
        ]
        driver = home.begin(*words)
        until(lambda: len(words_in(trace)) >= 2)
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=SECONDS)
        assert driver.returncode == 130 and "To go on: corpusmill run" in err and "Traceback" not in out + err
        modal_service.wait(lambda: not modal_service.running)


def test_what_stays_here_is_made_before_the_rest_leaves_or_once_it_has_come(home: Home, modal_service: Service) -> None:
    (home.folder / "mine.py").write_text(THERE_AND_BACK)
    places = ["--place", "say-here=inline", "--place", "first=inline", "--place", "last=inline"]
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}", *places)
        assert [made.label for made in home.store.of_stage("stays")] == ["first"]
        follower = home.begin("attach", run, "--tracker", "none")
        until(lambda: len(words_in(trace)) >= 2)
        os.kill(follower.pid, signal.SIGKILL)
        follower.communicate()
        said = home.said("attach", run, "--tracker", "none")
        assert "words: done in" in said and "5 finished" in said
        assert words_in(trace) == "abcdef", "nothing was made twice"
    by = {made.label: made.executor for stage in home.store.stages() for made in home.store.of_stage(stage)}
    assert by == {"say-here": "inline", "first": "inline", "slow": "modal", "both": "modal", "last": "inline"}
    last = next(made for made in home.store.of_stage("stays") if made.label == "last")
    assert home.store.data(last).joinpath("upper.txt").read_text() == "HER A B C D E F"
    assert "5 finished" in home.said("attach", run, "--tracker", "none") and len(home.store.of_stage("stays")) == 2
    modal_service.wait(lambda: not modal_service.running)


def test_a_run_that_cannot_leave_as_one_is_refused_before_anything_starts(home: Home) -> None:
    (home.folder / "mine.py").write_text(THERE_AND_BACK)
    between = home.said("run", "mine.py:between", "--on", "modal", "--detach", code=2)
    assert "upper goes to modal, but needs stays, which stays here" in between and "--place stays=modal" in between
    nothing = home.said("run", "mine.py:words", "--on", "inline", "--detach", code=2)
    assert "nothing of this run leaves this machine" in nothing and "--on modal" in nothing
