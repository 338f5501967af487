"""What the tests of the MLflow tracker read back: one store, to which three runs were told once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.mlflow_tracker import MlflowTracker
from tests.infra.small import Small, make_blank
from tests.infra.told_runs import BEGAN, DAG, Find, build, record, say, tell_whole

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store where three runs were told: one whole; one with everything cached but Serve; one where Sft failed."""
    root = tmp_path_factory.mktemp("store")
    made = tell_whole(root)

    tracker = MlflowTracker(str(root))
    tracker.start(record("run-2", root, BEGAN + 1000))
    for label in list(DAG)[:-1]:
        tracker.stage(label, "cached", made[label])
    build(tracker, made, "run-2", salt="again")("Serve")
    tracker.finish("finished")

    tracker = MlflowTracker(str(root))
    tracker.start(record("run-3", root, BEGAN + 2000))
    build(tracker, made, "run-3", salt="new")("Pretrain")
    say(tracker, "Sft", "state", 1, state="started", key="a-key")
    for line in ("loading", "Traceback", "ValueError: the loss is nan"):
        say(tracker, "Sft", "log", 2, line=line)
    for wall in (4.0, 6.0):
        cost = {"wall_seconds": wall, "cpu_seconds": 2 * wall, "dollars": wall / 100, "gpu_seconds": 0}
        say(tracker, "Sft", "cost", wall, session="s", cost=cost, committed={})
    tracker.stage("Sft", "failed", None, "stage 'Sft': ValueError: the loss is nan (at sft.py:80)")
    tracker.stage("Serve", "skipped", None)
    tracker.finish("failed")
    return root


@pytest.fixture(scope="session")
def client(store: Path) -> MlflowClient:
    from mlflow.tracking.client import MlflowClient

    uri = f"sqlite:///{store}/.mlflow/mlflow.db"
    return MlflowClient(uri, registry_uri=uri)


@pytest.fixture(scope="session")
def runs(client: MlflowClient) -> Find:
    """Finds the run of a stage in a run of the dag; the parent where the label is empty."""
    experiment = client.get_experiment_by_name("tales")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])

    def find(run: str, label: str = "") -> Any:
        [one] = [
            each for each in found
            if each.data.tags["corpusmill.run"] == run and each.data.tags.get("corpusmill.label", "") == label
        ]  # fmt: skip
        return client.get_run(one.info.run_id)  # a search leaves out a run's models

    return find


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blank(tmp_path_factory.mktemp("blank"))


@pytest.fixture
def small(tmp_path: Path, blank: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A store of its own with an empty MLflow."""
    return Small(tmp_path, blank, monkeypatch.setenv)
