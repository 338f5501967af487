"""A described run as KubeRay's RayJob: a head and its workers from our image, gone when the run has ended."""

from __future__ import annotations

from typing import Any

from infra.described import HOME, Described, Machine, opening
from infra.yaml_text import dump

USER = 1000
"""The user of our image."""
TRIES = 3
"""Fresh clusters after one whose head was lost; each goes on from what was committed."""
NO_STAGES = {"num-cpus": "0"}
"""What a head is started with whose workers do the work: what holds the cluster together shares its machine with no stage."""

SPOT: dict[str, tuple[str, str, bool]] = {
    "gcp": ("cloud.google.com/gke-spot", "true", True),
    "aws": ("eks.amazonaws.com/capacityType", "SPOT", False),
    "azure": ("kubernetes.azure.com/scalesetpriority", "spot", True),
}
"""By cloud, the label that its Kubernetes gives to nodes that may be taken away, and whether it is a taint as well."""


def kuberay(described: Described) -> str:
    """The manifest for ``kubectl apply -f``."""
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": described.name, "labels": {"app.kubernetes.io/name": "corpusmill"}},
        "spec": {
            "entrypoint": described.line(cluster=True),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "backoffLimit": TRIES,
            **({"activeDeadlineSeconds": described.minutes * 60} if described.minutes else {}),
            "rayClusterSpec": {
                "rayVersion": described.ray,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0", **(NO_STAGES if described.workers else {})},
                    "template": _pod(described, described.head, "ray-head", {}),
                },
                **({"workerGroupSpecs": [_workers(described)]} if described.workers else {}),
            },
        },
    }
    return _opening(described) + dump(job)


def _opening(described: Described) -> str:
    said = ["Needs KubeRay 1.5.1 or newer, and the image that `corpusmill infra render dockerfile` describes."]
    if described.secrets:
        said += [
            "The values of the secrets stay in the cluster; make them once, each from a file or by hand:",
            f"  kubectl create secret generic {described.name} --from-env-file=FILE    # {' '.join(described.secrets)}",
        ]
    if not described.told:
        said.append("MLflow is told afterwards, from the store: corpusmill track --all --store " + described.store)
    return opening(*said)


def _workers(described: Described) -> dict[str, Any]:
    spot = [SPOT[place.cloud] for place in described.places if place.cloud in SPOT] if described.spot else []
    nodes: dict[str, Any] = {}
    if spot:
        nodes["nodeSelector"] = {label: value for label, value, _ in spot}
        taints = [(label, value) for label, value, taint in spot if taint]
        nodes["tolerations"] = [
            {"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"} for label, value in taints
        ]
    return {
        "groupName": "workers",
        "replicas": described.workers,
        "minReplicas": described.workers,
        "maxReplicas": described.workers,
        "rayStartParams": {},
        "template": _pod(
            described, described.worker, "ray-worker", {name: said for name, said in nodes.items() if said}
        ),
    }


def _pod(described: Described, machine: Machine, name: str, nodes: dict[str, Any]) -> dict[str, Any]:
    tolerations = list(nodes.get("tolerations", ()))
    if machine.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    works = name == "ray-worker" or not described.workers
    select = {**nodes.get("nodeSelector", {}), **(described.select if works else {})}
    return {
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **({"nodeSelector": select} if select else {}),
            **({"tolerations": tolerations} if tolerations else {}),
            "containers": [_container(described, machine, name)],
        }
    }


def _container(described: Described, machine: Machine, name: str) -> dict[str, Any]:
    amounts: dict[str, str | int] = {"cpu": machine.cpus, "memory": f"{machine.memory_gib}Gi"}
    if machine.gpus:
        amounts["nvidia.com/gpu"] = machine.gpus
    return {
        "name": name,
        "image": described.image,
        "workingDir": HOME,
        "resources": {"limits": amounts, "requests": amounts},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "env": _environment(described),
    }


def _environment(described: Described) -> list[dict[str, Any]]:
    plain = {"RAY_USAGE_STATS_ENABLED": "0", **described.environment}
    secret = described.name
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in described.secrets),
    ]
