"""What a cluster's machines have, beside what a stage asks for: a stage that none of them can take waits, and a person is told."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ray
from ray._private import worker
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.util.accelerators import accelerators

from infra import since
from pipeline.job import Job
from pipeline.resources import Resources
from pipeline.store import Store
from pipeline.stream import Emitter

_ray: Any = ray
_worker: Any = worker  # parts of Ray have no types
KIND = 0.001
"""How much of a kind of accelerator Ray itself has a task ask for."""
TYPE = "accelerator_type:"
KNOWN = {name.upper(): name for key, name in vars(accelerators).items() if key[0].isupper() and isinstance(name, str)}
"""Ray's names for types of accelerators, by the same in capitals."""


def types(gpu: str) -> list[str]:
    """What Ray may call a type of GPU, the closest first: of a size it knows only what somebody declared (A100-80GB: A100-80G, A100)."""
    plain = gpu.rstrip("!+")
    sized, unsized = re.sub(r"(?i)(-\d+G)B$", r"\1", plain), re.sub(r"(?i)-\d+GB?$", "", plain)
    return list(dict.fromkeys(KNOWN.get(one.upper(), one) for one in (sized, unsized)))


def options(asked: Resources, joined: bool) -> dict[str, Any]:
    """What a stage asks of Ray: on a cluster that was joined the type of its GPUs too, as Ray names it (H100, A100)."""
    kind = _kind(asked, list(living().values())) if joined else ""
    given: dict[str, Any] = {
        "num_cpus": asked.cpus,
        "num_gpus": asked.gpus,
        "memory": int(asked.memory_gib * 2**30) or None,
        "max_retries": asked.retries,
    }
    return given | ({"accelerator_type": kind} if kind else {})


def living() -> dict[str, Mapping[str, float]]:
    """What each living machine of the cluster has, by its id."""
    return {node["NodeID"]: node["Resources"] for node in _ray.nodes() if node["Alive"]}


def _kind(asked: Resources, nodes: Sequence[Mapping[str, float]]) -> str:
    """Ray's name for the type of GPU that is asked for: the closest that a machine declares, else the one Ray itself would find."""
    if not asked.gpus or not asked.gpu:
        return ""
    known = types(asked.gpu)
    return next((one for one in known if any(f"{TYPE}{one}" in node for node in nodes)), known[-1])


def lacking(asked: Resources) -> str:
    """The machine that no living node of the cluster is, in words; empty where one could take the stage, now or later."""
    nodes = list(living().values())
    if any(could_take(asked, node) for node in nodes):
        return ""
    wanted, kind = _wanted(asked, nodes), _kind(asked, nodes)
    nowhere = [words for words, part in wanted.items() if not any(_has(node, part) for node in nodes)]
    there = sorted({name.removeprefix(TYPE) for node in nodes for name in node if name.startswith(TYPE)})
    other = f" (its GPUs are {', '.join(there)})" if kind and there and kind not in there else ""
    return f"a machine with {' and '.join(nowhere or wanted)}{other}"


def could_take(asked: Resources, node: Mapping[str, float]) -> bool:
    """Whether a machine with these resources of Ray's could take a stage that asks for this, were all of it free."""
    return all(_has(node, part) for part in _wanted(asked, [node]).values())


def _wanted(asked: Resources, nodes: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What a stage needs, in words, and as resources of Ray's, of which `nodes` may have some."""
    kind = _kind(asked, nodes)
    parts = {
        f"{asked.cpus:g} CPU core{'s' * (asked.cpus != 1)}": {"CPU": asked.cpus},
        f"{asked.gpus} {kind} GPU{'s' * (asked.gpus != 1)}".replace("  ", " "): {"GPU": float(asked.gpus)}
        | ({f"{TYPE}{kind}": KIND} if kind else {}),
        f"{asked.memory_gib:g} GiB of memory": {"memory": asked.memory_gib * 2**30},
    }
    return {words: part for words, part in parts.items() if any(part.values())}


def _has(node: Mapping[str, float], part: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in part.items())


def coming() -> str:
    """What the autoscaler says of new machines, as far as the cluster has one that says something."""
    status = get_cluster_status(_ray.get_runtime_context().gcs_address)
    if status.pending_launches or status.pending_nodes:
        return "the autoscaler is starting one"
    failed = [launch.details or "" for launch in status.failed_launches]
    return f"the autoscaler could not start one: {failed[-1]}".rstrip(": ") if failed else ""


def held(asked: float) -> float | None:
    """Since when this machine, that of this worker, is held for a stage that asked for one; None where it was there."""
    return since.held(asked, since.began(os.getppid()))


def working(run: str = "", start: float | None = None) -> AbstractContextManager[since.Idle]:
    """Work on this machine, that of this worker (`infra.since.working`)."""
    session, node = _worker._global_node.get_session_dir_path(), _ray.get_runtime_context().get_node_id()
    return since.working(Path(session) / f"corpusmill-{node}", run, start)


def is_dead(node: str) -> bool:
    """Whether the cluster has given up the node of this id."""
    return any(one["NodeID"] == node and not one["Alive"] for one in _ray.nodes())


def awaited(asked: Resources) -> str:
    """What a stage that no node can take waits for; empty where one can."""
    lacks = lacking(asked)
    return ": ".join(filter(None, [f"waiting for {lacks}", coming()])) if lacks else ""


def tell(job: Job, why: str) -> None:
    """Put into the events of the run why a stage does not begin."""
    emit = Emitter(Store(job.store), job.run, job.label)
    emit("state", state="waiting", why=why)
    emit.close()
