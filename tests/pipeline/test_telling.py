"""Trackers are told in a thread of their own: in order, to the end, and without holding up the one who tells."""

from __future__ import annotations

import threading
from typing import Any

from pipeline.telling import Teller


class Ear:
    """A tracker that keeps what it hears, may be slow, and may break at one verb."""

    def __init__(self, name: str, breaks_at: str = "", fault: str = "") -> None:
        self.name, self.breaks_at, self.fault = name, breaks_at, fault
        self.heard: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def __getattr__(self, verb: str) -> Any:
        def hear(*_: object) -> None:
            self.go.wait(10)
            if verb == self.breaks_at:
                raise RuntimeError(self.fault)
            self.heard.append(verb)

        return hear


def test_all_that_was_said_is_told_in_order_before_the_end() -> None:
    ear = Ear("ear")
    ear.go.clear()
    teller = Teller([ear], [])
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
    teller = Teller([broken, mute, whole], warnings)
    for verb in ("start", "event", "event"):
        teller.say(verb, 1)
    teller.close("failed")
    assert broken.heard == ["start"] and mute.heard == [] and whole.heard == ["start", "event", "event", "finish"]
    assert warnings == [
        "mute stopped recording this run: RuntimeError('')",
        "broken stopped recording this run: disk full",
    ]
