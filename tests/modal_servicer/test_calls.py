"""Calls of functions: the real client on one side, the real container entry point on the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import ModuleType

import modal
import psutil
import pytest

from tests.modal_servicer.conftest import connected, deploy, loaded
from tests.modal_servicer.service import Service, Status
from tests.on_modal import until

pytestmark = pytest.mark.elsewhere


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with connected() as one:
        yield one


@pytest.fixture(scope="module")
def deployed(service: Service) -> Iterator[ModuleType]:
    with loaded() as shop:
        yield deploy(shop)


def test_a_deployed_function_is_found_by_name_and_called(service: Service, deployed: ModuleType) -> None:
    square = modal.Function.from_name("shop", "square")
    assert square.remote(3) == 9
    service.wait(lambda: "squaring 3" in service.logs())
    container = service.started()[-1]
    service.wait(lambda: not service.running)
    assert container.exit_code == 0


def test_a_map_runs_each_input_in_a_process_of_its_own(service: Service, deployed: ModuleType) -> None:
    assert list(deployed.square.map(range(3))) == [0, 1, 4]
    assert [container.served for container in service.started("square")[-3:]] == [1, 1, 1]


def test_a_generator_gives_its_items(service: Service, deployed: ModuleType) -> None:
    assert list(deployed.count.remote_gen(3)) == [0, 1, 2]


def test_what_is_too_large_for_a_message_travels_as_a_blob(service: Service, deployed: ModuleType) -> None:
    data = bytes(range(256)) * 12_000
    assert deployed.echo.remote(data) == data[::-1]
    assert len(service.asked("BlobCreate")) == 2


def test_a_spawned_call_is_found_again_by_its_id(service: Service, deployed: ModuleType) -> None:
    call = deployed.square.spawn(4)
    assert modal.FunctionCall.from_id(call.object_id).get(timeout=120) == 16


def test_a_preempted_input_runs_again_without_counting_as_a_retry(service: Service, deployed: ModuleType) -> None:
    service.preempt_after(commits=2)
    assert deployed.train.remote(4) == [2, 3]
    first, second = service.started("train")
    service.wait(lambda: not service.running)
    assert (first.stopping, first.exit_code, second.exit_code) == ("preempted", -9, 0)
    volume = service.volumes.named("store")
    assert volume is not None and sorted(volume.tree) == ["step", "uncommitted-0", "uncommitted-2", "uncommitted-3"]


@pytest.mark.slow
def test_a_failing_function_is_retried_as_often_as_it_says(service: Service, deployed: ModuleType) -> None:
    with pytest.raises(ValueError, match="no luck"):
        deployed.flaky.remote()
    with pytest.raises(ValueError, match="no luck"):
        deployed.flaky.spawn().get(timeout=120)
    assert len(service.started("flaky")) == 4


def test_an_input_that_takes_longer_than_it_may_loses_its_container(service: Service, deployed: ModuleType) -> None:
    with pytest.raises(modal.exception.FunctionTimeoutError):
        deployed.slow.remote()
    service.wait(lambda: not service.running)


@pytest.mark.parametrize("terminate", [False, True])
def test_after_a_cancellation_nothing_is_left_that_costs_money(
    service: Service, deployed: ModuleType, terminate: bool
) -> None:
    service.wait(lambda: not service.running)  # of the tests before this one
    before, mark = service.logs().count("idling"), f"a-child-{uuid.uuid4().hex}"
    call = deployed.idle.spawn(mark)
    service.wait(lambda: service.logs().count("idling") > before)
    until(lambda: left_over(mark))  # while Linux loads a program, it has no command line
    assert len(service.running) == 1
    call.cancel(terminate_containers=terminate)
    with pytest.raises(modal.exception.Error):
        call.get(timeout=120)
    service.wait(lambda: not service.running)
    assert left_over(mark) == []


def left_over(mark: str) -> list[int]:
    """The child that `idle` starts, wherever it is."""
    found = psutil.process_iter(["pid", "cmdline"])
    return [one.pid for one in found if mark in (one.info["cmdline"] or [])]


def test_a_variant_asks_for_other_resources(service: Service, deployed: ModuleType) -> None:
    assert modal.Function.from_name("shop", "square").with_options(gpu="H100:2", timeout=60).remote(5) == 25
    container = service.started("square")[-1]
    assert (container.function.gpu, container.function.definition.timeout_secs) == ("H100:2", 60)


def test_a_class_is_made_with_its_parameters_and_asked(service: Service, deployed: ModuleType) -> None:
    assert modal.Cls.from_name("shop", "Model")(size=5).ask.remote(3) == 15


def test_the_client_repeats_a_call_that_failed_on_the_way(service: Service, deployed: ModuleType) -> None:
    service.fail("FunctionMap", Status.UNAVAILABLE)
    service.fail("FunctionPutOutputs", Status.UNAVAILABLE, times=2)
    assert deployed.square.remote(6) == 36
