"""A tracker in a process of its own hears all in order; its fault, its death and a hang are what the run hears of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.apart import STANDS_BACK, Apart
from pipeline.errors import CorpusmillError
from pipeline.events import Event
from pipeline.tracker import RunRecord
from tests.pipeline.test_ledger import execute
from tests.pipeline.test_lineage import made
from tests.pipeline.toys import line
from tests.processes import left

TRACKER = """
import os, pathlib, time

class Notes:
    def __init__(self, store):
        self.file = pathlib.Path(store) / "notes.txt"

    def __getattr__(self, verb):
        def hear(*told):
            print("a library says hello")
            with self.file.open("a") as file:
                file.write(f"{verb} {' '.join(type(one).__name__ for one in told)} {os.getpid()} {os.nice(0)}\\n")
            for one in told:
                if getattr(one, "label", one) == "breaks":
                    raise ValueError("disk full\\nreally")
                if getattr(one, "label", one) == "dies":
                    os._exit(3)
                if getattr(one, "label", one) == "hangs":
                    time.sleep(600)
        return hear
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apart:
    """A tracker that another package brings, which writes down what it hears."""
    folder = tmp_path / "package" / "notes-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[corpusmill.trackers]\nnotes = notes_of_tests:Notes\n")
    (folder.parent / "notes_of_tests.py").write_text(TRACKER)
    monkeypatch.setenv("PYTHONPATH", f"{folder.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    return Apart("notes", str(tmp_path))


def record(store: Path) -> RunRecord:
    return RunRecord(run="r", dag="d", dials={}, store=str(store), executor="inline", started=1.0, stages={})


def state(label: str) -> Event:
    return Event(label=label, kind="state", data={"state": "started"})


def test_it_is_told_all_in_order_in_a_process_that_stands_back_and_ends(notes: Apart, tmp_path: Path) -> None:
    execute(tmp_path, line())
    notes.start(record(tmp_path))
    notes.event(state("say"))
    notes.stage("upper", "finished", made(tmp_path, "upper"))
    notes.stage("other", "failed", None, "a fault — of ä kind")
    notes.finish("failed")
    heard = [one.split(maxsplit=1) for one in (tmp_path / "notes.txt").read_text().splitlines()]
    assert [verb for verb, _ in heard] == ["start", "event", "stage", "stage", "finish"]
    assert [rest.split()[:-2] for _, rest in heard] == [
        ["RunRecord"], ["Event"], ["str", "str", "Manifest", "str"], ["str", "str", "NoneType", "str"], ["str"],
    ]  # fmt: skip
    ((pid, nice),) = {tuple(rest.split()[-2:]) for _, rest in heard}
    assert int(pid) != os.getpid() and int(nice) == os.nice(0) + STANDS_BACK and not psutil.pid_exists(int(pid))


def test_a_fault_in_an_event_comes_with_the_next_answer_and_nothing_is_told_after_it(
    notes: Apart, tmp_path: Path
) -> None:
    notes.start(record(tmp_path))
    for label in ("breaks", "whole"):
        notes.event(state(label))
    with pytest.raises(CorpusmillError, match="disk full"):
        notes.finish("finished")
    assert (tmp_path / "notes.txt").read_text().split()[::4] == ["start", "event"]


def test_one_that_was_never_started_is_told_nothing(notes: Apart, tmp_path: Path) -> None:
    notes.finish("stopped")
    assert not (tmp_path / "notes.txt").exists()


def test_the_death_of_its_process_is_a_fault(notes: Apart, tmp_path: Path) -> None:
    notes.start(record(tmp_path))
    notes.event(state("dies"))
    with pytest.raises(CorpusmillError, match="its process ended"):
        notes.finish("finished")


HANGS = """
import pathlib, sys, time
from pipeline import telling
from pipeline.apart import Apart
from tests.pipeline.test_apart import record, state
telling.PATIENCE, warnings = 0.5, []
teller = telling.Teller([Apart("notes", sys.argv[1])], warnings, "track {}".format)
teller.say("start", record(sys.argv[1]))
teller.say("event", state("hangs"))
heard = pathlib.Path(sys.argv[1], "notes.txt")
while not heard.exists() or "event" not in heard.read_text():
    time.sleep(0.02)
teller.close("finished")
print(*warnings)
"""


def test_one_that_hangs_ends_with_the_run_that_gave_it_up(notes: Apart, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HANGS, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.stdout == "notes stopped recording this run: does not answer; to record it later: track notes\n"
    assert (done.returncode, done.stderr) == (0, "")
    with contextlib.suppress(psutil.NoSuchProcess):
        assert not left([psutil.Process(int((tmp_path / "notes.txt").read_text().split()[2]))], 60)
