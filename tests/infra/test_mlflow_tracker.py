"""The MLflow tracker against a real MLflow on SQLite: recorded runs are told, then read back through its client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.mlflow_tracker import MlflowTracker
from pipeline import digest
from pipeline.digest import FileRecord
from pipeline.errors import StoreError
from pipeline.events import Event
from pipeline.manifest import CodeRecord, Cost, InputRecord, Manifest
from pipeline.tracker import RunRecord, StageRecord

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

Find = Callable[..., Any]

BEGAN = 1_790_000_000.0
DAG: dict[str, tuple[str, str, dict[str, str]]] = {
    "Collect": ("collect", "Documents", {}),
    "Filter": ("filter", "Documents", {"documents": "Collect"}),
    "Pretrain": ("pretrain", "Model", {"tokens": "Filter"}),
    "Sft": ("sft", "Model", {"model": "Pretrain"}),
    "Evaluate": ("evaluate", "Report", {"models.0": "Pretrain", "models.1": "Sft"}),
    "Serve": ("serve", "Service", {"model": "Sft"}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "Filter": {
        "languages": ["en", "de"],
        "rules": {"shortest": 50, "notes": "x" * 9000},
        "eos_token": "<|end|>",
        "documents": {"_input": "Documents"},
    }
}


def manifest(label: str, run: str, inputs: dict[str, Manifest] | None = None, salt: str = "", **more: Any) -> Manifest:
    """A complete attempt at the stage `label`, with one file whose content is the label and `salt`."""
    stage, kind, _ = DAG[label]
    content = f"{label}{salt}".encode()
    files = {"part-00000.parquet": FileRecord(size=len(content), sha256=digest.of_bytes(content))}
    records = {
        place: InputRecord(stage=made.stage, key=made.key, attempt=made.attempt, digest=made.digest, label=made.label)
        for place, made in (inputs or {}).items()
    }
    about: dict[str, Any] = {
        "settings": SETTINGS.get(label, {}), "machine": {"cpus": 2}, "run": run, "executor": "inline",
        "environment": {"python": "3.11.7", "HF_TOKEN": "hf_verysecret"}, "metrics": {"documents": 12.0},
        "cost": Cost(wall_seconds=90, cpu_seconds=120, peak_bytes=1 << 20), "created": BEGAN + 100,
    }  # fmt: skip
    return Manifest(
        stage=stage, label=label, key=digest.of_json([label, salt])[:32], attempt=f"{label.lower()}-{run}{salt}",
        kind=kind, source=f"stages.{stage}:{label}", inputs=records, files=files, digest=digest.of_files(files),
        code=CodeRecord(digest="c0de" * 16, packages={"pyarrow": "21.0"}), **{**about, **more},
    )  # fmt: skip


def record(run: str, store: Path, began: float = BEGAN) -> RunRecord:
    """A run of the dag above."""
    stages = {
        label: StageRecord(
            stage=stage, kind=kind, settings=SETTINGS.get(label, {}), inputs=inputs, state="run", reason="never built"
        )
        for label, (stage, kind, inputs) in DAG.items()
    }
    return RunRecord(
        run=run, dag="tales", dials={"steps": 40}, store=str(store), executor="inline", started=began, stages=stages
    )


def say(tracker: MlflowTracker, label: str, kind: str, after: float, **data: Any) -> None:
    """One event of the stage `label`, `after` seconds into the run."""
    tracker.event(Event(label=label, kind=kind, time=BEGAN + after, data=data))  # type: ignore[arg-type]


def build(tracker: MlflowTracker, made: dict[str, Manifest], run: str, **more: Any) -> Callable[[str], None]:
    """A function that plays one stage from start to manifest."""

    def stage(label: str) -> None:
        say(tracker, label, "state", 1, state="started")
        for step in range(0, 250):
            say(tracker, label, "metrics", 2 + step / 10, step=step, values={"loss": 5 - step / 100})
        made[label] = manifest(
            label,
            run,
            {place: made[parent] for place, parent in DAG[label][2].items()},
            metrics={"loss": 2.51, "tokens": 4096.0},
            **more,
        )
        say(tracker, label, "state", 60, state="finished")
        tracker.stage(label, "finished", made[label])

    return stage


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store where three runs were told: one whole; one with everything cached but Serve; one where Sft failed."""
    root = tmp_path_factory.mktemp("store")
    made: dict[str, Manifest] = {}
    tracker = MlflowTracker(str(root))
    tracker.start(record("run-1", root))
    for label in DAG:
        build(tracker, made, "run-1")(label)
    tracker.finish("finished")

    tracker = MlflowTracker(str(root))
    tracker.start(record("run-2", root, BEGAN + 1000))
    for label in list(DAG)[:-1]:
        tracker.stage(label, "cached", made[label])
    build(tracker, made, "run-2", salt="again")("Serve")
    tracker.finish("finished")

    tracker = MlflowTracker(str(root))
    tracker.start(record("run-3", root, BEGAN + 2000))
    build(tracker, made, "run-3", salt="new")("Pretrain")
    say(tracker, "Sft", "state", 1, state="started")
    for line in ("loading", "Traceback", "ValueError: the loss is nan"):
        say(tracker, "Sft", "log", 2, line=line)
    tracker.stage("Sft", "failed", None, "stage 'Sft': ValueError: the loss is nan (at sft.py:80)")
    tracker.stage("Serve", "skipped", None)
    tracker.finish("failed")
    return root


@pytest.fixture(scope="module")
def client(store: Path) -> MlflowClient:
    from mlflow.tracking.client import MlflowClient

    uri = f"sqlite:///{store}/.mlflow/mlflow.db"
    return MlflowClient(uri, registry_uri=uri)


@pytest.fixture
def runs(client: MlflowClient) -> Iterator[Find]:
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

    yield find


def test_a_run_is_a_parent_and_each_stage_a_child_named_as_its_label(runs: Find) -> None:
    parent, child = runs("run-1"), runs("run-1", "Filter")
    assert (parent.info.run_name, parent.info.status, parent.data.params) == ("run-1", "FINISHED", {"steps": "40"})
    assert (child.info.run_name, child.info.status) == ("Filter", "FINISHED")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.start_time == int((BEGAN + 1) * 1000) and child.info.end_time == int((BEGAN + 100) * 1000)


def test_settings_are_params_and_long_ones_are_cut_with_their_digest(runs: Find) -> None:
    params = runs("run-1", "Filter").data.params
    assert (
        params["languages"] == '["en", "de"]' and params["rules.shortest"] == "50" and params["eos_token"] == "<|end|>"
    )
    assert len(params["rules.notes"]) == 500 and not any("_input" in name for name in params)
    assert params["rules.notes"].endswith(f"(9000 characters, sha256 {digest.of_bytes(b'x' * 9000)[:16]})")


def test_metrics_are_kept_over_time_and_their_last_value_is_the_manifests(client: MlflowClient, runs: Find) -> None:
    run = runs("run-1", "Pretrain")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history][:3] == [(0, 5.0), (1, 4.99), (2, 4.98)]
    assert len(history) == 250 and history[0].timestamp == int((BEGAN + 2) * 1000)
    assert run.data.metrics["loss"] == pytest.approx(2.51) and run.data.metrics["tokens"] == 4096
    assert run.data.metrics["cost/wall_seconds"] == 90 and run.data.metrics["artifact/bytes"] == len("Pretrain")
    assert runs("run-1").data.metrics["Pretrain/tokens"] == 4096


def test_tags_tell_key_digests_executor_machine_attempt_and_cost(runs: Find) -> None:
    tags = runs("run-1", "Collect").data.tags
    made = manifest("Collect", "run-1")
    assert tags["corpusmill.key"] == made.key and tags["corpusmill.digest"] == made.digest
    assert tags["corpusmill.code"] == "c0de" * 16 and tags["corpusmill.attempt"] == made.attempt
    assert tags["corpusmill.executor"] == "inline" and json.loads(tags["corpusmill.machine"])["cpus"] == 2
    assert json.loads(tags["corpusmill.cost"])["wall_seconds"] == 90 and tags["corpusmill.state"] == "finished"


def test_an_input_carries_the_upstreams_name_and_the_same_digest_as_its_output(store: Path, runs: Find) -> None:
    output = {each.dataset.name: each for each in runs("run-1", "Collect").inputs.dataset_inputs}["Collect"]
    given = {each.dataset.name: each for each in runs("run-1", "Filter").inputs.dataset_inputs}["Collect"]
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "documents"}
    assert {tag.key: tag.value for tag in output.tags} == {"mlflow.data.context": "output"}
    made, source = manifest("Collect", "run-1"), json.loads(given.dataset.source)
    assert given.dataset.digest == output.dataset.digest == made.digest[:36] and source["digest"] == made.digest
    assert source["uri"] == (store / "collect" / made.key / made.attempt / "data").as_uri()


def test_the_served_model_is_the_champion_by_reference(client: MlflowClient, store: Path, runs: Find) -> None:
    champion = client.get_model_version_by_alias("tales", "champion")
    made = manifest("Sft", "run-1")
    assert champion.tags["corpusmill.label"] == "Sft" and champion.run_id == runs("run-1", "Sft").info.run_id
    assert champion.source == (store / "sft" / made.key / made.attempt / "data").as_uri()
    assert made.digest in str(champion.description)
    assert not list((store / ".mlflow").rglob("*.parquet"))
    versions = client.search_model_versions("name = 'tales'")
    assert len(versions) == 1, "a cached model is no new version"


def test_models_are_chained_from_the_base_to_the_tuned(client: MlflowClient, runs: Find) -> None:
    [base] = runs("run-1", "Pretrain").outputs.model_outputs
    [tuned] = runs("run-1", "Sft").outputs.model_outputs
    assert [given.model_id for given in runs("run-1", "Sft").inputs.model_inputs] == [base.model_id]
    assert {given.model_id for given in runs("run-1", "Evaluate").inputs.model_inputs} == {
        base.model_id,
        tuned.model_id,
    }
    model = client.get_logged_model(tuned.model_id)
    assert (model.name, str(model.status)) == ("Sft", "READY") and model.tags["corpusmill.artifact"].startswith(
        "file://"
    )


def test_a_cached_stage_is_marked_and_points_at_the_run_that_built_it(runs: Find) -> None:
    cached, built = runs("run-2", "Filter"), runs("run-1", "Filter")
    assert cached.data.tags["corpusmill.cached"] == "true" and cached.data.tags["corpusmill.state"] == "cached"
    assert cached.data.tags["corpusmill.built_by_run"] == built.info.run_id
    assert built.info.run_id in cached.data.tags["mlflow.note.content"]
    assert cached.data.metrics["loss"] == pytest.approx(2.51) and cached.info.status == "FINISHED"
    assert not runs("run-2", "Sft").outputs.model_outputs, "it made no model; it found one"


def test_a_failed_stage_shows_its_fault_and_the_end_of_its_log(client: MlflowClient, runs: Find) -> None:
    failed, parent = runs("run-3", "Sft"), runs("run-3")
    assert (failed.info.status, parent.info.status) == ("FAILED", "FAILED")
    assert "ValueError: the loss is nan (at sft.py:80)" in failed.data.tags["corpusmill.fault"]
    assert "Traceback\nValueError" in failed.data.tags["mlflow.note.content"]
    assert str(client.get_model_version_by_alias("tales", "champion").version) == "1", "a failed run crowns nothing"


def test_the_parents_page_is_a_table_of_stages_with_links(runs: Find) -> None:
    page, child = runs("run-1").data.tags["mlflow.note.content"], runs("run-1", "Pretrain")
    link = f"#/experiments/{child.info.experiment_id}/runs/{child.info.run_id}?workflowType=machine_learning"
    assert f"| [Pretrain]({link}) | finished | 1.50 | loss 2.51 | Filter |" in page
    assert "#/models/tales/versions/1" in page
    assert "| Serve | skipped |" in runs("run-3").data.tags["mlflow.note.content"]


def test_no_secret_of_the_environment_reaches_mlflow(store: Path) -> None:
    for file in (store / ".mlflow").iterdir():
        assert not file.is_file() or b"verysecret" not in file.read_bytes()


def test_the_same_run_told_twice_leaves_one_record(tmp_path: Path) -> None:
    from mlflow.tracking.client import MlflowClient

    for _ in range(2):
        made: dict[str, Manifest] = {}
        tracker = MlflowTracker(str(tmp_path))
        tracker.start(record("run-1", tmp_path))
        for label in DAG:
            build(tracker, made, "run-1")(label)
        tracker.finish("finished")
    uri = f"sqlite:///{tmp_path}/.mlflow/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    runs = client.search_runs(["1"])
    assert sorted(run.info.run_name for run in runs) == sorted(["run-1", *DAG])
    assert all(run.info.status == "FINISHED" for run in runs)
    pretrain = next(run for run in runs if run.info.run_name == "Pretrain")
    assert len(client.get_metric_history(pretrain.info.run_id, "loss")) == 250
    assert len(client.search_model_versions("name = 'tales'")) == 1 and len(client.search_logged_models(["1"])) == 2


def test_a_database_that_cannot_be_written_is_one_error_at_once(tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "mlflow.db").write_text("not a database " * 100)
    tracker = MlflowTracker(str(tmp_path))
    with pytest.raises(StoreError, match="cannot be written"):
        tracker.start(record("run-1", tmp_path))
    say(tracker, "Collect", "state", 1, state="started")  # and is silent afterwards
    tracker.stage("Collect", "finished", manifest("Collect", "run-1"))
    tracker.finish("finished")


def test_tracking_prints_nothing_and_imports_mlflow_only_at_its_start(tmp_path: Path) -> None:
    code = f"""
import sys
import infra.mlflow_tracker, infra.ui
assert "mlflow" not in sys.modules
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_mlflow_tracker import MlflowTracker, build, record
tracker = MlflowTracker({str(tmp_path)!r})
tracker.start(record("run-1", Path({str(tmp_path)!r})))
build(tracker, {{}}, "run-1")("Collect")
tracker.finish("finished")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
