"""The part of KubeRay's RayJob (ray.io/v1) that we write, as a schema of our own: what is not in it is refused.

Pods are checked against Kubernetes' published schemas instead. KUBERAY_CRD may name a file with the CustomResourceDefinition
of an installed KubeRay (`kubectl get crd rayjobs.ray.io -o yaml`): then manifests must hold against that as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.33"


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
TEMPLATE = {"type": "object", "required": ["spec"]}
HEAD = _object("template rayStartParams", template=TEMPLATE, rayStartParams=NAMES)
WORKERS = _object(
    "groupName replicas minReplicas maxReplicas template rayStartParams",
    groupName={"type": "string", "minLength": 1}, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT,
    rayStartParams=NAMES, template=TEMPLATE,
)  # fmt: skip
CLUSTER = _object(
    "headGroupSpec rayVersion",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object("mode", mode={"enum": ["disabled", "token"]}),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS},
)
RAYJOB = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_object("name", name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}, labels=NAMES),
    spec=_object(
        "entrypoint rayClusterSpec shutdownAfterJobFinishes",
        entrypoint={"type": "string", "minLength": 1},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        rayClusterSpec=CLUSTER,
    ),
)


def check(manifest: dict[str, Any]) -> None:
    """Raise jsonschema's ValidationError, or kubernetes_validate's, for what KubeRay or Kubernetes would not take."""
    jsonschema.Draft202012Validator(RAYJOB).validate(manifest)
    for template in templates(manifest):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    if crd := os.environ.get("KUBERAY_CRD"):
        jsonschema.Draft202012Validator(strict(of_crd(Path(crd)))).validate(manifest)


def templates(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    yield cluster["headGroupSpec"]["template"]
    yield from (group["template"] for group in cluster.get("workerGroupSpecs", ()))


def of_crd(file: Path) -> dict[str, Any]:
    """The schema of the version v1 in a CustomResourceDefinition."""
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    found: dict[str, Any] = next(one for one in whole["spec"]["versions"] if one["name"] == "v1")["schema"]
    return found["openAPIV3Schema"]  # type: ignore[no-any-return]


def strict(schema: Any) -> Any:
    """The same with unknown fields refused, as `kubectl apply --validate=strict` refuses them."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(inner) for name, inner in schema.items()}
    if "properties" in found and "additionalProperties" not in found and found.get("type") == "object":
        found["additionalProperties"] = bool(found.get("x-kubernetes-preserve-unknown-fields"))
    if found.get("x-kubernetes-int-or-string"):  # its pattern is of strings alone
        found["type"] = ["integer", "string"]
    return found
