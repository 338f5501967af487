"""The plots of a run and what they are drawn from; nothing here needs MLflow."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from infra.mlflow_child import POINTS, Child
from infra.mlflow_fields import manifest_tags
from infra.mlflow_pictures import FUNNEL, GRAPH, LOSS, PAGE, bars, drawn
from infra.mlflow_plots import curves, funnel
from pipeline.events import Event
from tests.infra.told_runs import DAG, manifest, record


class Nowhere:
    """A batch that forgets."""

    def point(self, *_: object) -> None: ...

    def tags(self, *_: object) -> None: ...


def told(child: Child, kind: str, **data: object) -> None:
    """One event of the stage of `child`."""
    child.take(Nowhere(), Event(label="x", kind=kind, time=1, data=data))  # type: ignore[arg-type]


def test_a_curve_is_drawn_from_its_first_to_its_last_step() -> None:
    tree = ElementTree.fromstring(curves({"sft <loss>": [(0, 4.0), (5, 2.0), (10, float("nan")), (20, 1.0)]}))
    texts = [each.text for each in tree.iter() if each.tag.endswith("text")]
    assert "sft <loss>" in texts and "step 20" in texts and texts.count("1") == 2, "the scale and the last value"
    assert ElementTree.fromstring(curves({"one": [(3, 2.0)], "none": []})) is not None


def test_a_funnels_bars_are_as_long_as_their_share_of_the_largest_that_counts_the_same() -> None:
    picture = funnel(
        [("raw", "documents", {"a": 30.0, "b": 10.0}), ("kept", "documents", {"a": 20.0}), ("t", "tokens", {"a": 9.0})]
    )
    bars = [each for each in ElementTree.fromstring(picture).iter() if each.find("{*}title") is not None]
    raw_a, raw_b, kept, tokens = (float(each.get("width", 0)) for each in bars)
    assert raw_a == 3 * raw_b and raw_a + raw_b == 2 * kept == tokens


def test_the_losses_of_a_training_are_kept_and_other_metrics_are_not() -> None:
    child = Child("r", "running", 0, 0)
    for step in range(3 * POINTS):
        told(child, "metrics", step=step, values={"loss": 1.0, "rate": 0.1})
    told(child, "metrics", step=None, values={"loss_of_all": 1.0})
    assert set(child.curves) == {"loss"} and len(child.curves["loss"]) <= POINTS + 1
    assert child.curves["loss"][0][0] == 0 and child.curves["loss"][-1][0] == 3 * POINTS - 1
    told(child, "metrics", step=7, values={"loss": 2.0})
    assert child.curves["loss"][-1] == (7, 2.0), "a resumed training goes on from its commit"


def test_documents_narrow_stage_by_stage_by_source_where_that_is_known() -> None:
    made = manifest(
        "Collect", "r", metrics={"documents": 12.0, "from.tales.documents": 8.0, "from.pages.documents": 4.0}
    )
    kept = manifest("Filter", "r", {"documents": made}, metrics={"documents_kept": 5.0})
    children = {
        "Collect": Child("1", "finished", 0, 0, manifest=made),
        "Filter": Child("2", "finished", 0, 0, manifest=kept),
    }
    found = bars(record("r", Path("/s")), children)
    assert found[0] == ("Collect", "documents", {"tales": 8.0, "pages": 4.0}) and found[1][0] == "Filter"


def test_a_run_that_begins_has_its_graph_and_one_that_is_over_its_plots() -> None:
    child = Child("1", "finished", 0, 0, manifest=manifest("Collect", "r"))
    for step in (1, 2):
        told(child, "metrics", step=step, values={"loss": 1.0})
    assert set(drawn(record("r", Path("/s")), {}, {}, {}, over=False)) == {PAGE, GRAPH}
    whole = drawn(record("r", Path("/s")), {"Collect": child}, {}, {"Collect": "#/x"}, over=True)
    assert set(whole) == {PAGE, GRAPH, FUNNEL, LOSS} and sorted(whole)[0] == PAGE
    assert all(label in whole[GRAPH] for label in DAG) and '"link": "#/x"' in whole[PAGE]


def test_an_attempt_that_came_to_nothing_is_kept_beside_what_comes_after() -> None:
    child = Child("r", "running", 0, 0)
    told(child, "state", state="started")
    told(child, "log", line="out of memory")
    told(child, "state", state="failed", fault="killed at step 3")
    told(child, "state", state="started")
    told(child, "log", line="again")
    told(child, "state", state="resumed")
    told(child, "state", state="finished")
    first, second = (fault for fault, _ in child.failures)
    assert first == "killed at step 3" and "machine was lost" in second
    assert [tail for _, tail in child.failures] == ["out of memory", "again"]


def test_the_gpus_that_an_attempt_held_are_a_tag() -> None:
    assert (
        manifest_tags(manifest("Pretrain", "r", resources={"gpus": 8, "gpu": "H100"}))["corpusmill.gpu"] == "8 × H100"
    )
    assert "corpusmill.gpu" not in manifest_tags(manifest("Pretrain", "r"))
