"""The RayJob: valid for KubeRay and Kubernetes, unknown fields refused; GPUs, spot, secrets by name, our own command."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from pipeline.errors import UsageError
from tests.infra import kuberay_schema
from tests.infra.rendering import document, own_dag, render

STORE = ("--store", "s3://corpus/mill")


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    words = ["longer=2", *STORE, "--workers", "3", "--spot", "--cloud", "gcp", "--secret", "AWS_SECRET_ACCESS_KEY"]
    return document(render("kuberay", own_dag(tmp_path), *words, "--select", "gpu=h100", "--minutes", "90"))


def pods(job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    head, worker = kuberay_schema.templates(job)
    return head["spec"], worker["spec"]


def test_every_shape_of_it_is_valid(job: dict[str, Any]) -> None:
    kuberay_schema.check(job)
    kuberay_schema.check(document(render("kuberay", "quickstart", *STORE)))
    kuberay_schema.check(
        document(render("kuberay", "quickstart", *STORE, "--gpu", "H100", "--gpus", "8", "--env", "A=b c: d"))
    )


@pytest.mark.parametrize(
    "where", [(), ("spec",), ("spec", "rayClusterSpec"), ("spec", "rayClusterSpec", "headGroupSpec")]
)
def test_a_field_that_kuberay_does_not_know_is_refused(job: dict[str, Any], where: tuple[str, ...]) -> None:
    spoilt = inner = copy.deepcopy(job)
    for name in where:
        inner = inner[name]
    inner["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        kuberay_schema.check(spoilt)


def test_a_field_that_kubernetes_does_not_know_is_refused(job: dict[str, Any]) -> None:
    pods(job)[0]["containers"][0]["enviroment"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="enviroment"):
        kuberay_schema.check(job)


def test_workers_have_the_gpus_that_the_stages_ask_for_and_the_head_has_none_and_runs_no_stage(
    job: dict[str, Any],
) -> None:
    head, worker = (pod["containers"][0]["resources"]["limits"] for pod in pods(job))
    assert worker == {"cpu": 8, "memory": "64Gi", "nvidia.com/gpu": 2}
    assert "nvidia.com/gpu" not in head
    cluster = job["spec"]["rayClusterSpec"]
    [group] = cluster["workerGroupSpecs"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0" and "num-cpus" not in group["rayStartParams"]
    assert (group["replicas"], group["maxReplicas"]) == (3, 3)


def test_without_workers_the_head_has_all(tmp_path: Path) -> None:
    job = document(render("kuberay", own_dag(tmp_path), *STORE))
    cluster = job["spec"]["rayClusterSpec"]
    assert "workerGroupSpecs" not in cluster and "num-cpus" not in cluster["headGroupSpec"]["rayStartParams"]
    [container] = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2


def test_only_workers_are_spot_and_gpus_are_looked_for_by_label(job: dict[str, Any]) -> None:
    head, worker = pods(job)
    assert worker["nodeSelector"] == {"cloud.google.com/gke-spot": "true", "gpu": "h100"}
    assert {one["key"] for one in worker["tolerations"]} == {"cloud.google.com/gke-spot", "nvidia.com/gpu"}
    assert "nodeSelector" not in head


def test_it_runs_our_command_on_the_clusters_own_ray(job: dict[str, Any]) -> None:
    assert shlex.split(job["spec"]["entrypoint"]) == [
        "corpusmill", "run", "/opt/dag/words.py:words", "longer=2", "--store", "s3://corpus/mill", "--on", "ray://127.0.0.1:10001",
        "--tracker", "none",
    ]  # fmt: skip
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["activeDeadlineSeconds"] == 5400


def test_secrets_stand_by_name_and_nobody_is_root(job: dict[str, Any]) -> None:
    for pod in pods(job):
        [container] = pod["containers"]
        assert container["env"][-1] == {
            "name": "AWS_SECRET_ACCESS_KEY",
            "valueFrom": {"secretKeyRef": {"name": "corpusmill-words", "key": "AWS_SECRET_ACCESS_KEY"}},
        }
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "mill"], "machines come and go"),
        ([], "machines come and go"),
        (["--store", "s3://key:planted@corpus/mill"], "holds no user, password or query"),
        ([*STORE, "--secret", "HF_TOKEN=planted"], "takes a name alone"),
        ([*STORE, "--secret", "not a name"], "secrets.0: the name of an environment variable is meant"),
        ([*STORE, "--env", "HF_TOKEN=planted"], "would stand in the manifest"),
        ([*STORE, "--env", "HTTPS_PROXY=http://me:planted@proxy"], "would stand in the manifest"),
        ([*STORE, "--image", "x y"], "image"),
        ([*STORE, "--gpus", "1"], "asks for 2 GPUs, but this machine has 1"),
        ([*STORE, "--cloud", "moon"], "places"),
        ([*STORE, "--cloud", "aws", "--cloud", "gcp"], "lies in one cloud"),
        ([*STORE, "--select", "gpu"], "has no value"),
        ([*STORE, "--torch-index", "http://me:planted@index"], "torch_index"),
    ],
)
def test_a_wrong_wish_is_one_error_that_shows_no_value(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as fault:
        render("kuberay", own_dag(tmp_path), *words)
    assert "planted" not in str(fault.value)


def test_gpus_that_no_stage_asks_for_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    from infra.rendered import Wishes, described

    _, warnings = described("kuberay", "quickstart", [], Wishes(store=STORE[1], gpu="H100", secrets=["HF_TOKEN"]))
    assert warnings == ["no stage of this dag asks for a GPU: those of the machines would stand idle"]
