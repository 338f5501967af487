"""What MLflow's limits do to long values, big dags and odd names; nothing here needs MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import mlflow_fields as fields
from infra.mlflow_home import home, is_server
from infra.mlflow_page import Row, run_page
from infra.mlflow_registry import final_model
from pipeline.cache import cache_folder
from pipeline.lineage_nodes import key_metric
from pipeline.registered import registered_name
from pipeline.tracker import RunRecord, StageRecord


def drawn(*stages: tuple[str, str, tuple[str, ...]]) -> RunRecord:
    """A run of a dag given as label, kind and the labels of the inputs."""
    made = {
        label: StageRecord(
            stage=label,
            kind=kind,
            settings={},
            inputs={str(place): up for place, up in enumerate(ups)},
            state="run",
            reason="",
        )
        for label, kind, ups in stages
    }
    return RunRecord(run="r", dag="d", dials={}, store="/s", executor="inline", started=0, stages=made)


def test_the_final_model_is_the_one_that_the_service_serves() -> None:
    record = drawn(
        ("base", "Model", ()),
        ("sft", "Model", ("base",)),
        ("small", "Model", ("sft",)),
        ("evaluate", "Report", ("base", "sft")),
        ("serve", "Service", ("small", "evaluate")),
    )
    assert final_model(record) == "small"


def test_without_a_service_the_final_model_is_one_that_no_other_is_made_from() -> None:
    assert final_model(drawn(("sft", "Model", ("base",)), ("base", "Model", ()))) == "sft"
    assert final_model(drawn(("tokens", "Tokens", ()))) == ""


def test_a_run_of_one_stage_alone_has_no_final_model() -> None:
    record = drawn(("base", "Model", ()))
    assert final_model(record) == "base"
    assert final_model(record.model_copy(update={"only": "base"})) == ""


def test_a_very_big_dag_still_fits_into_a_description() -> None:
    record = drawn(*((f"stage-{number}", "Documents", ()) for number in range(400)))
    page = run_page(
        record, "finished", "1", [Row(label, "finished", "f" * 32, {"tokens": 1.0}) for label in record.stages]
    )
    assert len(page.encode()) < 8000 and "more stages" in page and "**d** finished" in page


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"loss": 2.34567, "accuracy": 0.51239}, "accuracy 0.5124"),
        ({"tokens": 3_570_000.0}, "tokens 3,570,000"),
        ({"speed": 12.5}, "speed 12.5"),
        ({"from.tales.documents": 5.0, "speed": 12.5}, "speed 12.5"),
        ({}, ""),
    ],
)
def test_the_most_telling_metric_is_shown(metrics: dict[str, float], shown: str) -> None:
    assert key_metric(metrics) == shown


def test_a_long_value_keeps_its_length_and_digest_within_the_limit() -> None:
    assert fields.clip("short", 500) == "short"
    one, other = fields.clip("ä" * 5000, 500), fields.clip("ä" * 4999 + "x", 500)
    assert len(one) == 500 and "5000 characters" in one and one != other


def test_names_keep_only_what_mlflow_takes() -> None:
    assert fields.name("bits/byte@step(1)") == "bits/byte_step_1_"
    assert registered_name("path/to/mine.py:mine") == "path-to-mine.py-mine"


def test_records_stand_in_the_store_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    place = home(str(tmp_path), {})
    assert (
        place.uri == f"sqlite:///{tmp_path}/.mlflow/mlflow.db" and place.artifacts == tmp_path / ".mlflow" / "artifacts"
    )
    assert home(f"file://{tmp_path}", {}) == place
    server = home("s3://bucket/store", {"MLFLOW_TRACKING_URI": "https://mlflow.example"})
    assert is_server(server.uri) and (server.database, server.artifacts) == (None, None)
    assert home("s3://bucket/store", {"MLFLOW_TRACKING_URI": "https://me:p@ss@mlflow.example"}) == server
    copies = home("s3://bucket/store", {}).database
    assert copies is not None and copies.is_relative_to(cache_folder() / "stores"), "beside what was fetched"
