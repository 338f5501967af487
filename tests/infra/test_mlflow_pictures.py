"""What a person finds beside the table of a run in MLflow: pictures, links both ways, what failed before, the way to the sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.mlflow_tracker import NOTE, MlflowTracker
from pipeline.executor import Inline
from pipeline.run import run
from tests.infra.small import Small
from tests.infra.told_runs import Find, build, manifest, plain, record, say, tell_whole
from tests.pipeline.test_lineage import learnt

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient


def named(client: MlflowClient, label: str) -> Any:
    """The newest run of a stage, the parent without a label."""
    experiments = [found.experiment_id for found in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time DESC"])
    return next(
        client.get_run(each.info.run_id) for each in found if each.data.tags.get("corpusmill.label", "") == label
    )


def test_the_graph_is_the_first_artifact_and_a_picture_in_the_description(client: MlflowClient, runs: Find) -> None:
    parent = runs("run-1")
    names = [each.path for each in client.list_artifacts(parent.info.run_id)]
    assert names == ["0-graph.html", "funnel.svg", "graph.svg", "loss.svg"]
    note = parent.data.tags[NOTE]
    assert note.startswith("| stage |"), "the table comes first"
    for name in ("graph.svg", "funnel.svg", "loss.svg"):
        assert f"(get-artifact?path={name}&run_uuid={parent.info.run_id})" in note
    assert f"runs/{parent.info.run_id}/artifacts/0-graph.html?workflowType=machine_learning" in note


def test_a_click_in_the_graph_leads_to_the_stages_run(store: Path, runs: Find) -> None:
    place = store / ".mlflow" / "artifacts" / "tales" / runs("run-1").info.run_id / "artifacts" / "0-graph.html"
    child = runs("run-1", "Sft")
    link = f"#/experiments/{child.info.experiment_id}/runs/{child.info.run_id}?workflowType=machine_learning"
    assert link in place.read_text()


def test_a_stages_page_links_what_it_was_made_from_and_made_into_and_its_run(runs: Find) -> None:
    note = runs("run-1", "Sft").data.tags[NOTE]
    made_from, made_into = re.search("made from (.*)", note), re.search("made into (.*)", note)
    assert made_from and runs("run-1", "Pretrain").info.run_id in made_from[1]
    assert made_into and all(runs("run-1", label).info.run_id in made_into[1] for label in ("Evaluate", "Serve"))
    assert runs("run-1").info.run_id in note and "/models/m-" in note


def test_a_running_run_shows_its_graph_as_planned(small: Small) -> None:
    tracker = MlflowTracker(str(small.root))
    tracker.start(record("run-1", small.root))
    parent = named(small.client, "")
    assert "graph.svg" in parent.data.tags[NOTE]
    assert [each.path for each in small.client.list_artifacts(parent.info.run_id)] == ["0-graph.html", "graph.svg"]


def test_failed_attempts_stay_visible_after_one_that_succeeded(small: Small) -> None:
    tracker = MlflowTracker(str(small.root))
    tracker.start(record("run-1", small.root))
    say(tracker, "Collect", "state", 1, state="started")
    say(tracker, "Collect", "log", 2, line="connection reset by peer")
    say(tracker, "Collect", "state", 3, state="failed", fault="stage 'Collect': OSError: reset")
    build(tracker, {}, "run-1")("Collect")
    tracker.finish("finished")
    child = named(small.client, "Collect")
    assert child.info.status == "FINISHED" and child.data.tags["corpusmill.starts"] == "2"
    assert child.data.tags["corpusmill.failures"] == "1" and "OSError" in child.data.tags["corpusmill.earlier_fault"]
    note = child.data.tags[NOTE]
    assert "attempt 1 of 2 failed:** stage 'Collect': OSError: reset" in note and "connection reset by peer" in note


def test_how_busy_the_machine_was_stands_among_mlflows_system_metrics(small: Small) -> None:
    tracker = MlflowTracker(str(small.root))
    tracker.start(record("run-1", small.root))
    say(tracker, "Collect", "state", 1, state="started")
    for after, cpu in ((2, 50.0), (4, 75.0)):
        say(tracker, "Collect", "machine", after, values={"cpu_utilization_percentage": cpu})
    tracker.finish("failed")
    history = small.client.get_metric_history(
        named(small.client, "Collect").info.run_id, "system/cpu_utilization_percentage"
    )
    assert sorted((point.step, point.value) for point in history) == [(0, 50.0), (1, 75.0)]


def test_pictures_are_drawn_again_while_the_run_goes_on_but_seldom(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.mlflow_gallery.PAUSE", 3600.0)
    tracker = MlflowTracker(str(small.root))
    tracker.start(record("run-1", small.root))
    folder = next((small.root / ".mlflow" / "artifacts").rglob("graph.svg")).parent
    monkeypatch.setattr("infra.mlflow_batch.Batch.due", True)
    build(tracker, {}, "run-1")("Collect")
    assert "finished" not in (folder / "graph.svg").read_text(), "the pause has not passed"
    tracker._gallery._next = 0.0
    say(tracker, "Pretrain", "state", 61, state="started")
    drawn = (folder / "graph.svg").read_text()
    assert "finished · 1 min" in drawn and "running" in drawn
    assert (folder / "loss.svg").exists() and "loss.svg" in named(small.client, "").data.tags[NOTE]


def test_a_picture_that_can_be_written_again_leaves_no_fault_behind(small: Small) -> None:
    artifacts = small.root / ".mlflow" / "artifacts"
    artifacts.write_text("not a folder")
    tracker = MlflowTracker(str(small.root))
    tracker.start(record("run-1", small.root))
    assert "Not a directory" in named(small.client, "").data.tags["corpusmill.pictures"]
    artifacts.unlink()
    again = MlflowTracker(str(small.root))
    again.start(record("run-1", small.root))
    assert "corpusmill.pictures" not in named(small.client, "").data.tags


def test_artifacts_that_cannot_be_written_are_a_note_and_stop_nothing_else(small: Small) -> None:
    (small.root / ".mlflow" / "artifacts").write_text("not a folder")
    tell_whole(small.root)
    parent = named(small.client, "")
    assert parent.info.status == "FINISHED" and "Not a directory" in parent.data.tags["corpusmill.pictures"]
    assert "get-artifact" not in parent.data.tags[NOTE]
    assert str(small.client.get_model_version_by_alias("tales", "champion").version) == "1"


def test_a_tuned_model_names_its_base_though_only_a_part_of_the_dag_was_run(small: Small) -> None:
    made = tell_whole(small.root)
    whole = record("run-2", small.root, 1_790_001_000.0)
    tracker = MlflowTracker(str(small.root))
    tracker.start(whole.model_copy(update={"only": "--only Sft", "stages": {"Sft": whole.stages["Sft"]}}))
    tracker.stage("Sft", "finished", manifest("Sft", "run-2", {"model": made["Pretrain"]}, "again"))
    tracker.finish("finished")
    [base] = named(small.client, "Pretrain").outputs.model_outputs
    tuned = named(small.client, "Sft")
    assert [given.model_id for given in tuned.inputs.model_inputs] == [base.model_id]
    model = small.client.get_logged_model(tuned.outputs.model_outputs[0].model_id)
    assert model.source_run_id == tuned.info.run_id and small.client.get_logged_model(base.model_id).params == {}


def test_a_version_leads_to_its_raw_sources_with_licence_and_revision(small: Small) -> None:
    tracker = MlflowTracker(small.store.url)
    run(learnt(), small.store, name="mine", dials={}, executor=Inline, trackers=lambda: [tracker])
    client = small.client
    text = plain(str(client.get_model_version_by_alias("mine", "champion").description))
    links = dict(re.findall(r"\[([^\]]+)\]\(#/experiments/\d+/runs/(\w+)\?workflowType=machine_learning\)", text))
    assert re.search(r"\[base\]\(\S+\) → \[tuned\]\(\S+\)", text), "the chain of models"
    for source in ("talk", "asked"):
        assert re.search(rf"\| {source} \|.*\| MIT \| `1` \| `raw/{source}` \| \[{source}\]\(", text), text
        assert client.get_run(links[source]).data.tags["corpusmill.label"] == source
        note = plain(client.get_run(links[source]).data.tags[NOTE])
        assert re.search(
            rf"\| {source} \| \d \w+ \| 100.0 % \| MIT \| `1` \| `raw/{source}` \| \[{source}\]\(", note
        ), note
    assert re.search(r"\| mixed \| 60 tokens \| 60.0 % \|", plain(named(client, "pack").data.tags[NOTE])), (
        "what a stage holds"
    )
    assert len(text) < 5000 and named(client, "").info.run_id in text
