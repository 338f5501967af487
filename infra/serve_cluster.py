"""A service on Ray Serve as the driver sees it: a host process below a keeper, silent, gone without a trace when it closes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from infra import kept
from infra.kept import RayHost
from pipeline.errors import CorpusmillError, UsageError
from pipeline.machine import machine


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
        self._host, answer = kept.begun(self._start)
        if "lost" in answer:
            log = _keep_log(self._host.log)
            self.close()
            raise CorpusmillError(
                f"the service did not start on Ray: {answer['lost']}", mend=f"see {log}, or serve without Ray: --no-ray"
            )
        return self

    def _start(self) -> RayHost:
        has = machine()
        host = RayHost("infra.serve_host", cpus=int(has["cpus"]), gpus=0, memory_gib=float(has["memory_gib"]))
        host.send({**self._settings, "ray": host.settings, "seconds": kept.START_SECONDS[0]})
        return host

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


def _keep_log(log: Path) -> Path:
    """A copy of the host's log that outlives the host's own folder."""
    descriptor, kept = tempfile.mkstemp(prefix="corpusmill-serve-", suffix=".log")
    os.close(descriptor)
    with contextlib.suppress(OSError):
        shutil.copyfile(log, kept)
    return Path(kept)
