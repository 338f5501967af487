"""Who is told of a run. A tracker reads the event stream in the driver and never fails a stage."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.events import Event
from pipeline.manifest import Manifest

State = Literal["cached", "finished", "failed", "skipped", "stopped", "killed"]
"""How a stage or a run ended; ``killed`` is what a replay says of a run whose driver died."""


class StageRecord(BaseModel):
    """One stage as the run drew it: class, settings, the label behind each input, and what the plan said.

    `attempt` is the place in the store of the attempt that it was cached as; empty where it had to run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    kind: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    state: str
    reason: str
    attempt: str = ""
    expected_seconds: float | None = None
    expected_dollars: float | None = None


class RunRecord(BaseModel):
    """One execution of a dag, written to the store before anything runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    dag: str
    dials: dict[str, Any]
    store: str
    executor: str
    only: str = ""
    """The part that was asked for, as options of the command line; empty where the record holds a whole dag."""
    started: float
    stages: dict[str, StageRecord]
    user: str = ""
    commit: str = ""
    """Of the repository that it was started in; empty outside of one."""


class EndRecord(BaseModel):
    """How a run ended, written to the store when nothing of it runs any more; a run without one was killed.

    `attempts` are the places in the store of what every label ended with, as far as it ended with something.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ended: float
    states: dict[str, State]
    attempts: dict[str, str] = {}
    faults: dict[str, str] = {}
    """What the trackers were told of each label that failed or was stopped."""


def verdict(states: Collection[str]) -> State:
    """How a run ended whose stages ended so."""
    if "failed" in states:
        return "failed"
    return "finished" if set(states) <= {"cached", "finished"} else "stopped"


class Tracker(Protocol):
    """Called by one thread of the driver, in order; what it raises becomes a warning and nothing more.

    A replay (`pipeline.replay`) calls it in the same order, so what is told twice must be kept once.
    """

    name: str

    def start(self, record: RunRecord) -> None:
        """A run begins."""
        ...

    def event(self, event: Event) -> None:
        """Something happened in a stage."""
        ...

    def stage(self, label: str, state: State, manifest: Manifest | None, fault: str = "") -> None:
        """A stage ended: with a manifest when cached or finished, with the message of its fault when failed."""
        ...

    def finish(self, state: State) -> None:
        """The run ended; everything is to be written before this returns."""
        ...
