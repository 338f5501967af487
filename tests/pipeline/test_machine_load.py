"""How busy the machine is, from /proc alone; and that a stage's heartbeat tells it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.machine_load import Load
from pipeline.spent import Spent

MACHINE = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}


def test_cpu_and_memory_are_told_within_their_bounds_and_cheaply() -> None:
    load = Load()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    found = load.now()
    assert set(found) >= MACHINE and found["cpu_utilization_percentage"] > 0
    assert all(0 <= value <= 100 for name, value in found.items() if name.endswith("percentage"))
    began = time.process_time()
    for _ in range(100):
        load.now()
    assert (time.process_time() - began) / 100 < 0.005


def test_a_machine_that_tells_nothing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", absent)
    assert not MACHINE & set(Load().now())


def test_each_heartbeat_tells_one_point(tmp_path: Path) -> None:
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
