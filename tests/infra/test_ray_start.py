"""How Ray begins, and what a person reads where it does not."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.kept import RayHost
from infra.ray_executor import RayExecutor
from pipeline import StageFailed
from tests.executors.helpers import SECONDS, Hand
from tests.pipeline.toys import Say


@pytest.mark.parametrize("first", ["never ready", "a raylet that dies"])
def test_a_ray_that_does_not_come_up_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    answers: list[str] = []
    answer = RayHost.answer

    def not_at_first(self: RayHost, seconds: float) -> dict[str, Any]:
        if not answers and first == "a raylet that dies":
            _raylet_of(self).kill()
        found = answer(self, 0.1 if not answers and first == "never ready" else seconds)
        answers.append(found.get("lost", "ready"))
        return found

    monkeypatch.setattr(RayHost, "answer", not_at_first)
    hand, began = Hand(RayExecutor(cpus=1), tmp_path / "store"), time.monotonic()
    try:
        assert hand.text(hand.made(Say(words=("one",)))) == "one"
        assert answers == ["not ready within 0 s" if first == "never ready" else _DIED, "ready"]
        assert time.monotonic() - began < 100, "a raylet that died is not waited for"
    finally:
        hand.executor.close(cancel=True)


_DIED = "Ray did not start: its raylet died as it started"


def _raylet_of(host: RayHost) -> psutil.Process:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for process in psutil.Process(host.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == "raylet":
                    return process
        time.sleep(0.001)
    raise TimeoutError("no raylet began")


def test_a_cluster_of_other_versions_is_told_with_both() -> None:
    from ray._private.utils import check_version_info

    from infra.ray_start import why_not

    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": "2.0.0", "python_version": "3.9.1"}, "Ray Client", True, "minor")
    told = why_not(raised.value, "ray://head:10001")
    assert told["lost"].startswith(
        "the cluster at ray://head:10001 has Ray 2.0.0 and Python 3.9.1, and this machine Ray "
    )
    assert "constraints.txt" in told["mend"] and not told.get("again")


def test_an_address_where_no_cluster_is_is_told_with_what_to_look_for(tmp_path: Path) -> None:
    executor = RayExecutor(address="ray://127.0.0.1:1")
    with pytest.raises(StageFailed, match=r"answers at ray://127.0.0.1:1 \(Connection refused\)") as raised:
        Hand(executor, tmp_path / "store").made(Say())
    assert "ray start --head --ray-client-server-port" in raised.value.mend
    executor.close(cancel=True)
