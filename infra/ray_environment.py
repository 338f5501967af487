"""The environment of Ray's processes: made by the driver, and turned back into the driver's own where a stage runs."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from infra.shipped import unpacked
from pipeline.job import Job

DRIVER = "CORPUSMILL_DRIVER"


def for_client() -> dict[str, str]:
    """The driver's environment for a cluster of somebody's: its token (RAY_AUTH_MODE, RAY_AUTH_TOKEN) is the person's to give."""
    return {**_own(), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": _import_path()}


def _import_path() -> str:
    """What this process can import from, as PYTHONPATH."""
    return os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)


def away(place: str) -> str:
    """What a worker of somebody's cluster needs to know: where in the code that was sent the driver's current folder is.

    Nothing else of the driver's environment is sent, for Ray shows it to whoever sees the cluster: a node has its own.
    """
    return json.dumps({"shipped": place})


def _own() -> dict[str, str]:
    """The driver's environment without another cluster's address; a call after Ray's end must not start it anew, unseen."""
    own = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_NAMESPACE")}
    return {**own, "RAY_ENABLE_AUTO_CONNECT": "0"}


def for_ray(cpus: int) -> dict[str, str]:
    """The driver's environment, with a cluster of its own behind a random token, silent, and no thread limit of Ray's.

    Ray would set OMP_NUM_THREADS to the cores of the first job a worker runs and so tie results to the order of jobs.
    """
    return {
        "OMP_NUM_THREADS": str(cpus),
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        **_own(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_gcs_server_port_wait_time_s": "240",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONPATH": _import_path(),
        DRIVER: json.dumps({"cwd": os.getcwd(), "pythonpath": os.environ.get("PYTHONPATH")}),
    }


def enter() -> None:
    """Make this worker's current folder and import path those of the driver, once; Ray starts in a folder of its own."""
    driver = json.loads(os.environ.pop(DRIVER, "{}"))
    if "shipped" in driver:
        sys.path.extend(unpacked(Path.cwd()))
        if driver["shipped"] and Path(driver["shipped"]).is_dir():
            os.chdir(driver["shipped"])
        return
    if not driver:
        return
    os.environ.pop("PYTHONPATH", None)
    if driver["pythonpath"] is not None:
        os.environ["PYTHONPATH"] = driver["pythonpath"]
    if Path(driver["cwd"]).is_dir():
        os.chdir(driver["cwd"])


def enter_job(text: str) -> None:
    """Make this worker the driver's own, with the own directories of the stage of the job in `text` importable."""
    enter()
    sys.path.extend(entry for entry in Job.model_validate_json(text).path if entry not in sys.path)
