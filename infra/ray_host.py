"""The host: the process that is Ray's driver. It takes jobs from a socket, submits their links and answers their ends.

Each job's ObjectRef is an argument of the jobs after it: Ray holds the dag. A dead raylet is told, never waited for.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

import ray
from ray._private import node as ray_node
from ray._private import ray_constants
from ray._private import services as ray_services
from ray._private import worker as ray_worker

from infra import ray_jobs, ray_stand_in
from infra.ray_environment import import_path

BEAT_SECONDS = 0.2
FOREVER_MS = 10**9
PATIENCE_SECONDS = 240
"""How long a process of Ray's may take to start: four times Ray's own limit, for machines that are busy."""
CLIENT_TRIES = 3
END_SECONDS = 10.0
"""How long Ray may take to shut down; a keeper that lives is less patient."""
VITAL = ("raylet", "gcs_server")
COMMAND = "_build_python_executable_command_memory_profileable"
NEEDLESS = ("start_api_server", "start_monitor", "start_log_monitor")
AGENTS = (ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT)
STAND_IN = [sys.executable, "-I", "-S", ray_stand_in.__file__]
ADAPTED = ("resolve_ip_for_localhost", "get_node", COMMAND)


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
            try:
                start(json.loads(lines.readline()))
                self._links = ray_jobs.LINKS.remote()
            except Exception as fault:  # whatever keeps Ray from starting is told in the driver's words
                traceback.print_exc()
                said = (str(fault).strip() or repr(fault)).splitlines()
                self._lost(f"Ray did not start: {' … '.join(dict.fromkeys((said[0], said[-1])))}")
                return
            self._send({"ready": True})
            threading.Thread(target=self._watch, name="watch", daemon=True).start()
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


def start(settings: dict[str, Any]) -> None:
    """Join the cluster at an address, or start a private local one on loopback, whose workers stay warm for its whole life."""
    if settings["address"]:
        _join(settings["address"])
        return
    _adapt()
    ray.init(
        address="local",
        num_cpus=settings["cpus"],
        num_gpus=settings["gpus"],
        _memory=settings["memory"],
        object_store_memory=settings["object_store_memory"],
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
        _temp_dir=settings["folder"],
        _node_ip_address="127.0.0.1",
        _system_config={
            "idle_worker_killing_time_threshold_ms": FOREVER_MS,
            "enable_metrics_collection": False,
            "task_oom_retries": 1,
            "worker_register_timeout_seconds": PATIENCE_SECONDS,
            "health_check_failure_threshold": 20,
        },
    )


def _join(address: str) -> None:
    """Become a client; Ray's server for one sometimes dies as it starts, and the next does not."""
    environment = {"env_vars": {"PYTHONPATH": import_path()}}
    for left in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
            return
        except (RuntimeError, ConnectionError):
            if not left:
                raise
            traceback.print_exc()
            time.sleep(1)


def _adapt() -> None:
    """Fit Ray to one machine: nothing listens beyond loopback, nothing starts that only a cluster needs, a slow start is borne.

    Web API, autoscaler, log monitor and the two agents are two thirds of the CPU time of Ray's start. It has no settings for these.
    """
    for place, name in (*((ray_node.Node, name) for name in NEEDLESS), *((ray_services, name) for name in ADAPTED)):
        if not hasattr(place, name):
            raise RuntimeError(f"this version of Ray has no {name}: use one that the constraints file allows")
    for name in NEEDLESS:
        setattr(ray_node.Node, name, lambda *_, **__: None)
    ray_services.resolve_ip_for_localhost = lambda host: host
    command: Any = getattr(ray_services, COMMAND)
    setattr(
        ray_services, COMMAND, lambda what, *rest, **more: STAND_IN if what in AGENTS else command(what, *rest, **more)
    )
    ask: Any = ray_services.get_node

    def patient(address: str, node: str) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask(address, node)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    ray_services.get_node = patient


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    Host(socket.socket(fileno=descriptor)).serve()


if __name__ == "__main__":
    main()
