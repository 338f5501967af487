"""How the end of a job travels between processes: a manifest or a fault, as JSON: no pickle reaches the driver."""

from __future__ import annotations

import json
from typing import Any

from pipeline.errors import CorpusmillError, StageFailed
from pipeline.manifest import Manifest
from pipeline.named import name_of
from pipeline.wire import named


def ended(manifest: Manifest) -> str:
    """The end of a job that has its artifact."""
    return json.dumps({"manifest": manifest.model_dump(mode="json")})


def failed(fault: CorpusmillError) -> str:
    """The end of a job that raised `fault`."""
    return json.dumps({"fault": {"type": name_of(type(fault)), "message": fault.message, "mend": fault.mend}})


def fault_in(end: str) -> CorpusmillError | None:
    """The fault, as the type that was raised; StageFailed where that type cannot be imported here."""
    fault: dict[str, Any] | None = json.loads(end).get("fault")
    if fault is None:
        return None
    try:
        cls = named(fault["type"])
    except (ImportError, AttributeError, CorpusmillError):
        cls = StageFailed
    kind: type[CorpusmillError] = cls if issubclass(cls, CorpusmillError) else StageFailed
    try:
        return kind(fault["message"], mend=fault["mend"])
    except TypeError:  # a subclass that is made another way
        return StageFailed(fault["message"], mend=fault["mend"])


def manifest_in(end: str) -> Manifest:
    """The manifest of a job that ended well; raises the fault of one that did not."""
    fault = fault_in(end)
    if fault is not None:
        raise fault
    return Manifest.model_validate(json.loads(end)["manifest"])
