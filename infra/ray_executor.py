"""The Ray executor as the driver sees it: it starts a host process at the first submit, whose answers become futures.

Ray itself lives below the host, with the host's log for its output, so that nothing of Ray reaches the terminal;
a keeper process ends all of it when the driver closes, is killed, or Ray breaks.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from importlib.util import find_spec

from infra.ends import ended, manifest_in
from infra.kept import RayHost, begun
from pipeline.errors import AGAIN, CorpusmillError, StageFailed, UsageError
from pipeline.executor import check_room
from pipeline.job import Job
from pipeline.machine import machine
from pipeline.machine_load import gpu_count
from pipeline.manifest import Manifest
from pipeline.resources import Resources


class RayFuture(Future[Manifest]):
    """A future whose job the host knows as `ref`; there it stands for an ObjectRef, the edge to the jobs after it."""

    def __init__(self, ref: int, label: str) -> None:
        super().__init__()
        self.ref, self.label = ref, label


class RayExecutor:
    """Runs jobs on a local Ray cluster of `cpus` cores (all by default), or on the one whose Ray Client server is at `address`.

    Such a cluster (``ray://HOST:10001``) stays as it is when the run ends. It needs the same versions of Python and Ray and
    the installed packages, and a store that both reach; the code is sent.
    """

    name = "ray"
    remote = carries = False

    def __init__(self, *, cpus: int | None = None, address: str = "") -> None:
        if find_spec("ray") is None:
            raise UsageError("the ray executor needs the package 'ray'", mend="pip install 'corpusmill[ray]'")
        self.address, self.remote = address, bool(address)
        self.cpus = cpus or int(machine()["cpus"])
        self.gpus = gpu_count()
        self.memory = float(machine()["memory_gib"])
        mine = {"cpus": self.cpus, "gpus": self.gpus, "memory_gib": self.memory}
        self.room: Mapping[str, float] = {} if address else mine  # a cluster may get what it does not have
        self._lock = threading.RLock()
        self._pending: dict[int, RayFuture] = {}
        self._count = 0
        self._host: RayHost | None = None
        self._listener: threading.Thread | None = None
        self._lost, self._mend = "", AGAIN

    def check(self, label: str, resources: Resources) -> None:
        """Nothing beyond `room`: what the nodes of a cluster have is known once they are asked."""

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        """Run `job` once all of `after` have ended. Raises UsageError where this machine cannot give what it asks."""
        check_room(self.room, job.label, job.resources)
        with self._lock:
            host = self._host or self._start()
            self._count += 1
            future = RayFuture(self._count, job.label)
            self._pending[future.ref] = future
            if self._lost:
                self._fail(self._lost)
            else:
                parents = [self._parent(parent) for parent in after]
                host.send({"ref": future.ref, "job": job.model_dump_json(), "after": parents})
        return future

    def _parent(self, parent: Future[Manifest]) -> int | str:
        """The number of a job that the host knows, or the manifest itself where the parent had ended before."""
        if isinstance(parent, RayFuture):
            return parent.ref
        return ended(parent.result())

    def _start(self) -> RayHost:
        self._host, answer = begun(self._begin)
        if "lost" in answer:
            self._lost, self._mend = answer["lost"], answer.get("mend", AGAIN)
            return self._host
        self._listener = threading.Thread(
            target=self._listen, args=[self._host.channel], name="ray-answers", daemon=True
        )
        self._listener.start()
        return self._host

    def _begin(self) -> RayHost:
        host = RayHost("infra.ray_host", cpus=self.cpus, gpus=self.gpus, memory_gib=self.memory, address=self.address)
        host.send(host.settings)
        return host

    def _listen(self, channel: socket.socket) -> None:
        lost = "Ray stopped before it ended"
        try:
            with contextlib.suppress(OSError, json.JSONDecodeError), channel.makefile("rb") as lines:
                for line in lines:  # the last one is cut short where the host was killed
                    answer = json.loads(line)
                    if "lost" in answer:
                        lost = answer["lost"]
                    elif "ref" in answer:
                        self._settle(answer["ref"], answer["end"])
        finally:
            self._fail(lost)

    def _settle(self, ref: int, end: str) -> None:
        with self._lock:
            future = self._pending.pop(ref, None)
        if future is None:  # it was told as stopped before
            return
        try:
            future.set_result(manifest_in(end))
        except Exception as fault:  # handed on through the future, as every executor does
            future.set_exception(fault)

    def _fail(self, why: str) -> None:
        with self._lock:
            self._lost = self._lost or why
            futures = list(self._pending.values())
            self._pending.clear()
        for future in futures:
            future.set_exception(StageFailed(f"stage {future.label!r}: {self._lost}", mend=self._mend))

    def close(self, *, cancel: bool = False) -> None:
        """Shut Ray down and wait until all its processes ended; without `cancel`, after the jobs that still run."""
        with self._lock:
            host, pending = self._host, list(self._pending.values())
            if host is None:
                return
        if not cancel:
            for future in pending:
                with contextlib.suppress(CorpusmillError):
                    future.result()
        self._fail("it was stopped")
        host.close()
        if self._listener is not None:
            self._listener.join()
        self._host, self._listener, self._lost, self._mend = None, None, "", AGAIN
