"""What a cluster's machines have, beside what a stage asks for: a stage that none of them can take waits, and a person is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.autoscaler.v2.sdk import get_cluster_status

from pipeline.job import Job
from pipeline.resources import Resources
from pipeline.store import Store
from pipeline.stream import Emitter

_ray: Any = ray  # parts of Ray have no types
KIND = 0.001
"""How much of a kind of accelerator Ray itself has a task ask for."""


def options(asked: Resources, joined: bool) -> dict[str, Any]:
    """What a stage asks of Ray: on a cluster that was joined the type of its GPUs too, as Ray names it (H100, A100)."""
    given: dict[str, Any] = {
        "num_cpus": asked.cpus,
        "num_gpus": asked.gpus,
        "memory": int(asked.memory_gib * 2**30) or None,
        "max_retries": asked.retries,
    }
    return given | ({"accelerator_type": _kind(asked)} if joined and _kind(asked) else {})


def lacking(asked: Resources) -> str:
    """The machine that no living node of the cluster is, in words; empty where one could take the stage, now or later."""
    nodes = [node["Resources"] for node in _ray.nodes() if node["Alive"]]
    if any(could_take(asked, node) for node in nodes):
        return ""
    wanted = _wanted(asked)
    nowhere = [words for words, part in wanted.items() if not any(_has(node, part) for node in nodes)]
    return f"a machine with {' and '.join(nowhere or wanted)}"


def could_take(asked: Resources, node: Mapping[str, float]) -> bool:
    """Whether a machine with these resources of Ray's could take a stage that asks for this, were all of it free."""
    return all(_has(node, part) for part in _wanted(asked).values())


def _wanted(asked: Resources) -> dict[str, dict[str, float]]:
    """What a stage needs, in words, and as resources of Ray's."""
    kind = _kind(asked)
    parts = {
        f"{asked.cpus:g} CPU core{'s' * (asked.cpus != 1)}": {"CPU": asked.cpus},
        f"{asked.gpus} {kind} GPU{'s' * (asked.gpus != 1)}".replace("  ", " "): {"GPU": float(asked.gpus)}
        | ({f"accelerator_type:{kind}": KIND} if kind else {}),
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


def _kind(asked: Resources) -> str:
    return asked.gpu.partition("-")[0] if asked.gpus else ""
