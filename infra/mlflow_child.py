"""The MLflow run of one stage while it lasts: what its events and manifest become, point by point."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from infra import mlflow_fields as fields
from infra.mlflow_batch import Batch
from pipeline.events import Event
from pipeline.manifest import Manifest

TAIL = 40  # lines of a stage's log kept for the page of a failure
POINTS = 2000  # of one curve, beyond which every second one goes
MEASURED = ("loss", "bits_per_byte", "accuracy")
"""A metric over steps is drawn where one of these words is in its name."""

LOST = "nothing more was heard of it: it was killed, or its machine was lost"


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
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Step and value of what is drawn over a training."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Fault, and the end of the log, of each attempt that came to nothing."""
    built: str = ""
    """Where the run that built it is, for a stage that was found in the store."""
    ended: str = ""
    """The fault that the stage ended with."""
    fault: str = ""
    """Of the attempt that is on, once it has told one."""
    begun: bool = False
    """Whether an attempt has started that has not finished."""
    heard: bool = True
    """Whether `tail` comes from events, and not from what MLflow was told before."""
    note: str = ""
    """Its page, as it was told the last time."""

    def take(self, batch: Batch, event: Event) -> bool:
        """Put an event into `batch`, or into the tail of the log; whether a curve has grown."""
        drawn = False
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
                if event.data.get("step") is not None:
                    drawn = self._draw(key, step, float(value)) or drawn
        elif event.kind == "state":
            self._turn(event)
        elif event.kind == "machine":
            for part, amount in event.data["values"].items():
                key = f"system/{part}"  # MLflow shows these in a tab of their own
                self.point(batch, key, float(amount), event.time, self.steps.get(key, -1) + 1)
        elif event.kind == "cost":
            for part, amount in event.data["cost"].items():
                key = f"cost/{part}"
                if amount:
                    self.point(batch, key, float(amount), event.time, self.steps.get(key, -1) + 1)
        return drawn

    def _turn(self, event: Event) -> None:
        """A new start after one that did not finish: what became of that one is kept beside what comes."""
        state = event.data.get("state")
        if state in ("started", "resumed"):
            if self.begun:
                self.failures.append((self.fault or self.ended or LOST, "\n".join(self.tail)))
                self.tail.clear()
            self.begun, self.fault, self.ended = True, "", ""
        elif state in ("failed", "stopped"):
            self.fault = str(event.data.get("fault", ""))
        elif state in ("finished", "cached"):
            self.begun = False

    def _draw(self, key: str, step: int, value: float) -> bool:
        """Add a point to a curve; whether the metric is drawn."""
        if not any(word in key for word in MEASURED):
            return False
        curve = self.curves.setdefault(key, [])
        while curve and curve[-1][0] >= step:  # it was resumed at an earlier step
            curve.pop()
        curve.append((step, value))
        if len(curve) > POINTS:
            del curve[1::2]
        return True

    def point(self, batch: Batch, key: str, value: float, moment: float, step: int) -> None:
        """One point of a metric at `moment`, in seconds since 1970."""
        self.steps[key], self.values[key] = step, value
        batch.point(self.run, (key, value, int(moment * 1000), step))
