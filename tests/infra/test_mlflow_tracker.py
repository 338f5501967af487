"""The MLflow tracker against a real MLflow on SQLite: recorded runs are told, then read back through its client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.mlflow_fields import manifest_tags
from pipeline import digest
from pipeline.store import Store
from tests.infra.told_runs import BEGAN, Find, manifest, plain

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


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
    assert params["rules"] == "Rules" and "rules._" not in params
    assert len(params["rules.notes"]) == 500 and not any("input" in name for name in params)
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
    (noted,) = Store(str(store)).registered()
    assert (noted.name, noted.version, noted.alias) == ("tales", "1", "champion"), "so that gc keeps it"
    assert (noted.stage, noted.attempt) == (made.stage, made.attempt)
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


def test_an_extension_names_what_it_went_on_from() -> None:
    assert manifest_tags(manifest("Pretrain", "run-1", extended_from="a-shorter-one"))["corpusmill.extended_from"] == (
        "a-shorter-one"
    )


def test_a_failed_stage_shows_its_fault_and_the_end_of_its_log(client: MlflowClient, runs: Find) -> None:
    failed, parent = runs("run-3", "Sft"), runs("run-3")
    assert [given.dataset.name for given in failed.inputs.dataset_inputs] == ["Pretrain"], "what it failed on"
    assert len(failed.inputs.model_inputs) == 1 and failed.data.tags["corpusmill.key"] == "a-key"
    assert (failed.info.status, parent.info.status) == ("FAILED", "FAILED")
    assert "ValueError: the loss is nan (at sft.py:80)" in failed.data.tags["corpusmill.fault"]
    assert "Traceback\nValueError" in failed.data.tags["mlflow.note.content"]
    assert str(client.get_model_version_by_alias("tales", "champion").version) == "1", "a failed run crowns nothing"


def test_what_a_failed_stage_cost_is_told_as_it_grew(client: MlflowClient, runs: Find) -> None:
    failed = runs("run-3", "Sft")
    assert failed.data.metrics["cost/dollars"] == pytest.approx(0.06) and "cost/gpu_seconds" not in failed.data.metrics
    grown = client.get_metric_history(failed.info.run_id, "cost/wall_seconds")
    assert sorted((point.step, point.value) for point in grown) == [(0, 4.0), (1, 6.0)]


def test_the_parents_page_is_a_table_of_stages_with_links(runs: Find) -> None:
    page, child = runs("run-1").data.tags["mlflow.note.content"], runs("run-1", "Pretrain")
    link = f"#/experiments/{child.info.experiment_id}/runs/{child.info.run_id}?workflowType=machine_learning"
    assert f"| [Pretrain]({link}) | finished | 1.50 | loss 2.51 | Filter |" in plain(page)
    assert "#/models/tales/versions/1" in page
    assert "| Serve | skipped |" in plain(runs("run-3").data.tags["mlflow.note.content"])
