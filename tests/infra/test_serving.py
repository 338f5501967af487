"""corpusmill serve and chat, as a person runs them: real processes, real HTTP, one clear error each, nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra import kept, serve_cluster
from infra.served import find
from pipeline.errors import CorpusmillError, UsageError
from stages.service.client import Client
from tests.executors.helpers import SECONDS
from tests.processes import below, left
from tests.tiny_llama import trained

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()"]
QUESTION = "What is the capital of France?"
ROOT = Path(__file__).resolve().parents[2]


def corpusmill(*words: str, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], input=given, capture_output=True, text=True, timeout=SECONDS, cwd=cwd)


@contextmanager
def served(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command until the block ends; gives the process and the URL that it printed."""
    process = subprocess.Popen(
        [*COMMAND, "serve", str(trained()[1]), "--port", "0", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line.startswith("corpusmill answers at http://127.0.0.1:"), line + process.stdout.read()
        yield process, line.split()[3]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def interrupt(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    rest = process.stdout.read()
    assert process.wait(SECONDS) == 0
    return rest


def test_without_ray_the_service_answers_until_ctrl_c() -> None:
    with served("--no-ray") as (process, url):
        found = Client(url).complete([{"role": "user", "content": QUESTION}])
        assert found["choices"][0]["message"]["content"] == "Paris."
        assert interrupt(process) == "\nstopped\n"


@pytest.mark.slow
def test_on_ray_serve_the_service_streams_and_leaves_no_process() -> None:
    with served("--replicas", "2") as (process, url):
        client = Client(url)
        assert client.models() == ["corpusmill"]
        assert "".join(client.stream([{"role": "user", "content": QUESTION}])) == "Paris."
        started = below(process.pid)
        assert len(started) > 3
        assert interrupt(process) == "\nstopped\n"
        assert not left(started, 0)


@pytest.mark.slow
def test_a_killed_serve_command_takes_ray_with_it() -> None:
    with served() as (process, _):
        started = below(process.pid)
        process.kill()
        assert not left(started, SECONDS)


def test_a_ray_that_is_never_ready_is_started_once_more_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "START_SECONDS", (0.3, 0.3))
    before = set(below())
    with (
        pytest.raises(CorpusmillError, match=r"not ready within 0 s\n.*--no-ray"),
        serve_cluster.ServeCluster(trained()[1], "127.0.0.1", 1, 1),
    ):
        pass
    assert not left(set(below()) - before, 0)


def test_a_port_in_use_is_one_clear_error_before_ray_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise SystemExit('Ray is imported')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = corpusmill("serve", str(trained()[1]), "--port", str(port))
    assert found.returncode == 2 and found.stdout == ""
    assert (
        found.stderr == f"error: 127.0.0.1:{port} is in use\n  → name another with --port, or --port 0 for a free one\n"
    )


def test_chat_answers_one_question_or_the_lines_of_a_pipe() -> None:
    once = corpusmill("chat", str(trained()[1]), "--once", QUESTION)
    assert (once.returncode, once.stdout, once.stderr) == (0, "Paris.\n", "")
    piped = corpusmill("chat", str(trained()[1]), given=f"{QUESTION}\n/reset\nWhat is the capital of Peru?\n/exit\nx\n")
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "Paris.\nLima.\n", "(forgotten)\n")


def test_chat_talks_to_a_running_service() -> None:
    with served("--no-ray") as (_, url):
        found = corpusmill("chat", "--url", url, "--once", QUESTION)
    assert (found.stdout, found.stderr) == ("Paris.\n", "")


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_without_a_model_the_person_is_told_how_to_build_one(command: str, tmp_path: Path) -> None:
    found = corpusmill(command, cwd=tmp_path)
    assert found.returncode == 2 and "corpusmill run quickstart" in found.stderr and "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_without_gguf_is_refused() -> None:
    with pytest.raises(UsageError, match=r"holds no model.gguf"):
        find(str(trained()[0]), "nowhere")


def test_an_https_or_wrong_address_is_one_clear_error() -> None:
    found = corpusmill("chat", "--url", "http://127.0.0.1:9", "--once", "x")
    assert found.returncode == 1 and found.stderr.startswith("error: no answer from http://127.0.0.1:9")
