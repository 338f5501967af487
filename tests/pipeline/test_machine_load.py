"""How busy the machine is, from /proc alone; and that a stage's heartbeat tells it."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import Resources
from pipeline.machine import machine
from pipeline.machine_load import Load, gpu_names
from pipeline.spent import Spent
from tests.pipeline.clocks import stopped

MACHINE = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}


def test_cpu_and_memory_are_told_within_their_bounds_and_cheaply() -> None:
    load = Load()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    found = load.now()
    assert set(found) >= MACHINE and found["cpu_utilization_percentage"] > 0
    assert all(0 <= value <= 100 for name, value in found.items() if name.endswith("percentage"))
    began = time.thread_time()
    for _ in range(100):
        load.now()
    assert (time.thread_time() - began) / 100 < 0.005


def test_idle_time_that_the_system_takes_back_makes_no_machine_busier_than_it_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter([(100, 200), (90, 210), (105, 220)])
    monkeypatch.setattr("pipeline.machine_load._ticks", lambda: next(ticks))
    load = Load()
    assert [load.now()["cpu_utilization_percentage"] for _ in range(2)] == [100, 0]


def test_a_machine_that_tells_nothing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", absent)
    assert not MACHINE & set(Load().now())


def test_each_heartbeat_tells_one_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(monkeypatch, "pipeline.spent")
    told: list[tuple[str, dict[str, object]]] = []
    spent = Spent(tmp_path / "spent", emit=lambda kind, **data: told.append((kind, data)))
    spent.beat()
    assert told == [], "not before its time"
    spent.tell()
    spent.tell()
    points = [data["values"] for kind, data in told if kind == "machine"]
    assert len(points) == 2 and all(
        isinstance(values, dict) and set(values) >= MACHINE - {"cpu_utilization_percentage"} for values in points
    )


class Library:
    """NVIDIA's library on a machine with two GPUs, as far as it is asked."""

    def __getattr__(self, name: str) -> Any:
        return getattr(type(self), name.removesuffix("_v2"))

    @staticmethod
    def nvmlInit() -> int:
        return 0

    @staticmethod
    def nvmlDeviceGetCount(count: Any) -> int:
        count._obj.value = 2
        return 0

    @staticmethod
    def nvmlDeviceGetHandleByIndex(number: Any, handle: Any) -> int:
        handle._obj.value = number.value + 1
        return 0

    @staticmethod
    def nvmlDeviceGetName(handle: Any, name: Any, size: int) -> int:
        name.value = f"NVIDIA H{handle.value}00".encode()
        return 0

    @staticmethod
    def nvmlDeviceGetUtilizationRates(handle: Any, use: Any) -> int:
        use._obj[0] = 10 * handle.value
        return 0

    @staticmethod
    def nvmlDeviceGetMemoryInfo(handle: Any, memory: Any) -> int:
        memory._obj[:] = [80_000_000, 60_000_000, 20_000_000]
        return 0


def test_each_gpu_that_may_be_used_is_told_by_its_place_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    both = Load().now()
    assert (both["gpu_0_utilization_percentage"], both["gpu_1_utilization_percentage"]) == (10, 20)
    assert (both["gpu_0_memory_usage_megabytes"], both["gpu_0_memory_usage_percentage"]) == (20, 25)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    one = Load().now()
    assert one["gpu_0_utilization_percentage"] == 20 and "gpu_1_utilization_percentage" not in one


def test_the_record_names_the_gpus_that_were_held_and_none_that_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names() == ["NVIDIA H100", "NVIDIA H200"]
    assert machine(Resources(gpus=1))["gpu"] == "NVIDIA H100"
    assert "gpu" not in machine(Resources()) and "gpu" not in machine()
