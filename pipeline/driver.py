"""The driver of a detached run: who has the run in hand, and its beat, by which the store tells that it lives and what it costs."""

from __future__ import annotations

import contextlib
import time
import uuid
from types import TracebackType

from pydantic import BaseModel, ConfigDict

from pipeline.errors import StoreError
from pipeline.machine import Meter
from pipeline.resources import Resources
from pipeline.spent import Session
from pipeline.store import Store
from pipeline.stream import Emitter

HANDLE = "detached.json"
"""In the folder of a run that was handed over to a driver elsewhere."""
REST = "rest.json"
"""In the folder of a detached run: the graph of the jobs that are left to whoever follows it."""
DRIVER = "(driver)"
"""Under this label a driver tells what it costs, as stages do under theirs; no stage can have it."""
BEAT_SECONDS = 30.0
"""Between two beats: each is a request, and they are to cost little beside the driver itself."""
SILENT_SECONDS = 1200.0
"""A run that its driver and its stages have told nothing of for so long is over: a driver that is started again, or follows
another, may wait as long for its machine."""


class Handle(BaseModel):
    """Who has a run in hand: its place as ``--on`` names it, the store that its driver writes to, and the executor's own words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    store: str
    words: dict[str, str]


class Beat:
    """Tells what a driver has cost, for as long as it is entered: every `BEAT_SECONDS`, and when it is asked to.

    `held` is what the driver holds of a machine, which was held for so many seconds of `idle` before.
    """

    def __init__(self, store: Store, run: str, held: Resources, idle: float = 0.0) -> None:
        self._meter, self._emit = Meter(held, idle), Emitter(store, run, DRIVER)
        self._name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
        self._told = time.monotonic()

    def tell(self) -> None:
        """Tell it now. Raises StoreError."""
        self._told, cost = time.monotonic(), self._meter.cost()
        self._emit("cost", **Session(session=self._name, cost=cost, committed=cost).model_dump())
        self._emit.flush()

    def _pulse(self) -> None:
        if time.monotonic() - self._told >= BEAT_SECONDS:
            self.tell()

    def __enter__(self) -> Beat:
        with contextlib.suppress(StoreError):  # a later beat tells it
            self.tell()
        self._emit.pulse = self._pulse
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with contextlib.suppress(StoreError):
            self.tell()
        with contextlib.suppress(StoreError):
            self._emit.close()
