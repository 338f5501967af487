"""A service on Ray Serve as the driver sees it: a host process below a keeper, silent, gone without a trace when it closes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from infra.kept import RayHost
from pipeline.errors import CorpusmillError, UsageError
from pipeline.machine import machine

START_SECONDS = 100.0
"""Ray Serve is ready in 10 to 20 s on two idle cores; now and then it never is, and a second Ray is."""
TRIES = 2


class ServeCluster:
    """Serves the model folder at `folder` for the time of a `with`; entering it returns once the service answers.

    Raises CorpusmillError where Ray Serve does not start, with the last line of its log.
    """

    def __init__(self, folder: Path, host: str, port: int, replicas: int) -> None:
        self._settings: dict[str, Any] = {"folder": str(folder), "host": host, "port": port, "replicas": replicas}
        self._host: RayHost | None = None

    def __enter__(self) -> ServeCluster:
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError:
            raise UsageError(
                "serving on Ray needs the package ray", mend="pip install 'corpusmill[ray]', or add --no-ray"
            ) from None
        has = machine()
        for left in reversed(range(TRIES)):
            self._host = host = RayHost(
                "infra.serve_host", cpus=int(has["cpus"]), gpus=0, memory_gib=float(has["memory_gib"])
            )
            try:
                host.send({**self._settings, "ray": host.settings, "seconds": START_SECONDS})
                if self._ready(host, last=not left):
                    break
            except BaseException:
                self.close()
                raise
            self.close()
        return self

    def _ready(self, host: RayHost, *, last: bool) -> bool:
        """Whether the service answers; False where it took too long and another try is left."""
        host.channel.settimeout(START_SECONDS)
        try:
            answer = json.loads(_read_line(host.channel) or b"{}")
        except TimeoutError:
            if not last:
                return False
            answer = {"lost": f"not ready within {START_SECONDS:.0f} s, {TRIES} times"}
        if not answer.get("ready"):
            kept = _keep_log(host.log)
            raise CorpusmillError(
                f"the service did not start on Ray: {answer.get('lost', 'its host process died')}",
                mend=f"see {kept}, or serve without Ray: --no-ray",
            )
        host.channel.settimeout(None)
        return True

    def wait(self) -> None:
        """Return never but by Ctrl-C; raises CorpusmillError where the service dies."""
        if self._host is not None:
            self._host.channel.recv(1)
        raise CorpusmillError("the service died", mend="start it again, or serve without Ray: --no-ray")

    def close(self) -> None:
        """Stop the service and Ray, and wait until each of their processes has ended."""
        if self._host is not None:
            self._host.close()
            self._host = None

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_line(channel: socket.socket) -> bytes:
    """What came up to the end of a line; nothing where the host ended before."""
    found = b""
    while not found.endswith(b"\n"):
        part = channel.recv(65536)
        if not part:
            return b""
        found += part
    return found


def _keep_log(log: Path) -> Path:
    """A copy of the host's log that outlives the host's own folder."""
    descriptor, kept = tempfile.mkstemp(prefix="corpusmill-serve-", suffix=".log")
    os.close(descriptor)
    with contextlib.suppress(OSError):
        shutil.copyfile(log, kept)
    return Path(kept)
