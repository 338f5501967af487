"""MLflow that is down, hangs or asks for a password: the run does not suffer, the way to record it later is told, no secret is."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from tests.executors.helpers import SECONDS
from tests.infra.small import Small

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()"]
PASSWORD = "verysecret"
SIGNED = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()


def corpusmill(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def run_line(store: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["run", "tests/pipeline/toys.py:line", "--store", str(store), "--on", "inline"]
    return corpusmill(*words, **environment)


@pytest.fixture
def hangs() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_a_server_that_hangs_holds_up_the_end_of_a_run_only_so_long_and_the_command_to_tell_it_later_works(
    hangs: str, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hangs)
    monkeypatch.setattr("pipeline.telling.PATIENCE", 1.5)
    began = time.monotonic()
    outcome = small.run()
    assert outcome.ok and time.monotonic() - began < 60, "MLflow itself waits for a minute at least"
    (warning,) = outcome.warnings
    said = re.fullmatch(
        r"mlflow stopped recording this run: does not answer; to record it later: corpusmill (.+)", warning
    )
    assert said
    done = corpusmill(*said[1].split(), MLFLOW_TRACKING_URI=here)
    assert done.returncode == 0 and f"{outcome.run}  small  done        4" in done.stdout, done.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here)
    assert small.aliases() == {"champion": "1"}


@pytest.mark.slow
def test_a_server_that_is_down_is_one_warning_and_track_says_what_it_could_not_tell(tmp_path: Path) -> None:
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = run_line(tmp_path, **down)
    (warning,) = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert done.returncode == 0 and warning.startswith("warning: mlflow stopped recording this run: ")
    run = max(path.name for path in (tmp_path / ".runs").iterdir() if path.is_dir())
    assert warning.endswith(f"; to record it later: corpusmill track {run} --store {tmp_path}")
    again = corpusmill("track", "--all", "--store", str(tmp_path), **down)
    assert again.returncode == 1 and again.stderr == (
        f"error: 1 of 1 could not be told\n  → again: corpusmill track --all --store {tmp_path}\n"
    )


class Guarded(ThreadingMixIn, WSGIServer):
    """MLflow's own server in a thread of the test, behind a password; it keeps whom it turned away and let in."""

    daemon_threads = True
    heard: set[str]


@pytest.fixture
def guarded(small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", uri)
    monkeypatch.setenv("_MLFLOW_SERVER_REGISTRY_STORE", uri)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(small.root / "artifacts"))
    from mlflow.server import app, handlers

    for kept in ("_tracking_store", "_model_registry_store"):  # of another test
        monkeypatch.setattr(handlers, kept, None)

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def gate(environ: Any, start: Any) -> Any:
        server.heard.add(environ.get("HTTP_AUTHORIZATION", ""))
        if environ.get("HTTP_AUTHORIZATION") != SIGNED:
            start("401 Unauthorized", [("Content-Type", "text/plain")])
            return [b"who are you?"]
        return app(environ, start)

    server = make_server("127.0.0.1", 0, gate, Guarded, Quiet)
    server.heard = set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def told(store: Path) -> bytes:
    """All that the store holds, MLflow's database among it."""
    return b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["address", "environment"])
def test_a_server_with_a_password_is_told_all_and_nobody_the_password(
    guarded: Guarded, small: Small, where: str
) -> None:
    def asks(user: str) -> dict[str, str]:
        at = f"127.0.0.1:{guarded.server_port}"
        if where == "address":
            return {"MLFLOW_TRACKING_URI": f"http://{user}:{PASSWORD}@{at}"}
        signed = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        return {"MLFLOW_TRACKING_URI": f"http://{at}", **signed}

    wrong = run_line(small.root, **asks("you"))
    guarded.heard.clear()
    right = corpusmill("track", "last", "--store", str(small.root), **asks("me"))
    assert (wrong.returncode, right.returncode) == (0, 0) and "401" in wrong.stdout
    assert guarded.heard == {SIGNED}
    found = small.client.search_runs([one.experiment_id for one in small.client.search_experiments()])
    assert {run.info.status for run in found} == {"FINISHED"} and len(found) == 3
    output = wrong.stdout + wrong.stderr + right.stdout + right.stderr
    assert PASSWORD not in output and PASSWORD.encode() not in told(small.root)
