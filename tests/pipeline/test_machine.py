"""What a session costs on its machine: its processes, those below it, and what worked for it elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.machine import Beyond, Meter, Metered, Share, usage
from pipeline.manifest import Cost
from pipeline.resources import Resources

CHILD = "import time; data = bytearray(200 * 2**20)\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
LIVING = f"""
import subprocess, sys
meter = Meter()
print(meter.cost().model_dump_json())
with subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.read(1)
    print(meter.cost().model_dump_json())
    child.kill()
print(meter.cost().model_dump_json())
"""
PEAK = """
meter, low = Meter(), Meter().cost()
bytearray(300 * 2**20).clear()
for cost in (low, meter.cost(), Meter().cost()):
    print(cost.model_dump_json())
"""


def measured(script: str) -> list[Cost]:
    """The costs that a script prints, in a process below which nothing else runs: what ends there changes what is held."""
    done = subprocess.run(
        [sys.executable, "-c", f"from pipeline.machine import Meter\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [Cost.model_validate_json(line) for line in done.stdout.splitlines()]


def test_memory_and_cpu_of_a_living_child_count() -> None:
    before, during, after = measured(LIVING)
    assert during.cpu_seconds - before.cpu_seconds >= 0.25 and after.cpu_seconds >= during.cpu_seconds - 0.05
    assert during.peak_bytes - before.peak_bytes > 190 * 2**20 and after.peak_bytes >= during.peak_bytes - 2**20


def test_a_peak_is_of_this_session_alone() -> None:
    low, high, anew = measured(PEAK)
    assert high.peak_bytes > low.peak_bytes + 250 * 2**20 > anew.peak_bytes


def share(process: str, began: float, ended: float, peak: int, cpu: float = 1.0) -> Share:
    return Share(process, began, ended, cpu, peak)


def test_calls_elsewhere_count_their_cpu_and_the_memory_of_those_that_ran_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.machine.usage", lambda: (1.5, 0))  # what runs here meanwhile is none of it
    meter = Meter()
    before = meter.cost()
    for one in (share("a", 0, 2, 100), share("b", 1, 3, 50), share("a", 2, 4, 30), share("c", 9, 10, 120)):
        meter.add(one)
    after = meter.cost()
    assert after.cpu_seconds - before.cpu_seconds == 4
    assert meter._elsewhere == 150


def test_each_cpu_that_shards_held_beyond_the_stages_own_costs_what_one_of_its_own_does() -> None:
    beyond = Beyond(held=1000, lost=100)
    four = Resources(cpus=4, dollars_per_hour=36)
    meter, own = Meter(four, beyond=lambda: beyond), Meter(four)
    cost, lost = meter.cost(), meter.lost()
    assert cost.dollars == pytest.approx(2.5, abs=0.1) and own.cost().dollars == pytest.approx(0, abs=0.1)
    assert (
        lost == Cost(cpu_seconds=100, beyond_cpu_seconds=100, dollars=0.25)
        and cost.cpu_seconds >= 100
        and own.lost() == Cost(dollars=0)
    )
    beside = Meter(Resources(gpu="H100", dollars_per_hour=36), beyond=lambda: beyond).cost().dollars
    assert beside == pytest.approx(0, abs=0.1), "a machine with GPUs is paid for whole"


def test_a_function_here_is_not_counted_twice() -> None:
    meter = Meter()
    value, took = Metered(lambda: usage())()
    meter.add(took)
    assert value and took.process.endswith(f":{os.getpid()}") and meter._elsewhere == 0
