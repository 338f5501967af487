"""How a run ended: what whoever began or followed it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.entry import Entry
from pipeline.manifest import Cost, Manifest
from pipeline.plan import Plan
from pipeline.store import Store
from pipeline.tracker import State


@dataclass
class Outcome:
    """How a run ended: a state for each label, a manifest for each that is cached or finished, the fault of each that failed
    or was stopped; what this run spent on each, as far as it came to an end."""

    store: Store
    plan: Plan
    run: str = ""
    states: dict[str, State] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    faults: dict[str, BaseException] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    detached: bool = False
    """Whether it goes on without this process: `pipeline.attaching` tells how it ends."""

    @property
    def ok(self) -> bool:
        """Whether every stage has its artifact."""
        return all(self.states.get(label) in ("cached", "finished") for label in self.plan.entries)

    @property
    def left(self) -> list[Entry]:
        """What has not ended."""
        return [entry for label, entry in self.plan.entries.items() if label not in self.states]

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop, and nothing failed."""
        return "stopped" in self.states.values() and "failed" not in self.states.values()

    def data(self, label: str) -> Path:
        """The local directory of the artifact that the stage `label` made."""
        return self.store.data(self.manifests[label])
