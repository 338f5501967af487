"""A Ray cluster of machines that share no disk: each a network namespace on one bridge, with processes, HOME and TMPDIR of its own.

They have Python, what is installed and Ray, but no code of this project; the store is on S3, at the driver's end of the bridge.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from infra.ray_executor import RayExecutor
from tests.executors.bridge import a_bridge, ip
from tests.executors.growing import FAKED, grows
from tests.s3 import S3

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
ARRIVES_SECONDS = 2.0
"""After which the store has what was sent to it."""
CLIENT_PORT, PORT = 10001, 6379
HIDDEN = ("pipeline", "stages", "infra", "dags", "tests", "bench")
STARTED = "Ray runtime started"
PATIENCE = {
    # Now and then Ray's server for a client hangs between fork and exec: then it is waited for that long, and started anew.
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "45",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "RAY_health_check_period_ms": "1000",  # a node that gives the head no answer five times is taken for dead
    "RAY_health_check_timeout_ms": "3000",
}
OWN = ("PYTHONPATH", "COVERAGE_", "COV_", "AWS_", "RAY_")


class Machine:
    """One machine of the cluster: nothing runs on it before `start`, and nothing after `kill`."""

    def __init__(self, wire: Wire, number: int, environment: Mapping[str, str]) -> None:
        self.name, self.address = f"{wire.name}-{number}", f"{wire.net}.{number + 1}"
        self._wire, self._own = wire, wire.folder / f"{number}"
        self._own.mkdir()
        home = wire.folder / "h"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        self._environment = {
            **kept, **PATIENCE, **environment, "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": f"{home}/cache",
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        wire.join(self)

    @property
    def cache(self) -> Path:
        """Its cache folder, as the driver's machine sees it."""
        return self._own / "cache"

    @property
    def logs(self) -> list[Path]:
        """All that Ray has written into its logs."""
        return [path for path in self._own.glob("r/session_2*/logs/**/*") if path.is_file()]

    def start(self, *words: str) -> None:
        """Begin to start Ray; `wait` for it."""
        ray = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={self.address}",
            f"--temp-dir={self._wire.folder}/h/r", "--object-store-memory=80000000", "--disable-usage-stats", *words,
        ]  # fmt: skip
        empty = [str(ROOT / name) for name in HIDDEN] + [str(self._wire.hidden)]
        lines = [f"mount --bind {self._own} {self._wire.folder}/h", *(f"mount -t tmpfs tmpfs {one}" for one in empty)]
        script = " && ".join([*lines, f"cd {self._wire.folder}/h", "exec " + " ".join(ray)])
        ip("link", "set", self.name, "up")
        with self._log("wb") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
                stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip

    def wait(self) -> bool:
        """Whether Ray has started, once that is known."""
        assert self._process
        deadline = time.monotonic() + START_SECONDS
        while STARTED not in self.said():
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def said(self) -> str:
        """What Ray printed as it started."""
        return self._log("rb").read().decode(errors="replace")

    def _log(self, mode: str) -> IO[bytes]:
        return open(self._own / "log", mode)  # type: ignore[return-value]

    def pids(self) -> list[int]:
        """Its processes."""
        found = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True).stdout
        return [int(pid) for pid in found.split()]

    def signal(self, number: int) -> None:
        """Send a signal to each of its processes."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Cut its cable, then kill -9 of all that runs on it: as when its power fails, it says goodbye to nobody."""
        ip("link", "set", self.name, "down")
        while self.pids():
            self.signal(signal.SIGKILL)
            if self._process:
                self._process.wait()
            time.sleep(0.02)


class Wire:
    """A bridge, the driver's address on it, and the machines that have joined it; `hidden` is empty on each of them."""

    def __init__(self, hidden: Path) -> None:
        self.hidden, (self.name, self.net) = hidden, a_bridge()
        self.here = f"{self.net}.1"
        self.folder = Path(tempfile.mkdtemp(prefix="cn-", dir="/tmp"))
        (self.folder / "h").mkdir()
        self.machines: list[Machine] = []
        ip("addr", "add", f"{self.here}/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def join(self, machine: Machine) -> None:
        """Give the machine a namespace, and lay a cable from it to the bridge."""
        self.machines.append(machine)
        ip("netns", "add", machine.name)
        ip("link", "add", machine.name, "type", "veth", "peer", "name", "wire", "netns", machine.name)
        ip("link", "set", machine.name, "master", self.name)
        ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "wire")
        for device in ("wire", "lo"):
            ip("-n", machine.name, "link", "set", device, "up")

    def close(self) -> None:
        """Kill the machines, and leave nothing of them."""
        for machine in self.machines:
            machine.kill()
            ip("netns", "del", machine.name)
        ip("link", "del", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """A head that holds the cluster together and runs no stage, and workers; `environment` leads to it and to the store.

    `sources` is a folder of fetched packages that each machine has in its cache. With `kinds`, resources of Ray's by name, its
    autoscaler starts machines of these kinds as they are asked for, at most one of each: further raylets in the head's namespace.
    """

    def __init__(
        self, hidden: Path, workers: int = 2, cpus: int = 2, sources: Path | None = None,
        kinds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:  # fmt: skip
        self.hidden, self._cpus, self._sources = hidden, cpus, sources
        self._wire = Wire(hidden)
        self.s3 = S3(self._wire.here)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._shared = {**token, **self.s3.environment, **(FAKED if kinds else {})}
        self.environment = {**self._shared, "XDG_CACHE_HOME": str(hidden)}
        self.head = self._machine()
        if kinds:  # what is started beside the head looks for its own address where the way out is
            ip("-n", self.head.name, "route", "add", "default", "via", self._wire.here)
        self._started(
            self.head, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false",
            f"--ray-client-server-port={CLIENT_PORT}", *([grows(kinds, self._wire.folder, f"{self._wire.net}.2:{PORT}")] if kinds else []),
        )  # fmt: skip
        self.workers = [self._machine() for _ in range(workers)]
        for worker in self.workers:
            worker.start(*self._joins(cpus))
        for worker in self.workers:
            if not worker.wait():
                worker.kill()
                self._started(worker, *self._joins(cpus))
        self.address = f"ray://{self.head.address}:{CLIENT_PORT}"
        self._await_the_door()
        self.executor = RayExecutor(address=self.address)

    def add(self, *words: str, cpus: int | None = None) -> Machine:
        """One more worker, with further options of `ray start`."""
        worker = self._machine()
        self.workers.append(self._started(worker, *self._joins(self._cpus if cpus is None else cpus), *words))
        return worker

    def lose(self, machine: Machine) -> None:
        """Have a worker die, for good."""
        machine.kill()
        self.workers.remove(machine)

    def lose_at_work(self, label: str, unfinished: Callable[[], bool]) -> Machine | None:
        """Have the worker die on which `label` runs, if its work is `unfinished` then; None if not, and all goes on.

        It stands still while that is looked at, so that no commit comes in between.
        """
        machine = self.running(label) if unfinished() else None
        if machine is None:
            return None
        machine.signal(signal.SIGSTOP)
        time.sleep(ARRIVES_SECONDS)
        if not unfinished():
            machine.signal(signal.SIGCONT)
            return None
        self.lose(machine)
        return machine

    def running(self, label: str) -> Machine | None:
        """The worker on which the stage `label` runs now."""
        for machine in self.workers:
            if any(title(pid) == f"ray::{label}" for pid in machine.pids()):
                return machine
        return None

    def _await_the_door(self) -> None:
        """Ray's server for clients is there a moment after the head says that it has started."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.head.address, CLIENT_PORT), 1):
                return
            time.sleep(0.1)

    def _joins(self, cpus: int) -> list[str]:
        return [f"--address={self.head.address}:{PORT}", f"--num-cpus={cpus}"]

    def _machine(self) -> Machine:
        machine = Machine(self._wire, len(self._wire.machines) + 1, self._shared)
        if self._sources:
            shutil.copytree(self._sources, machine.cache / "corpusmill" / self._sources.name)
        return machine

    def _started(self, machine: Machine, *words: str) -> Machine:
        """On a machine that has much else to do, Ray may give up its own start: it is started once more."""
        for _ in range(2):
            machine.start(*words)
            if machine.wait():
                return machine
            machine.kill()
        raise AssertionError(machine.said())

    def close(self) -> None:
        """End it all."""
        self.executor.close(cancel=True)
        self._wire.close()
        self.s3.stop()


@contextmanager
def a_cluster(hidden: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster for the time of a `with`."""
    cluster = Cluster(hidden, **options)
    try:
        yield cluster
    finally:
        cluster.close()


def title(pid: int) -> str:
    """What a process calls itself; empty for one that has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
