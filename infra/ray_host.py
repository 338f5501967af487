"""The host: the process that is Ray's driver. It takes jobs from a socket, submits their links and answers their ends.

Each job's ObjectRef is an argument of the jobs after it: Ray holds the dag. A dead raylet is told, never waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

import ray
from ray._private import worker as ray_worker

from infra import ray_jobs
from infra.ray_start import knock, start, why_not

BEAT_SECONDS = 0.2
END_SECONDS = 10.0
"""How long Ray may take to shut down; a keeper that lives is less patient."""
KNOCK_SECONDS, SILENT_SECONDS = 10.0, 60.0
VITAL = ("raylet", "gcs_server")


class Host:
    """Ray's driver for one executor; `serve` returns when the driver of the run closes the socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._refs: dict[int, ray.ObjectRef[str]] = {}
        self._waiting: dict[ray.ObjectRef[str], tuple[int, str]] = {}
        self._lock = threading.Lock()
        self._links: Any = None

    def serve(self) -> None:
        """Start Ray as the first line says, submit what comes, and shut Ray down at the end of the stream."""
        with self._channel.makefile("rb") as lines:
            settings = json.loads(lines.readline())
            try:
                start(settings)
                self._links = ray_jobs.links(joined=bool(settings["address"]))
            except Exception as fault:  # whatever keeps Ray from starting is told in the driver's words
                traceback.print_exc()
                self._send(why_not(fault, settings["address"]))
                return
            self._send({"ready": True})
            threading.Thread(target=self._watch, name="watch", daemon=True).start()
            if settings["address"]:
                threading.Thread(target=self._knock, args=[settings["address"]], name="knock", daemon=True).start()
            for line in lines:
                self._submit(json.loads(line))
        # The keeper may be dead, and Ray hang: all but Ray's workers, which end with it, are of this process's group.
        last = threading.Timer(END_SECONDS, os.killpg, [os.getpgrp(), signal.SIGKILL])
        last.daemon = True
        last.start()
        ray.shutdown()

    def _submit(self, message: dict[str, Any]) -> None:
        job = json.loads(message["job"])
        parents = [self._refs[parent] if isinstance(parent, int) else parent for parent in message["after"]]
        ref = self._links.link.options(name=f"link {job['label']}").remote(message["job"], *parents)
        with self._lock:
            self._refs[message["ref"]] = ref
            self._waiting[ref] = message["ref"], job["label"]

    def _watch(self) -> None:
        pause = threading.Event()
        node: Any = ray_worker._global_node
        while True:
            dead = [name for name, _ in node.dead_processes() if name in VITAL] if node else []
            if dead:
                self._lost(f"Ray's {dead[0]} died")
                os._exit(1)
            with self._lock:
                waiting = list(self._waiting)
            try:
                for ref in ray.wait(waiting, timeout=BEAT_SECONDS)[0] if waiting else []:
                    self._answer(ref)
            except ConnectionError:
                self._lost("the connection to Ray was lost")
                os._exit(1)
            if not waiting:
                pause.wait(BEAT_SECONDS)

    def _knock(self, address: str) -> None:
        """Of a head that lost its power nobody says that it has gone: it is lost once it has given no answer for a while."""
        answered = time.monotonic()
        while time.monotonic() - answered < SILENT_SECONDS:
            time.sleep(KNOCK_SECONDS)
            with contextlib.suppress(ConnectionError):
                knock(address)
                answered = time.monotonic()
        self._lost(f"the head of the cluster at {address} gives no answer")
        os._exit(1)

    def _answer(self, ref: ray.ObjectRef[str]) -> None:
        with self._lock:
            number, label = self._waiting.pop(ref)
        try:
            end = ray.get(ref)
        except ray.exceptions.RayError as fault:
            end = ray_jobs.lost(f"stage {label!r}", fault)
        self._send({"ref": number, "end": end})

    def _lost(self, why: str) -> None:
        self._send({"lost": why})

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    Host(socket.socket(fileno=descriptor)).serve()


if __name__ == "__main__":
    main()
