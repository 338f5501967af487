"""Detached runs: the driver that began one may die at any moment, and whoever attaches later sees all of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.executors.helpers import words_in
from tests.modal_servicer.service import Service
from tests.on_modal import Home, a_trace, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]

DAG = """
from pipeline import Dag
from tests.pipeline.toys import Say, Slow, Upper

def words(*, trace: str = "", letters: str = "abcdef") -> Dag:
    first = Slow(words=tuple(letters), trace=trace, label="first")
    return Dag(Upper(words=first.out), Upper(words=Say(words=("beside",)).out, label="beside", limit=9))
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
        said = home.said("attach", run, "--tracker", "none")
        assert "words: done in" in said and "4 finished" in said
        assert words_in(trace) == "abcdef", "nothing was made twice"
    made = home.store.of_stage("upper")
    assert sorted(home.store.data(one).joinpath("upper.txt").read_text() for one in made) == ["A B C D E F", "BESIDE"]
    again = home.said("attach", run, "--tracker", "none")
    assert "4 finished" in again
    assert "4 cached, 0 to run" in home.said("plan", "mine.py:words", f"trace={trace}")
    modal_service.wait(lambda: not modal_service.running)


def test_a_detached_run_that_is_stopped_spends_nothing_more(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}", f"letters={'abcdefgh' * 20}")
        until(lambda: len(words_in(trace)) >= 2)
        assert "stopped" in home.said("attach", run, "--stop")
        modal_service.wait(lambda: not modal_service.running, 40)
        seen = words_in(trace)
        time.sleep(1)
        assert words_in(trace) == seen


def test_a_driver_whose_machine_is_taken_back_goes_on_where_it_was(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached("words", f"trace={trace}")
        until(lambda: len(words_in(trace)) >= 2)
        assert modal_service.preempt("drive") == 1
        assert "4 finished" in home.said("attach", run, "--tracker", "none")
        assert words_in(trace) == "abcdef", "the stage went on while its driver was gone"


def test_ctrl_c_ends_a_run_that_is_driven_from_here_and_all_that_it_spends(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        words = [
            "run",
            "mine.py:words",
            f"trace={trace}",
            f"letters={'abcdefgh' * 20}",
            "--on",
            "modal",
            "--tracker",
            "none",
        ]
        driver = home.begin(*words)
        until(lambda: len(words_in(trace)) >= 2)
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=60)
        assert driver.returncode == 130 and "To go on: corpusmill run" in err and "Traceback" not in out + err
        modal_service.wait(lambda: not modal_service.running, 10)
