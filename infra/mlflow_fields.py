"""Manifests and settings as MLflow's params, tags and metrics, within MLflow's limits. Pure: MLflow is not imported."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.mlflow_home import store_folder
from pipeline import store
from pipeline.lineage_nodes import flat
from pipeline.manifest import InputRecord, Manifest

PREFIX = "corpusmill."
LONGEST_PARAM = 500
LONGEST_TAG = 5000  # MLflow refuses a tag above 8,000 bytes; a character may take more than one
LONGEST_NAME = 250
DIGEST_LENGTH = 36  # MLflow's column for a dataset's digest; the whole digest stands in the dataset's source


def clip(text: str, limit: int) -> str:
    """`text`; where it is longer than `limit` characters, its beginning, its length and the start of its sha256."""
    if len(text) <= limit:
        return text
    note = f" … ({len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"
    return text[: limit - len(note)] + note


def name(text: str) -> str:
    """`text` with only characters that MLflow takes in the name of a param, metric or tag."""
    return re.sub(r"[^\w.\- /:]", "_", text).strip("/")[:LONGEST_NAME] or "_"


def params(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as params: nested groups dotted, lists as JSON, long values cut with a note of their digest."""
    return {name(place): clip(value, LONGEST_PARAM) for place, value in flat(settings)}


def tags(**values: object) -> dict[str, str]:
    """Tags of ours, under our prefix; what is None or empty is left out."""
    return {
        PREFIX + key: clip(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True), LONGEST_TAG
        )
        for key, value in values.items()
        if value not in (None, "", {}, [])
    }


def manifest_tags(manifest: Manifest) -> dict[str, str]:
    """What identifies an attempt and says where it was made. The environment stays out: a secret could stand in it."""
    cost = manifest.cost
    return tags(
        key=manifest.key,
        attempt=manifest.attempt,
        digest=manifest.digest,
        code=manifest.code.digest,
        kind=manifest.kind,
        source=manifest.source,
        executor=manifest.executor,
        machine=manifest.machine,
        gpu=_gpu(manifest),
        cost=cost.model_dump(exclude_none=True),
        lost=manifest.lost.model_dump(exclude_none=True) if manifest.lost else None,
        idle=manifest.idle.model_dump(exclude_none=True) if manifest.idle.wall_seconds else None,
        dollars=None if cost.dollars is None else f"{cost.dollars:.4f}",
        packages=manifest.code.packages,
        built_by=manifest.run,
        extended_from=manifest.extended_from,
    )


def _gpu(manifest: Manifest) -> str:
    """The GPUs that an attempt held, as ``8 × NVIDIA H100 80GB HBM3``, or as it asked for them; empty on CPUs."""
    number = manifest.resources.get("gpus") or 0
    name = manifest.machine.get("gpu") or manifest.resources.get("gpu") or ""
    return " × ".join(part for part in (f"{number:g}", name) if part) if number else ""


def manifest_metrics(manifest: Manifest) -> dict[str, float]:
    """The last value of every metric; under ``cost/`` and ``artifact/`` what it took and what it weighs."""
    cost = {f"cost/{key}": float(value) for key, value in manifest.cost.model_dump(exclude_none=True).items()}
    size = {"artifact/bytes": float(manifest.size), "artifact/files": float(len(manifest.files))}
    return {**{name(key): value for key, value in manifest.metrics.items()}, **cost, **size}


def place_of(store_root: str, record: Manifest | InputRecord) -> str:
    """The URI of an artifact's data in the store."""
    below = f"{store.place_of(record)}/data"
    folder = store_folder(store_root)
    return (folder / Path(below)).as_uri() if folder is not None else f"{store_root.rstrip('/')}/{below}"
