"""The MLflow run of one stage while it lasts: what its events and manifest become, point by point."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from infra import mlflow_fields as fields
from infra.mlflow_batch import Batch
from pipeline.events import Event
from pipeline.manifest import Manifest

TAIL = 40  # lines of a stage's log kept for the page of a failure


@dataclass
class Child:
    """The run of one stage, as far as it is known."""

    run: str
    state: str
    began: float
    last: float
    starts: int = 0
    manifest: Manifest | None = None
    values: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    heard: bool = True
    """Whether `tail` comes from events, and not from what MLflow was told before."""

    def take(self, batch: Batch, event: Event) -> None:
        """Put an event into `batch`, or into the tail of the log."""
        if event.kind == "log":
            if not self.heard:
                self.tail.clear()
                self.heard = True
            self.tail.append(str(event.data.get("line", "")))
        elif event.kind == "progress":
            done, total, unit = (event.data.get(part) for part in ("done", "total", "unit"))
            batch.tags(self.run, fields.tags(progress=f"{done}/{total} {unit}" if total else f"{done} {unit}"))
        elif event.kind == "metrics":
            for key, value in event.data["values"].items():
                step = event.data.get("step")
                step = self.steps.get(key, -1) + 1 if step is None else int(step)  # without steps: one after the other
                self.point(batch, fields.name(key), float(value), event.time, step)
        elif event.kind == "machine":
            for part, amount in event.data["values"].items():
                key = f"system/{part}"  # MLflow shows these in a tab of their own
                self.point(batch, key, float(amount), event.time, self.steps.get(key, -1) + 1)
        elif event.kind == "cost":
            for part, amount in event.data["cost"].items():
                key = f"cost/{part}"
                if amount:
                    self.point(batch, key, float(amount), event.time, self.steps.get(key, -1) + 1)

    def point(self, batch: Batch, key: str, value: float, moment: float, step: int) -> None:
        """One point of a metric at `moment`, in seconds since 1970."""
        self.steps[key], self.values[key] = step, value
        batch.point(self.run, (key, value, int(moment * 1000), step))
