"""Follows the events of a run in a thread of its own: trackers are told, the terminal is shown, and spending is held to its limit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from pipeline.events import Event
from pipeline.manifest import Manifest
from pipeline.plan import Plan
from pipeline.spending import Spending
from pipeline.spent import Session
from pipeline.store import Store
from pipeline.stream import Follower
from pipeline.telling import Teller
from pipeline.tracker import State

POLL_SECONDS = 0.2


class Observer(Protocol):
    """Who watches a run from the terminal; `event` comes from another thread than the other calls."""

    def planned(self, plan: Plan, warnings: Sequence[str]) -> None: ...

    def event(self, event: Event) -> None: ...

    def ended(self, label: str, state: State, manifest: Manifest | None, fault: str) -> None: ...


class Watcher:
    """Watches the run for as long as it is entered; `ended` says from the driver's thread how a stage ended."""

    def __init__(
        self, store: Store, run: str, labels: list[str], teller: Teller, observer: Observer | None, limit: float | None
    ) -> None:
        self._follower, self._spending = Follower(store, run, labels), Spending(store, run, limit)
        self._teller, self._observer = teller, observer
        self._ended: queue.SimpleQueue[tuple[str, State, Manifest | None, str]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def ended(self, label: str, state: State, manifest: Manifest | None, fault: str) -> None:
        """Pass on that a stage ended, after the events that it wrote."""
        self._ended.put((label, state, manifest, fault))

    def _follow(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(POLL_SECONDS)
            ended = []
            while not self._ended.empty():
                ended.append(self._ended.get())
            for event in self._follower.new(patient=not (last or ended)):
                if event.kind == "cost":
                    self._spending.count(Session.model_validate(event.data))
                self._teller.say("event", event)
                if self._observer:
                    self._observer.event(event)
            for end in ended:
                self._teller.say("stage", *end)
                if self._observer:
                    self._observer.ended(*end)
