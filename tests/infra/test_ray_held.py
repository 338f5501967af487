"""What the workers of a stage hold on Ray, second by second."""

from __future__ import annotations

import pytest

from infra import ray_held
from infra.ray_held import Held
from pipeline.machine import Beyond


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def beyond(self, held: Held, seconds: float) -> Beyond:
        """What is held beyond after so many seconds more."""
        self.now += seconds
        return held.beyond()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ray_held, "time", clock)
    return clock


def test_a_worker_elsewhere_holds_its_cpu_from_its_first_second_to_its_last(clock: Clock) -> None:
    held = Held(own=1)
    held.begins("far")
    assert clock.beyond(held, 10) == Beyond(held=10)
    held.begins("gang", cpus=3)
    assert clock.beyond(held, 2) == Beyond(held=12 + 6)
    for worker in ("far", "gang", "gang", "never began"):
        held.ends(worker)
    assert clock.beyond(held, 99) == Beyond(held=18)


def test_shards_at_home_work_on_what_the_stage_lends_them_and_what_is_more_is_held_beyond(clock: Clock) -> None:
    held = Held(own=2)
    with held.lends():
        clock.now += 10
        for seconds in (10, 10):
            held.shard(seconds)
        assert held.beyond() == Beyond(), "two at a time, on its own two"
        clock.now += 10
        for seconds in (10, 10, 10):
            held.shard(seconds)
        assert held.beyond() == Beyond(held=10), "three at a time"
        assert clock.beyond(held, 5) == Beyond(held=10), "and it never shrinks while the last is at work"
    assert clock.beyond(held, 99) == Beyond(held=10)


def test_what_one_map_left_of_the_stages_own_is_not_lent_to_the_next(clock: Clock) -> None:
    held = Held(own=4)
    for shards, seconds in ((2, 1000), (16, 100)):
        with held.lends():
            clock.now += seconds
            for _ in range(shards):
                held.shard(seconds)
    assert clock.beyond(held, 99) == Beyond(held=12 * 100)


def test_what_a_lost_worker_had_begun_is_held_and_lost(clock: Clock) -> None:
    held = Held(own=1)
    held.begins("far")
    clock.now += 7
    held.ends("far")
    held.loses(3)
    assert held.beyond() == Beyond(held=7, lost=3)
