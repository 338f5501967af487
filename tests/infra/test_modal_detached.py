"""Detached runs: the driver that began one may die at any moment, and whoever attaches later sees all of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pipeline.store import Store
from tests.executors.helpers import words_in
from tests.modal_servicer.service import Service
from tests.on_modal import a_trace, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]

DAG = """
from pipeline import Dag
from tests.pipeline.toys import Say, Slow, Upper

def words(*, trace: str = "", letters: str = "abcdef") -> Dag:
    first = Slow(words=tuple(letters), trace=trace, label="first")
    return Dag(Upper(words=first.out), Upper(words=Say(words=("beside",)).out, label="beside", limit=9))
"""
PLAIN = "from pipeline.cli import main; main()"


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


class Home:
    """A person's folder, with a dag in it and a Volume on Modal of its own."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.folder = folder
        self.environment = {**os.environ, **service.environment, "CORPUSMILL_MODAL_VOLUME": f"v{uuid.uuid4().hex[:10]}"}
        (folder / "mine.py").write_text(DAG)

    @property
    def store(self) -> Store:
        return Store(str(self.folder / ".corpusmill"))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PLAIN, *words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def said(self, *words: str, code: int = 0) -> str:
        process = self.begin(*words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, out + err
        assert "Traceback" not in out + err
        return out + err

    def detached(self, *words: str) -> str:
        said = self.said("run", "mine.py:words", *words, "--on", "modal", "--detach", "--tracker", "none")
        found = re.search(r"corpusmill attach (\S+)", said)
        assert found, said
        return found[1]


@pytest.fixture
def home(tmp_path: Path, modal_service: Service) -> Home:
    return Home(tmp_path, modal_service)


def test_a_detached_run_survives_who_began_it_and_who_follows_it(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached(f"trace={trace}")
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
        run = home.detached(f"trace={trace}", f"letters={'abcdefgh' * 20}")
        until(lambda: len(words_in(trace)) >= 2)
        assert "stopped" in home.said("attach", run, "--stop")
        modal_service.wait(lambda: not modal_service.running, 40)
        seen = words_in(trace)
        time.sleep(1)
        assert words_in(trace) == seen


def test_a_driver_whose_machine_is_taken_back_goes_on_where_it_was(home: Home, modal_service: Service) -> None:
    with a_trace() as trace:
        run = home.detached(f"trace={trace}")
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


def test_what_stays_here_is_made_before_the_rest_leaves_or_once_it_has_come(home: Home, modal_service: Service) -> None:
    (home.folder / "mine.py").write_text(THERE_AND_BACK)
    places = ["--place", "say-here=inline", "--place", "first=inline", "--place", "last=inline"]
    with a_trace() as trace:
        run = home.detached(f"trace={trace}", *places)
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
