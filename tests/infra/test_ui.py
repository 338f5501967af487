"""`corpusmill ui`: MLflow's real server on a store's records, its errors, and that nothing is left when it stops."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from infra.mlflow_home import connect, home
from infra.ui import ui
from pipeline.errors import StoreError, UsageError
from tests.executors.helpers import SECONDS

COMMAND = [sys.executable, "-c", "import typer; from infra.ui import ui; typer.run(ui)"]


def group(leader: int) -> list[int]:
    """The processes whose session is `leader`, other than zombies."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def children(parent: int) -> list[int]:
    """The direct children of a process."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def started(folder: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """The command running on the store `folder`, and the address that it printed."""
    process = subprocess.Popen(
        [*COMMAND, "--store", str(folder), *words], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return process, found.group()
    raise AssertionError(f"no address was printed, and it ended with {process.wait()}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_runs_page_and_leaves_no_process_when_stopped(tmp_path: Path, number: int) -> None:
    connect(home(str(tmp_path), {})).create_experiment("tales")
    process, address = started(tmp_path, "--port", "0")
    assert address.endswith("/#/experiments/1/runs?workflowType=machine_learning")
    [server] = children(process.pid)
    assert len(group(server)) >= 2
    with urlopen(address, timeout=SECONDS) as answer:
        assert answer.status == 200 and b"<title>MLflow</title>" in answer.read()
    process.send_signal(number)
    assert process.wait(SECONDS) == 0
    assert group(server) == []
    assert (tmp_path / ".mlflow" / "server.log").stat().st_size > 0


@pytest.mark.slow
def test_a_killed_command_takes_the_server_of_a_database_elsewhere_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    connect(home(str(tmp_path / "store"))).create_experiment("tales")
    process, _ = started(tmp_path / "store", "--port", "0")
    [server] = children(process.pid)
    assert len(group(server)) >= 2
    process.kill()
    process.wait()
    until = time.monotonic() + SECONDS
    while group(server) and time.monotonic() < until:
        time.sleep(0.1)
    assert group(server) == []


def test_a_port_that_was_asked_for_and_is_taken_is_one_error(tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="cannot be used"):
        ui(store=str(tmp_path), port=taken.getsockname()[1], host="127.0.0.1")


def test_a_store_without_records_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no records"):
        ui(store=str(tmp_path), port=None, host="127.0.0.1")


def test_a_server_named_by_the_environment_is_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:p@ss@mlflow.example:5000")
    ui(store=str(tmp_path), port=None, host="127.0.0.1")
    assert capsys.readouterr().out == "MLflow runs already: http://mlflow.example:5000\n"


def test_a_server_that_cannot_start_is_one_error_with_its_log(tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "mlflow.db").write_text("not a database " * 100)
    done = subprocess.run(
        [sys.executable, "-c", "from infra.ui import ui; ui(store='.', port=0, host='127.0.0.1')"],
        capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "MLflow's database" in done.stderr and "cannot be written" in done.stderr
