"""A Ray node of its own: behind a virtual wire in a network namespace, with its own HOME and TMPDIR, as another machine is."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from infra.ray_executor import RayExecutor
from tests.s3 import S3

START_SECONDS = 120
CLIENT_PORT = 10001


class Node(NamedTuple):
    """A node of its own as the driver knows it: its executor, the S3 server that both reach, a folder that only the driver sees."""

    address: str
    executor: RayExecutor
    s3: S3
    environment: dict[str, str]
    hidden: Path


@contextmanager
def a_node(hidden: Path) -> Iterator[Node]:
    """A node, an S3 server at the driver's end of the wire, and the environment that leads to both."""
    with wire() as on:
        s3 = S3(on.here)
        environment = {**token(), **s3.environment}
        try:
            with ray_node(on, environment, hidden) as address:
                node = Node(
                    address, RayExecutor(address=address), s3, {**environment, "XDG_CACHE_HOME": str(hidden)}, hidden
                )
                yield node
                node.executor.close(cancel=True)
        finally:
            s3.stop()


class Wire(NamedTuple):
    """A network namespace and the two ends of the wire into it."""

    namespace: str
    here: str
    there: str


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    """Why this machine can have no network namespaces; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"):
        return "network namespaces need Linux, root and the command ip"
    try:
        ip("netns", "add", f"cm-try-{os.getpid()}")
        ip("netns", "del", f"cm-try-{os.getpid()}")
    except subprocess.CalledProcessError as fault:
        return f"no network namespace can be made: {fault.stderr.decode().strip()}"
    return ""


@contextmanager
def wire() -> Iterator[Wire]:
    """A fresh namespace and a wire into it; every process in it is killed at the end."""
    own = f"cm{os.getpid()}"
    found = Wire(own, f"10.213.{os.getpid() % 250}.1", f"10.213.{os.getpid() % 250}.2")
    ip("netns", "add", own)
    try:
        ip("link", "add", own, "type", "veth", "peer", "name", "wire", "netns", own)
        ip("addr", "add", f"{found.here}/30", "dev", own)
        ip("link", "set", own, "up")
        ip("-n", own, "addr", "add", f"{found.there}/30", "dev", "wire")
        for device in ("wire", "lo"):
            ip("-n", own, "link", "set", device, "up")
        yield found
    finally:
        inside = subprocess.run(["ip", "netns", "pids", own], check=False, capture_output=True, text=True).stdout
        for pid in inside.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", own)


@contextmanager
def ray_node(on: Wire, environment: Mapping[str, str], hidden: Path) -> Iterator[str]:
    """The address of a Ray head that sees an empty folder at `hidden`, and has its own HOME and TMPDIR.

    On a machine that has much else to do, a head may give up its own start: it is started once more.
    """
    for last in (False, True):
        with _head(on, environment, hidden) as (address, log):
            assert address or not last, log
            if address:
                yield address
                return


@contextmanager
def _head(on: Wire, environment: Mapping[str, str], hidden: Path, cpus: int = 2) -> Iterator[tuple[str, str]]:
    """The address of a head, empty where it did not start; and what it said."""
    home = Path(tempfile.mkdtemp(prefix="cn-", dir="/tmp"))
    own = {
        **os.environ, **environment, "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache"),
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "90",  # a busy machine starts it slowly; one that hangs is waited for
    }  # fmt: skip
    ray = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--num-cpus={cpus}", "--include-dashboard=false",
        f"--node-ip-address={on.there}", f"--ray-client-server-port={CLIENT_PORT}", f"--temp-dir={home}/r",
        "--object-store-memory=80000000", "--disable-usage-stats",
    ]  # fmt: skip
    inside = f"mount -t tmpfs tmpfs {hidden} && cd {home} && exec " + " ".join(ray)
    with (home / "log").open("wb") as log:
        head = subprocess.Popen(
            ["ip", "netns", "exec", on.namespace, "sh", "-c", inside], stdout=log, stderr=log, env=own
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in (said := (home / "log").read_text()):
            if head.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        yield f"ray://{on.there}:{CLIENT_PORT}" if "Ray runtime started" in said else "", said
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
            below = psutil.Process(head.pid).children(recursive=True)
            head.kill()
            for process in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        head.wait()
        shutil.rmtree(home, ignore_errors=True)


def token() -> dict[str, str]:
    """The environment of who may use a cluster, and of the cluster itself."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
