"""A model that is trained on a rented machine, for which the servicer stands: it comes back as the one that is trained here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.modal_executor import ModalExecutor
from pipeline import Dag, StageFailed
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from pipeline.stream import Follower
from tests.dags.smallest import quantized
from tests.modal_servicer.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What is made without leaving this machine."""
    return _run(quantized(), tmp_path_factory.mktemp("here"))


@pytest.fixture
def store(here: Outcome, tmp_path: Path) -> Path:
    """All of that but the models."""
    shutil.copytree(here.store.local, tmp_path / "store", ignore=lambda _, names: {"pretrain", "quantize"} & set(names))
    return tmp_path / "store"


def _run(dag: Dag, store: Path, executor: ModalExecutor | None = None) -> Outcome:
    """Run `dag` here, its pretraining by `executor`."""
    request = Request(on="inline", place=("pretrain=modal",) if executor else ())
    away = {"elsewhere": lambda place: executor} if executor else {}
    return run(dag, Store(str(store)), name="quantized", dials={}, executor=Inline, request=request, **away)


def test_a_model_trained_on_a_machine_that_is_taken_back_is_the_one_trained_here(
    here: Outcome, store: Path, modal_executor: ModalExecutor, modal_service: Service
) -> None:
    modal_service.preempt_after(commits=3)
    away = _run(quantized(), store, modal_executor)
    assert away.ok, away.faults
    for label in ("pretrain", "quantize"):
        one, other = here.manifests[label], away.manifests[label]
        assert (one.key, one.digest, one.files) == (other.key, other.digest, other.files)
    model = away.manifests["pretrain"]
    assert [model.executor, away.manifests["quantize"].executor] == ["modal", "inline"]
    assert modal_service.started("execute")[-2].stopping == "preempted"
    events = [event.data for event in Follower(away.store, away.run, ["pretrain"]).new()]
    assert [event["state"] for event in events if "state" in event][:3] == ["started", "resumed", "finished"]
    assert any(event.get("line", "").startswith("going on from step-") for event in events)
    assert {event["unit"] for event in events if "unit" in event} >= {"steps"}, "its progress is shown as it is here"


def test_a_longer_training_there_goes_on_from_the_state_that_a_shorter_one_kept_here(
    here: Outcome, tmp_path: Path, modal_executor: ModalExecutor
) -> None:
    first, second = (Path(shutil.copytree(here.store.local, tmp_path / name)) for name in ("first", "second"))
    one, other = _run(quantized(steps=36), first), _run(quantized(steps=36), second, modal_executor)
    assert one.ok and other.ok, other.faults
    model = other.manifests["pretrain"]
    assert (model.executor, model.digest) == ("modal", one.manifests["pretrain"].digest)
    assert model.extended_from and model.extended_from == one.manifests["pretrain"].extended_from


def test_a_gpu_that_a_rented_machine_does_not_have_is_told_in_one_line_and_not_tried_again(
    store: Path, modal_executor: ModalExecutor, modal_service: Service
) -> None:
    before = len(modal_service.started("execute"))
    outcome = _run(quantized(gpu="H100"), store, modal_executor)
    fault = outcome.faults["pretrain"]
    assert isinstance(fault, StageFailed) and "asks for H100, but torch" in fault.message and "doctor" in fault.mend
    assert "\n" not in fault.message and outcome.states["quantize"] == "skipped"
    (container,) = modal_service.started("execute")[before:]
    assert container.function.gpu == "H100:1"
