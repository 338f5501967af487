"""Ctrl-C and a polite kill end a run wherever it is: no traceback, no process, what was committed is kept, and how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.store import Store
from tests.processes import below, command, left, named

DAGS = """
from pipeline import Dag
from tests.executors.stages_for_tests import Sleeps
from tests.pipeline.toys import Held, Slow

def held(*, trace: str) -> Dag:
    return Dag(Held(words=("a", "b"), trace=trace, gate="gate"))

def slow(*, trace: str) -> Dag:
    return Dag(Slow(words=("a", "b", "c", "d"), trace=trace))

def sleeps(*, begun: str) -> Dag:
    return Dag(Sleeps(begun=begun, seconds=600))
"""
SECONDS = 240
"""That a machine which has much else to do may need for anything here."""
PLAIN = "from pipeline.cli import main; main()"
PUBLISHES = """
import time
from pathlib import Path
from pipeline.files import LocalFiles
create = LocalFiles.create
def slowly(self, name, data):
    if name.endswith("manifest.json"):
        (self.local / "publishing").touch()
        time.sleep(600)
    return create(self, name, data)
LocalFiles.create = slowly
"""
CLOSES = """
import time
from pathlib import Path
from pipeline.telling import Teller
def slowly(self, state):
    Path("closing").touch()
    time.sleep(600)
Teller.close = slowly
"""
NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"


class Driver:
    """`corpusmill run` in a process of its own, in `home`, where its dags and its store are."""

    def __init__(self, home: Path, dag: str, *words: str, code: str = "") -> None:
        (home / "dags_of_mine.py").write_text(DAGS)
        self.words = ["run", f"dags_of_mine.py:{dag}", *words, "--store", "store", "--tracker", "none"]
        command = [sys.executable, "-c", code + PLAIN, *self.words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=home, text=True, **pipes)  # type: ignore[call-overload]

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not true():
            if time.monotonic() > deadline:
                self.process.kill()
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def below(self) -> list[psutil.Process]:
        return below(self.process.pid)

    def stopped(self) -> str:
        """The command that its last line names, once it has ended as a run that was stopped."""
        _, errors = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 130, errors
        first, again = errors.removesuffix("\n").split("To go on: ")
        assert first == "stopped; what was committed is kept. " and again == shlex.join(["corpusmill", *self.words])
        return again


def goes_on(home: Path, again: str) -> None:
    subprocess.run([sys.executable, "-c", PLAIN, *shlex.split(again)[1:]], cwd=home, check=True, capture_output=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stage_is_stopped_and_the_command_that_is_named_goes_on(tmp_path: Path, number: int) -> None:
    driver = Driver(tmp_path, "held", "trace=trace", "--on", "inline")
    driver.until(lambda: list((tmp_path / "store").glob(".partial/held/*/*/commits/*.json")))
    driver.process.send_signal(number)
    again = driver.stopped()
    assert (tmp_path / "trace").read_text() == "a" and not Store(str(tmp_path / "store")).of_stage("held")
    (tmp_path / "gate").touch()
    goes_on(tmp_path, again)
    assert (tmp_path / "trace").read_text() == "ab", "what was committed is not made again"


def test_a_run_that_waits_for_another_is_stopped_alone(tmp_path: Path) -> None:
    words = ("held", "trace=trace", "--on", "inline")
    first = Driver(tmp_path, *words)
    first.until(lambda: list(tmp_path.glob("store/.partial/held/*/*/")))  # its scratch, made once it holds the lease
    second = Driver(tmp_path, *words)
    second.until(
        lambda: any('"waiting"' in path.read_text() for path in tmp_path.glob("store/.runs/*/events/*/*.jsonl"))
    )
    second.process.send_signal(signal.SIGINT)
    second.stopped()
    (tmp_path / "gate").touch()
    first.process.communicate(timeout=SECONDS)
    assert first.process.returncode == 0 and (tmp_path / "trace").read_text() == "ab"


def test_a_run_stopped_between_data_and_manifest_is_finished_by_the_next(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "slow", "trace=trace", "--on", "inline", code=PUBLISHES)
    driver.until((tmp_path / "store" / "publishing").exists)
    driver.process.send_signal(signal.SIGINT)
    goes_on(tmp_path, driver.stopped())
    assert (tmp_path / "trace").read_text() == "abcd"


def test_a_second_ctrl_c_waits_for_nothing_more(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "held", "trace=trace", "--on", "inline", code=CLOSES)
    driver.until((tmp_path / "trace").exists)
    driver.process.send_signal(signal.SIGINT)
    driver.until((tmp_path / "closing").exists)
    driver.process.send_signal(signal.SIGINT)
    driver.stopped()


def test_what_ignores_hang_ups_goes_on_after_one(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "slow", "trace=trace", "--on", "inline", code=NOHUP)
    driver.until((tmp_path / "trace").exists)
    driver.process.send_signal(signal.SIGHUP)
    driver.process.communicate(timeout=SECONDS)
    assert driver.process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("when", ["while Ray starts", "in a stage, twice"])
def test_no_process_of_ray_is_left(tmp_path: Path, when: str) -> None:
    driver = Driver(tmp_path, "sleeps", "begun=begun")
    if when == "while Ray starts":
        driver.until(lambda: named(driver.below(), "gcs_server"))
    else:
        driver.until((tmp_path / "begun").exists)
    started = driver.below()
    driver.process.send_signal(signal.SIGINT)
    if when == "in a stage, twice":
        time.sleep(0.3)
        driver.process.send_signal(signal.SIGINT)
    driver.stopped()
    assert len(started) > 1 and not left(started, SECONDS)
    assert not [name for name in os.listdir("/proc") if name.isdigit() and _within(Path("/proc") / name, tmp_path)]


def _within(process: Path, folder: Path) -> bool:
    """Whether a process works in `folder`."""
    try:
        return Path(os.readlink(process / "cwd")).is_relative_to(folder)
    except OSError:
        return False


@pytest.mark.slow
def test_nothing_outlives_a_driver_whose_keeper_died_before_it_though_ray_hangs(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "sleeps", "begun=begun")
    driver.until((tmp_path / "begun").exists)
    started = driver.below()
    next(process for process in started if "keeper.py" in command(process)).kill()
    named(started, "raylet")[0].suspend()
    driver.process.kill()
    driver.process.communicate()
    assert len(started) > 5 and not left(started, SECONDS)
