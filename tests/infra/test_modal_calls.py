"""Calls of jobs on Modal: left, they go on; cancelled, they end, also those that are spawned at that moment."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from infra.ends import fault_in
from infra.modal_calls import Calls
from infra.modal_turns import Turn, calls, in_hand
from pipeline import Resources
from pipeline.errors import Stopped
from pipeline.job import Job
from pipeline.store import Store
from tests.pipeline.toys import Say

pytest.importorskip("modal")


class Spawning:
    """A function whose next call is spawned while `meanwhile` happens; nobody ever makes it."""

    def __init__(self) -> None:
        self.meanwhile: Any = lambda: None
        self.object_id, self.cancelled, self.waits = "fc-1", False, list[float]()

    def with_options(self, **_: Any) -> Spawning:
        return self

    def spawn(self, *_: Any) -> Spawning:
        self.meanwhile()
        return self

    def cancel(self, *, terminate_containers: bool) -> None:
        self.cancelled = terminate_containers

    def get(self, timeout: float) -> Any:
        self.waits.append(timeout)
        assert len(self.waits) < 9, "it is waited for again and again"
        time.sleep(timeout)
        raise TimeoutError


@pytest.mark.parametrize("verb", ["leave", "cancel"])
def test_a_call_that_is_spawned_while_its_driver_hands_over_goes_on_and_one_that_is_cancelled_does_not(
    verb: str,
) -> None:
    function, noted = Spawning(), list[str]()
    calls = Calls(lambda: function)
    function.meanwhile = getattr(calls, verb)
    assert "it was stopped" in calls.made(Job.of(Say(), [], run="r", store="s"), [], noted.append)
    assert (noted, function.cancelled) == (["fc-1"], verb == "cancel")


@pytest.mark.parametrize("known", ["", "fc-0"], ids=["it was not spawned", "its call was ended"])
def test_of_a_run_that_was_asked_to_stop_no_job_is_called_again(
    known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modal

    class Ended(Spawning):
        def get(self, timeout: float) -> Any:
            raise modal.exception.RemoteError("Input was cancelled by user")

    function, noted, job = (
        Ended(),
        list[str](),
        Job.of(Say(resources=Resources(retries=0)), [], run="r", store=str(tmp_path)),
    )
    monkeypatch.setattr(modal.FunctionCall, "from_id", lambda call: function)
    Store(str(tmp_path)).ask_stop("r", "ann stopped it", "ann")
    fault = fault_in(Calls(lambda: function).made(job, [], noted.append, known))
    assert isinstance(fault, Stopped) and "ann stopped it" in fault.message and not noted


def test_a_call_is_waited_for_no_longer_than_its_driver_lives() -> None:
    function, until = Spawning(), time.monotonic() + 0.3
    assert "it was stopped" in Calls(lambda: function, until).made(Job.of(Say(), [], run="r", store="s"), [])
    assert sum(function.waits) < 0.31


def test_drivers_take_turns_and_one_that_is_started_again_drives_only_while_it_is_its_own() -> None:
    store = Store(f"memory://{uuid.uuid4().hex}/store")
    assert in_hand(store, "r") == ""
    first, second = Turn(store, "r", 1), Turn(store, "r", 2)
    assert first.taken("fc-1") and in_hand(store, "r") == "fc-1"
    assert first.taken("fc-1") and not first.over, "it was started again, and drives on"

    def killed() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.pass_on(killed)
    assert first.taken("fc-1") and first.over, "it has to start another, and no more"
    assert in_hand(store, "r") == "fc-1", "and is the one to ask until then"
    first.pass_on(lambda: "fc-3")
    assert in_hand(store, "r") == "fc-3"
    assert second.taken("fc-2") and not second.taken("fc-3"), "of two the first that begins"
    assert not first.taken("fc-1") and in_hand(store, "r") == "fc-2"
    assert sorted(calls(store, "r", "drivers")) == ["fc-1", "fc-2", "fc-3"], (
        "all are to be ended where the run is stopped"
    )
