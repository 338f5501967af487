"""The registered model of a dag: a version for each final model that a run ended with, the last one the `champion`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from infra.mlflow_fields import place_of, tags
from infra.mlflow_home import is_server
from infra.mlflow_lineage import MODEL
from pipeline.manifest import Manifest, Registration
from pipeline.registered import CHAMPION, PREVIOUS, registered_name
from pipeline.registered import register as note
from pipeline.store import Store
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


def final_model(record: RunRecord) -> str:
    """The label of the model that the dag is for, empty where it makes none or the record holds only a part of the dag.

    That is the model which its service serves, else the last one that no other model is made from.
    """
    if record.only:
        return ""
    for label in reversed(record.stages):
        if record.stages[label].kind == "Service":
            served = _nearest_model(record, label)
            if served:
                return served
    models = [label for label in record.stages if record.stages[label].kind == MODEL]
    behind = {_nearest_model(record, label) for label in models}
    return next((label for label in reversed(models) if label not in behind), "")


def _nearest_model(record: RunRecord, label: str) -> str:
    """The closest model above `label`, breadth first, so that a service's own model comes before its ancestors."""
    pending, seen = list(record.stages[label].inputs.values()), set[str]()
    while pending:
        parent = pending.pop(0)
        if parent in seen or parent not in record.stages:
            continue
        seen.add(parent)
        if record.stages[parent].kind == MODEL:
            return parent
        pending.extend(record.stages[parent].inputs.values())
    return ""


def register(
    client: MlflowClient, record: RunRecord, manifest: Manifest, run: str, model: str, page: str
) -> tuple[str, str]:
    """Make `manifest` the champion of its dag, as a new version unless it is one already; its name and version.

    The version points at the artifact in the store and copies nothing; the store notes it, so that gc keeps it.
    The former champion becomes `previous`.
    """
    name, place = registered_name(record.dag), place_of(record.store, manifest)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"The model that {record.dag} ends with.")
    versions = client.search_model_versions(f"name = '{name}'")
    version = next(
        (found.version for found in versions if found.tags.get("corpusmill.attempt") == manifest.attempt), None
    )
    if version is None:
        about = tags(
            digest=manifest.digest, key=manifest.key, attempt=manifest.attempt, run=record.run, label=manifest.label
        )
        # A server takes no path of another machine as a source: there the logged model stands between.
        source = f"models:/{model}" if is_server(client.tracking_uri) and place.startswith("file:") else place
        made = client.create_model_version(
            name, source, run, tags=about, description=page, await_creation_for=0, model_id=model or None
        )
        version = made.version
    former = client.get_registered_model(name).aliases.get(CHAMPION)
    if former is not None and str(former) != str(version):
        client.set_registered_model_alias(name, PREVIOUS, str(former))
    client.set_registered_model_alias(name, CHAMPION, str(version))
    about = {"stage": manifest.stage, "key": manifest.key, "attempt": manifest.attempt, "alias": CHAMPION}
    note(Store(record.store), Registration(name=name, version=str(version), when=time.time(), **about))
    return name, str(version)
