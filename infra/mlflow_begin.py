"""What a run needs of MLflow before its first record: the dag's experiment, and the tags that all its runs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra import mlflow_fields as fields
from pipeline.registered import registered_name
from pipeline.tracker import RunRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


def find_experiment(client: MlflowClient, dag: str, artifacts: Path | None) -> str:
    """The id of the dag's experiment, made where there is none, brought back where someone deleted it."""
    found = client.get_experiment_by_name(dag)
    if found is None:
        place = None if artifacts is None else (artifacts / registered_name(dag)).as_uri()
        return str(client.create_experiment(dag, place, {"mlflow.experimentKind": "custom_model_development"}))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def common_tags(record: RunRecord) -> dict[str, str]:
    """Tags of the parent and of every child: the run, who started it, from which commit."""
    told = {
        "mlflow.user": record.user,
        "mlflow.source.name": f"corpusmill run {record.dag}",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": record.commit,
    }
    known = {name: value for name, value in told.items() if value}
    return {**known, **fields.tags(run=record.run, executor=record.executor)}
