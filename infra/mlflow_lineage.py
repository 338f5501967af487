"""What went into a stage and what came out of it, as MLflow's datasets and models: by reference, with digests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from infra.mlflow_fields import DIGEST_LENGTH, params, place_of, tags
from infra.mlflow_home import store_folder
from pipeline.artifact import MODEL
from pipeline.manifest import InputRecord, Manifest

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, LoggedModelInput
    from mlflow.tracking.client import MlflowClient


class Lineage:
    """Writes the datasets and models of one run's stages into `experiment`."""

    def __init__(self, client: MlflowClient, experiment: str, store_root: str) -> None:
        self._client = client
        self._experiment = experiment
        self._root = store_root
        self._everywhere: list[str] = []
        self._models: dict[str, str] = {}
        self._written: set[str] = set()

    def write(self, run: str, manifest: Manifest, built: bool) -> None:
        """Record what went into and came out of the attempt, and whether this run built it or found it.

        A model becomes a LoggedModel once, then is found; it is an output of the run that built it alone, though that be
        told of after others that found it.
        """
        self._written.add(manifest.attempt)
        datasets = [self._dataset(given.label, given.digest, place, given) for place, given in manifest.inputs.items()]
        datasets.append(self._dataset(manifest.label, manifest.digest, "output", manifest, self._profile(manifest)))
        self._client.log_inputs(run, datasets=datasets, models=self._given_models(manifest.inputs.values()))
        if manifest.kind == MODEL:
            self._model_of(run, manifest, built)

    def given(self, run: str, inputs: Mapping[str, tuple[str, Manifest]]) -> None:
        """Record what went into a stage that came to nothing: for each field the label and the manifest of the input."""
        datasets = [self._dataset(label, made.digest, place, made) for place, (label, made) in inputs.items()]
        if datasets:
            models = self._given_models([made for _, made in inputs.values()])
            self._client.log_inputs(run, datasets=datasets, models=models)

    def _given_models(self, inputs: Iterable[Manifest | InputRecord]) -> list[LoggedModelInput]:
        from mlflow.entities import LoggedModelInput

        models = [model for given in inputs if (model := self._given(given))]
        return [LoggedModelInput(model) for model in dict.fromkeys(models)]

    def _model_of(self, run: str, manifest: Manifest, built: bool) -> None:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        known = self._find_model(manifest)
        model = known or self._make_model(run if built else None, manifest)
        self._models[manifest.attempt] = model
        outputs = self._client.get_run(run).outputs if known and built else None
        if built and model not in [one.model_id for one in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run, [LoggedModelOutput(model, 0)])
        self._client.finalize_logged_model(model, LoggedModelStatus.READY)

    def model(self, manifest: Manifest) -> str:
        """The id of the LoggedModel of an attempt, or an empty string."""
        return self._models.get(manifest.attempt) or self._find_model(manifest)

    def seen(self, manifest: Manifest) -> str:
        """The id of the LoggedModel of an attempt that `write` has seen, or an empty string; MLflow is not asked."""
        return self._models.get(manifest.attempt, "")

    def _given(self, given: Manifest | InputRecord) -> str:
        """The LoggedModel that an input is; MLflow is asked where its stage is not of this run (a part of a dag is run)."""
        if given.attempt not in self._models and given.attempt not in self._written:
            self._models[given.attempt] = self._find_model(given)
        return self._models.get(given.attempt, "")

    def builder(self, manifest: Manifest) -> tuple[str, str]:
        """Experiment and run of the stage run that built the attempt; empty strings where MLflow was not told of it."""
        wanted = f"tags.`corpusmill.attempt` = '{manifest.attempt}' and tags.`corpusmill.state` = 'finished'"
        for experiments in ([self._experiment], self._elsewhere()):
            found = self._client.search_runs(experiments, wanted, max_results=1) if experiments else []
            if found:
                return found[0].info.experiment_id, found[0].info.run_id
        return "", ""

    def _elsewhere(self) -> list[str]:
        if not self._everywhere:
            self._everywhere = [found.experiment_id for found in self._client.search_experiments(max_results=1000)]
        return [experiment for experiment in self._everywhere if experiment != self._experiment]

    def _profile(self, manifest: Manifest) -> str:
        return json.dumps({"kind": manifest.kind, "bytes": manifest.size, "files": len(manifest.files)})

    def _dataset(
        self, label: str, digest: str, context: str, record: Manifest | InputRecord, profile: str | None = None
    ) -> DatasetInput:
        """MLflow's digest holds 36 characters; the whole one stands in the source, with key and attempt."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        uri = place_of(self._root, record)
        source = {"uri": uri, "digest": digest, "stage": record.stage, "key": record.key, "attempt": record.attempt}
        kind = "local" if store_folder(self._root) is not None else uri.split(":", 1)[0]
        dataset = Dataset(label, digest[:DIGEST_LENGTH], kind, json.dumps(source), profile=profile)
        return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])

    def _find_model(self, manifest: Manifest | InputRecord) -> str:
        wanted = f"tags.`corpusmill.attempt` = '{manifest.attempt}'"
        for experiments in ([self._experiment], self._elsewhere()):
            found = self._client.search_logged_models(experiments, wanted, max_results=1) if experiments else []
            if found:
                return str(found[0].model_id)
        return ""

    def _make_model(self, run: str | None, manifest: Manifest) -> str:
        label = re.sub(r"[^\w-]", "-", manifest.label)
        about = tags(
            artifact=place_of(self._root, manifest), digest=manifest.digest, key=manifest.key, attempt=manifest.attempt
        )
        made = self._client.create_logged_model(
            self._experiment, label, run, tags=about, params=params(manifest.settings), model_type="text-generation"
        )
        return str(made.model_id)
