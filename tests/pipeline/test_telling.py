"""Trackers are told in a thread of their own: in order, to the end, and without holding up the one who tells."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pipeline.telling import PATIENCE, Teller
from tests.pipeline.clocks import Clock


class Ear:
    """A tracker that keeps what it hears, may be slow, and may break at one verb."""

    def __init__(self, name: str, breaks_at: str = "", fault: str = "") -> None:
        self.name, self.breaks_at, self.fault = name, breaks_at, fault
        self.heard: list[str] = []
        self.called, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __getattr__(self, verb: str) -> Any:
        def hear(*_: object) -> None:
            self.called.set()
            self.go.wait(120)
            if verb == self.breaks_at:
                raise RuntimeError(self.fault)
            self.heard.append(verb)

        return hear


def test_all_that_was_said_is_told_in_order_before_the_end() -> None:
    ear = Ear("ear")
    ear.go.clear()
    teller = Teller([ear], [], "track {}".format)
    for verb in ("start", "event", "event", "stage"):
        teller.say(verb, 1)
    assert ear.heard == [], "the one who tells does not wait"
    ear.go.set()
    teller.close("finished")
    assert ear.heard == ["start", "event", "event", "stage", "finish"] and not teller.thread.is_alive()


def test_a_broken_tracker_is_silenced_once_and_the_others_go_on() -> None:
    warnings: list[str] = []
    broken, whole = Ear("broken", "event", "disk full\nat line 3"), Ear("whole")
    mute = Ear("mute", "start")
    teller = Teller([broken, mute, whole], warnings, "track {}".format)
    for verb in ("start", "event", "event"):
        teller.say(verb, 1)
    teller.close("failed")
    assert broken.heard == ["start"] and mute.heard == [] and whole.heard == ["start", "event", "event", "finish"]
    assert warnings == [
        "mute stopped recording this run: RuntimeError(''); to record it later: track mute",
        "broken stopped recording this run: disk full; to record it later: track broken",
    ]


def test_a_tracker_that_answers_no_more_holds_up_the_end_only_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.telling.PATIENCE", 0.3)
    warnings: list[str] = []
    deaf = Ear("deaf")
    deaf.go.clear()
    teller = Teller([deaf], warnings, "track {}".format)
    teller.say("start", 1)
    assert deaf.called.wait(60)
    began = time.monotonic()
    teller.close("finished")
    assert 0.3 <= time.monotonic() - began < 60, "the call takes two minutes"
    assert warnings == ["deaf stopped recording this run: does not answer; to record it later: track deaf"]
    deaf.go.set()
    teller.thread.join(60)
    assert deaf.heard == ["start"], "the call that was on ends; none follows it"


class Watched(Clock):
    """A clock that knows when the thread that made it looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looked, self._owner = threading.Condition(), threading.current_thread()

    def monotonic(self) -> float:
        if threading.current_thread() is not self._owner:
            return super().monotonic()
        with self.looked:
            self.looked.notify_all()
            return super().monotonic()


@pytest.mark.parametrize(("events", "whole"), [(2, True), (100, False)])
def test_a_tracker_that_is_slow_but_moves_on_is_waited_for_within_a_bound(
    monkeypatch: pytest.MonkeyPatch, events: int, whole: bool
) -> None:
    clock = Watched()
    monkeypatch.setattr("pipeline.telling.time", clock)

    class Slow(Ear):
        """Takes a minute for an event, and ends no call before who waits for it has looked at the clock."""

        def event(self, _: object) -> None:
            with clock.looked:
                clock.looked.wait(60)
                clock.sleep(60)
            self.heard.append("event")

        def finish(self, _: object) -> None:
            with clock.looked:
                clock.looked.wait(60)
            self.heard.append("finish")

    warnings: list[str] = []
    slow = Slow("slow")
    teller = Teller([slow], warnings, "track {}".format)
    for _ in range(events):
        teller.say("event", 1)
    teller.close("finished")
    heard = len(slow.heard)
    assert clock.passed > PATIENCE and (slow.heard[-1] == "finish", not warnings) == (whole, whole)
    while teller.thread.is_alive():
        clock.monotonic()
        teller.thread.join(0.1)
    assert len(slow.heard) <= heard + 1, "the call that was on ends; none follows it"


def test_a_tracker_that_falls_far_behind_is_given_up_before_it_takes_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.telling.MOST", 50)
    warnings: list[str] = []
    deaf = Ear("deaf")
    deaf.go.clear()
    teller = Teller([deaf], warnings, "track {}".format)
    for _ in range(1000):
        teller.say("event", 1)
    assert teller.calls.qsize() < 60 and [line.partition(";")[0] for line in warnings] == [
        "deaf stopped recording this run: fell too far behind"
    ]
    deaf.go.set()
    teller.close("finished")
