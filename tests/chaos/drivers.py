"""The processes that are killed: forked inline drivers, and `corpusmill run` on Ray with all that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
CASE = "CORPUSMILL_CHAOS_CASE"
PLAIN = "from pipeline.cli import main; main()"
SECONDS = 600


class Nursery:
    """Forked inline drivers, one at a time; see `nursery`."""

    def __init__(self, texts: Path, steps: int, log: Path, environment: dict[str, str]) -> None:
        self._always = {"texts": str(texts), "steps": steps, "fault": "", "nth": 0, "mark": "", "teach": False}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
                cwd=ROOT, env={**os.environ, **environment},
            )  # fmt: skip

    def start(self, store: str, **order: Any) -> int:
        """Start a driver on `store`; its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**self._always, "store": store, **order}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> int:
        """How the driver ended, once it has: 0, 1 for a failed stage, -9 for a kill. It has left no process."""
        code = self._answer()
        assert not psutil.Process(self._process.pid).children(recursive=True), "a driver left a process behind"
        return code

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery died"
        return int(json.loads(line))

    def close(self) -> None:
        """End the nursery."""
        self._process.communicate()


class OnRay:
    """`corpusmill run` with its own Ray, below a mark in the environment by which all of its processes are found."""

    def __init__(self, texts: Path, steps: int, store: str, case: str, log: Path) -> None:
        self._case = f"{CASE}={case}".encode()
        words = ["run", f"{ROOT}/tests/chaos/dag.py:chaos", f"texts={texts}", f"steps={steps}", "--store", store]
        with log.open("ab") as file:
            self.driver = subprocess.Popen(
                [sys.executable, "-c", PLAIN, *words, "--tracker", "none"], stdout=file, stderr=file, cwd=ROOT,
                env={**os.environ, CASE: case},
            )  # fmt: skip

    def processes(self) -> dict[str, list[int]]:
        """Its living processes, by what they are."""
        found: dict[str, list[int]] = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError):
                if self._case in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                    words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                    if state != "Z":
                        found.setdefault(self._kind(int(name), words), []).append(int(name))
        return found

    def _kind(self, pid: int, words: list[bytes]) -> str:
        text = b" ".join(words).decode(errors="replace")
        for part, kind in (
            ("ray::Links", "link"), ("ray::IDLE", "idle worker"), ("ray::", "worker"), ("infra/keeper.py", "keeper"),
            ("infra.ray_host", "host"), ("raylet/raylet", "raylet"), ("gcs_server", "gcs"),
        ):  # fmt: skip
            if part in text and "default_worker.py" not in text:
                return kind
        return "driver" if pid == self.driver.pid else "other"

    def gone(self, seconds: float = 120) -> dict[str, list[int]]:
        """What is left of it after so many seconds; nothing, as it should be."""
        deadline = time.monotonic() + seconds
        self.driver.wait(SECONDS)
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def kill_all(self) -> None:
        """Kill -9 of everything, at once."""
        for pids in self.processes().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
