"""The registered model of a dag in MLflow: its versions, by attempt, and who is called `champion` and `previous`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.mlflow_fields import place_of, tags
from infra.mlflow_home import is_server
from infra.mlflow_lineage import Lineage
from pipeline.manifest import Manifest, Registration
from pipeline.registered import CHAMPION, PREVIOUS, registered_name
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


class RegisteredModel:
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

    def add(self, manifest: Manifest, run: str, told: str, page: str) -> str:
        """Make a version of `manifest`, which the MLflow run `run`, of the run `told` of the dag, made or found."""
        place = place_of(self._record.store, manifest)
        model = self._lineage.model(manifest) if run else ""
        about = tags(
            digest=manifest.digest,
            key=manifest.key,
            attempt=manifest.attempt,
            run=told,
            label=manifest.label,
        )
        # A server takes no path of another machine as a source: there the logged model stands between.
        source = (
            f"models:/{model}"
            if model and is_server(self._client.tracking_uri) and place.startswith("file:")
            else place
        )
        made = self._client.create_model_version(
            self.name, source, run or None, tags=about, description=page, await_creation_for=0, model_id=model or None
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
