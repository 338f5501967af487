"""A service on Ray Serve as the driver sees it: a host process below a keeper, silent, gone without a trace when it closes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra import ray_keeper
from infra.ray_environment import for_ray
from infra.ray_executor import CLOSE_SECONDS, LONGEST_FOLDER, OBJECT_STORE_BYTES
from pipeline.errors import CorpusmillError, UsageError
from pipeline.machine import machine

START_SECONDS = 180.0
"""Ray Serve is ready in 10 to 20 s on two idle cores."""


class ServeCluster:
    """Serves the model folder at `folder` for the time of a `with`; entering it returns once the service answers.

    Raises CorpusmillError where Ray Serve does not start, with the last line of its log.
    """

    def __init__(self, folder: Path, host: str, port: int, replicas: int) -> None:
        self._settings: dict[str, Any] = {"folder": str(folder), "host": host, "port": port, "replicas": replicas}
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServeCluster:
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError:
            raise UsageError(
                "serving on Ray needs the package ray", mend="pip install 'corpusmill[ray]', or add --no-ray"
            ) from None
        base = tempfile.gettempdir()
        scratch = tempfile.mkdtemp(prefix="cm-", dir=base if len(base) <= LONGEST_FOLDER - 12 else "/tmp")
        self._channel, theirs = socket.socketpair()
        has = machine()
        cpus = int(has["cpus"])
        host = [sys.executable, "-P", "-m", "infra.serve_host", str(theirs.fileno())]
        keeper = [sys.executable, "-I", "-S", ray_keeper.__file__, str(theirs.fileno()), scratch]
        with (Path(scratch) / "host.log").open("ab") as log, theirs:
            self._keeper = subprocess.Popen(
                [*keeper, *host], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                pass_fds=(theirs.fileno(),), env=for_ray(cpus),
            )  # fmt: skip
        ray_settings = {"folder": scratch, "cpus": cpus, "gpus": 0, "memory": int(float(has["memory_gib"]) * 2**30)}
        message = {
            **self._settings,
            "ray": {**ray_settings, "dashboard": False, "object_store_memory": OBJECT_STORE_BYTES},
        }
        self._channel.sendall(json.dumps(message).encode() + b"\n")
        try:
            self._await_ready(Path(scratch))
        except BaseException:
            self.close()
            raise
        return self

    def _await_ready(self, scratch: Path) -> None:
        self._channel.settimeout(START_SECONDS)
        try:
            answer = json.loads(self._read_line() or b"{}")
        except TimeoutError:
            answer = {"lost": f"not ready within {START_SECONDS:.0f} s"}
        if not answer.get("ready"):
            kept = _keep_log(scratch / "host.log")
            raise CorpusmillError(
                f"the service did not start on Ray: {answer.get('lost', 'its host process died')}",
                mend=f"see {kept}, or serve without Ray: --no-ray",
            )
        self._channel.settimeout(None)

    def _read_line(self) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            part = self._channel.recv(65536)
            if not part:
                break
            found += part
        return found

    def wait(self) -> None:
        """Return never but by Ctrl-C; raises CorpusmillError where the service dies."""
        self._channel.recv(1)
        raise CorpusmillError("the service died", mend="start it again, or serve without Ray: --no-ray")

    def close(self) -> None:
        """Stop the service and Ray, and wait until each of their processes has ended."""
        keeper = self._keeper
        if keeper is None or keeper.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        keeper.stdin.close()
        try:
            keeper.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        self._channel.close()
        self._keeper = None

    def __exit__(self, *_: object) -> None:
        self.close()


def _keep_log(log: Path) -> Path:
    """A copy of the host's log that outlives the host's own folder."""
    kept = Path(tempfile.gettempdir()) / f"corpusmill-serve-{os.getpid()}.log"
    with contextlib.suppress(OSError):
        shutil.copyfile(log, kept)
    return kept
