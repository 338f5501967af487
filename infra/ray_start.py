"""How Ray begins: a private cluster on loopback, or the way into one that is there, to which the code is sent.

What keeps it from beginning is told in a person's words.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import time
import traceback
from typing import Any
from urllib.parse import urlsplit

import ray
from ray._private import node as ray_node
from ray._private import ray_constants
from ray._private import services as ray_services

from infra import ray_stand_in
from infra.ray_environment import DRIVER

FOREVER_MS = 10**9
PATIENCE_SECONDS = 240
"""How long a process of Ray's may take to start: four times Ray's own limit, for machines that are busy."""
CLIENT_TRIES = 3
CLIENT_PORT = 10001
KNOCK_SECONDS = 10.0
MISMATCH = "Version mismatch"
NEEDLESS = ("start_api_server", "start_monitor", "start_log_monitor")
COMMAND = "_build_python_executable_command_memory_profileable"
AGENTS = (ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT)
STAND_IN = [sys.executable, "-I", "-S", ray_stand_in.__file__]
ADAPTED = ("resolve_ip_for_localhost", "get_node", "start_raylet", COMMAND)


def start(settings: dict[str, Any]) -> None:
    """Join the cluster at an address, or start a private local one on loopback, whose workers stay warm for its whole life."""
    if settings["address"]:
        _join(settings)
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


def _join(settings: dict[str, Any]) -> None:
    """Become a client; Ray's server for one sometimes dies as it starts, and the next does not."""
    knock(settings["address"])
    shipped = {"working_dir": settings["code"], "env_vars": {DRIVER: settings["driver"]}}
    for left in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(settings["address"], log_to_driver=False, logging_level=logging.ERROR, runtime_env=shipped)
            return
        except (RuntimeError, ConnectionError) as fault:
            if not left or MISMATCH in str(fault):
                raise
            traceback.print_exc()
            time.sleep(1)


def knock(address: str) -> None:
    """Raise ConnectionError where nothing answers; Ray itself would wait for minutes."""
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname or "", place.port or CLIENT_PORT), KNOCK_SECONDS).close()
    except OSError as fault:
        raise ConnectionError(fault.strerror or str(fault)) from None


def why_not(fault: Exception, address: str) -> dict[str, Any]:
    """What kept Ray from beginning, as the host answers it; `again` where another start may well do better."""
    said = (str(fault).strip() or repr(fault)).splitlines()
    short = " … ".join(dict.fromkeys((said[0], said[-1])))
    if not address:
        return {"lost": f"Ray did not start: {short}", "again": True}
    if MISMATCH in str(fault):
        found = re.findall(r"^ *(Ray|Python): (\S+)", str(fault), re.MULTILINE)
        theirs, ours = (" and ".join(map(" ".join, found[at : at + 2])) for at in (0, 2))
        return {
            "lost": f"the cluster at {address} has {theirs}, and this machine {ours}",
            "mend": "have the same versions on both sides: those of constraints.txt",
        }
    if isinstance(fault, ConnectionError):
        return {
            "lost": f"nothing that knows Ray Client answers at {address} ({short})",
            "mend": "see that the head runs (ray start --head --ray-client-server-port=10001) and that this machine reaches it",
        }
    return {"lost": f"Ray at {address} took no run: {short}", "mend": "see that RAY_AUTH_TOKEN is the cluster's"}


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
    _bear_a_slow_raylet()


def _bear_a_slow_raylet() -> None:
    """Wait longer than Ray does for the raylet to be known, but not for one that has died."""
    ask: Any = ray_services.get_node
    begin: Any = ray_services.start_raylet
    begun: list[Any] = []

    def start_raylet(*words: Any, **options: Any) -> Any:
        begun.append(begin(*words, **options))
        return begun[-1]

    def get_node(address: str, node: str) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask(address, node)
            except RuntimeError:
                if any(one.process.poll() is not None for one in begun):
                    raise ChildProcessError("its raylet died as it started") from None  # Ray waits on at a RuntimeError
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    ray_services.start_raylet = start_raylet
    ray_services.get_node = get_node
