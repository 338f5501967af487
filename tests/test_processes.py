"""What the tests say of processes, themselves under test: a wrong answer would fail, or pass, another test."""

import subprocess
import sys

import psutil
import pytest

from tests.processes import alive, command, left, named


def test_a_process_that_ends_while_it_is_looked_at_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    monkeypatch.setattr(psutil.Process, "is_running", lambda _: True)  # as it was a moment ago
    process._name = None
    assert not alive(process) and not left([process], 0) and not command(process)
    assert named([process], "python") == []


def test_one_that_runs_on_is_told_with_its_command() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        assert left([process], 0.1) == [f"{child.pid} {sys.executable} -c input()"]
        child.kill()
        assert not left([process], 60), "a zombie has ended"
