"""The registered model of a dag: a version for each final model that a run ended with, that of the last run the `champion`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from infra.mlflow_fields import place_of, registered_name, tags
from infra.mlflow_home import is_server
from infra.mlflow_lineage import MODEL, Lineage
from pipeline.manifest import Manifest, Registration
from pipeline.store import Store
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous"


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
    client: MlflowClient, record: RunRecord, manifest: Manifest, run: str, lineage: Lineage, page: str
) -> tuple[str, str]:
    """Make `manifest` the champion of its dag, as a new version unless it is one already; its name and version.

    The version points at the artifact in the store and copies nothing; the store notes it, so that gc keeps it. The
    former champion becomes `previous`. What the store has noted decides where a run is told late, or MLflow was emptied:
    versions get the numbers they had, and no run takes the place of a later one's champion. A model that was none of the
    versions still to come back becomes one only after them: until then, its version is empty.
    """
    model, store = Model(client, record, lineage), Store(record.store)
    noted = sorted((one for one in store.registered() if one.name == model.name), key=lambda one: int(one.version))
    version = model.version(manifest.attempt)
    if not version:
        lost = [one for one in noted if int(one.version) > model.newest]
        before = list(takewhile(lambda one: one.attempt != manifest.attempt, lost))
        if lost and before == lost and record.started < max(one.when for one in lost):
            return model.name, ""
        for former in filter(None, (store.manifest(f"{one.stage}/{one.key}/{one.attempt}") for one in before)):
            model.add(former, lineage.builder(former)[1], "")
        version = model.add(manifest, run, page)
    later = any(one.when >= record.started for one in noted)
    if not later:
        model.crown(version)
    about = {"stage": manifest.stage, "key": manifest.key, "attempt": manifest.attempt}
    mine = Registration(name=model.name, version=version, when=record.started, alias="" if later else CHAMPION, **about)
    store.register(mine)
    model.fill(sorted([mine, *noted], key=lambda one: one.when, reverse=True))
    return model.name, version


class Model:
    """The registered model of a dag in MLflow."""

    def __init__(self, client: MlflowClient, record: RunRecord, lineage: Lineage) -> None:
        self._client, self._record, self._lineage = client, record, lineage
        self.name = registered_name(record.dag)
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name, description=f"The model that {record.dag} ends with.")
        versions = client.search_model_versions(f"name = '{self.name}'")
        self._versions = {found.tags.get("corpusmill.attempt", ""): str(found.version) for found in versions}

    @property
    def newest(self) -> int:
        """The highest number of a version; 0 without any."""
        return max(map(int, self._versions.values()), default=0)

    def version(self, attempt: str) -> str:
        """The version that an attempt is, or an empty string."""
        return self._versions.get(attempt, "")

    def add(self, manifest: Manifest, run: str, page: str) -> str:
        """Make a version of `manifest`, which the MLflow run `run` made or found."""
        place = place_of(self._record.store, manifest)
        model = self._lineage.model(manifest) if run else ""
        about = tags(
            digest=manifest.digest,
            key=manifest.key,
            attempt=manifest.attempt,
            run=self._record.run if page else manifest.run,
            label=manifest.label,
        )
        # A server takes no path of another machine as a source: there the logged model stands between.
        source = (
            f"models:/{model}"
            if model and is_server(self._client.tracking_uri) and place.startswith("file:")
            else place
        )
        made = self._client.create_model_version(
            self.name, source, run or None, tags=about, description=page or None, await_creation_for=0, model_id=model or None
        )  # fmt: skip
        self._versions[manifest.attempt] = str(made.version)
        return str(made.version)

    def crown(self, version: str) -> None:
        """Make a version the champion."""
        former = self._client.get_registered_model(self.name).aliases.get(CHAMPION)
        if former is not None and str(former) != version:
            self._client.set_registered_model_alias(self.name, PREVIOUS, str(former))
        self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def fill(self, noted: Sequence[Registration]) -> None:
        """Give the aliases that nobody holds to the last versions that were champions; `noted` has them first."""
        aliases = self._client.get_registered_model(self.name).aliases
        ranked = list(dict.fromkeys(one.attempt for one in noted))
        for alias, attempt in zip((CHAMPION, PREVIOUS), ranked, strict=False):
            if alias not in aliases and attempt in self._versions:
                self._client.set_registered_model_alias(self.name, alias, self._versions[attempt])
