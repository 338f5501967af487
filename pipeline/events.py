"""The one stream of what happens inside a run: progress, metrics, logs and states, told as small JSON records."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

EventKind = Literal["state", "progress", "metrics", "log", "cost", "machine"]


class Event(BaseModel):
    """One thing that happened to the stage `label`, at `time` (seconds since 1970).

    `data` by kind: state ``{state, …}`` with state one of waiting, started, resumed, finished, cached, failed, stopped, and
    of one that waits for something other than another run `why`;
    progress ``{done, total, unit}`` (total 0: unknown); metrics ``{step, values}``; log ``{line}``;
    cost ``{session, cost, committed, idle}`` (pipeline.spent.Session): what one session of an attempt has cost so far;
    machine ``{values}``: how busy the machine is where the stage runs (pipeline.machine_load).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    kind: EventKind
    time: float = Field(default_factory=time.time)
    data: dict[str, Any]


class Sink(Protocol):
    """Anything that takes events: the emitter of a job, a list in a test."""

    def __call__(self, kind: EventKind, **data: Any) -> None: ...


def nowhere(kind: EventKind, **data: Any) -> None:
    """A sink that forgets; for a stage run outside any run."""
