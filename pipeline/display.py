"""What a person sees of a run: the plan as a table, live progress, plain lines where there is no terminal, how it ended."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.accounts import ENDS, end_lines, plan_lines
from pipeline.events import Event
from pipeline.manifest import Manifest
from pipeline.outcome import Outcome
from pipeline.plan import Plan
from pipeline.tables import coloured, duration, figure, style
from pipeline.tracker import State

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET_SECONDS = 10.0
STARTING = "starting"
"""What the first bar is called until a stage has begun."""
ELSEWHERE = "another run is making it; waiting"


class Display:
    """Watches one run and writes to `stream`; safe to be called from the run's threads."""

    def __init__(self, dag: str, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.dag, self.colour = dag, coloured(self.stream)
        self._lock = threading.Lock()
        self._live: _Bars | None = None
        self._told: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._waiting: dict[str, str] = {}
        self._first: dict[tuple[str, int], tuple[float, int]] = {}
        self._metrics: dict[str, dict[str, float]] = {}
        self.done: set[str] = set()
        self._takes = {
            "state": self._state,
            "progress": self._progress,
            "metrics": self._values,
            "log": self._log,
            "cost": self._log,
            "machine": self._log,
        }

    def line(self, text: str = "") -> None:
        """One line above whatever moves."""
        if self._live:
            self._live.line(text)
        else:
            print(text, file=self.stream, flush=True)

    def planned(self, plan: Plan, warnings: Sequence[str] = ()) -> None:
        """Show the plan, and what is to be known of it, before anything starts."""
        if plan.complete:
            for entry in plan.entries.values():
                if entry.accepts:
                    self.line(f"{entry.label}: {entry.reason}")
        else:
            for text in plan_lines(plan, self.colour):
                self.line(text)
            self._warn(warnings)
            self.line()
            if self.stream.isatty():
                self._live = _Bars(self.stream)
                self._live.add(STARTING)

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self.line(style(f"warning: {warning}", "yellow", self.colour))

    def event(self, event: Event) -> None:
        """Progress, metrics and states, as they come."""
        with self._lock:
            self._takes[event.kind](event.label, event.time, event.data)

    def _state(self, label: str, at: float, data: dict[str, Any]) -> None:
        state = data["state"]
        if self._live:
            self._live.drop(STARTING)
        if state in ("finished", "cached"):
            self.done.add(label)
        if state in ("started", "resumed"):
            self._started[label] = at
            self._waiting.pop(label, None)
            if self._live:
                self._live.add(label)
            if state == "resumed":
                self.line(f"  {label}: goes on from where it was stopped")
            elif not self._live:
                self.line(f"  {label} …")
        elif state == "waiting" and self._waiting.get(label) != (why := data.get("why", ELSEWHERE)):
            self._waiting[label] = why
            self.line(f"  {label}: {why}")

    def _progress(self, label: str, at: float, data: dict[str, Any]) -> None:
        text = "  ".join(f"{name} {figure(value)}" for name, value in self._metrics.get(label, {}).items())
        if self._live:
            self._live.move(label, data["done"], data["total"], data["unit"], text)
            return
        left = self._eta(label, at, data["done"], data["total"])
        if at - self._told.get(label, self._started.get(label, at)) >= QUIET_SECONDS:
            self._told[label] = at
            of = f"/{data['total']:,}" if data["total"] else ""
            self.line(f"  {label}  {data['done']:,}{of} {data['unit']}{left}  {text}".rstrip())

    def _eta(self, label: str, at: float, done: int, total: int) -> str:
        first_at, first_done = self._first.setdefault((label, total), (at, done))
        if not total or done <= first_done:
            return ""
        return f"  {duration((at - first_at) / (done - first_done) * (total - done))} left"

    def _values(self, label: str, at: float, data: dict[str, Any]) -> None:
        if data["step"] is not None:
            names = [
                name
                for name in ("loss", "bits_per_byte", "tokens_per_second", "steps_per_second", "accuracy")
                if name in data["values"]
            ]
            self._metrics.setdefault(label, {}).update({name: data["values"][name] for name in names})

    def _log(self, label: str, at: float, data: dict[str, Any]) -> None:
        pass  # the log is a file, which `ended` names where it matters; what a stage costs is told at its end

    def ended(self, label: str, state: State, manifest: Manifest | None, fault: str) -> None:
        """One line for each stage that ended."""
        with self._lock:
            if self._live:
                self._live.drop(label)
            if state == "finished" and manifest:
                shown = "  ".join(f"{name} {figure(value)}" for name, value in _headline(manifest).items())
                took = duration(manifest.cost.wall_seconds)
                self.line(f"{style('✓', 'green', self.colour)} {label:<22} {took:>12}  {shown}".rstrip())
            elif state == "failed":
                self.line(f"{style('✗', 'red', self.colour)} {label}: {fault}")
            elif state in ("skipped", "stopped"):
                why = "stopped at a commit" if label in self._started else "not begun when the run was stopped"
                if state == "skipped":
                    why = "skipped, for a stage above it was not made"
                self.line(f"{style('–', 'dim', self.colour)} {label}: {why}")

    @property
    def begun(self) -> list[str]:
        """The stages that began, and have no artifact so far."""
        return [label for label in self._started if label not in self.done]

    def close(self) -> None:
        """Take down what moves, leaving the terminal as it was."""
        if self._live:
            self._live.close()
            self._live = None

    def finished(self, outcome: Outcome) -> None:
        """The end: how many ran, what is wrong, how to go on."""
        self.close()
        if outcome.run:
            self.line()
            for text in end_lines(outcome, self.colour):
                self.line(text)
        self._warn(outcome.warnings)
        counts: Counter[str] = Counter(outcome.states.values())
        words = ", ".join(f"{counts[state]} {state}" for state in ENDS if counts[state])
        forecast = outcome.plan.wall_seconds
        as_planned = all(outcome.states.get(entry.label) == "finished" for entry in outcome.plan.waiting)
        beside = f", forecast {duration(forecast)}" if outcome.run and as_planned and forecast is not None else ""
        verdict = "done" if outcome.ok else "stopped" if outcome.stopped else "failed"
        self.line(f"{self.dag}: {verdict} in {duration(outcome.seconds)}{beside} ({words})")


def _headline(manifest: Manifest) -> dict[str, float]:
    from pipeline.wire import named

    names = getattr(named(manifest.source), "shows", ())
    return {name: manifest.metrics[name] for name in names if name in manifest.metrics}


class _Bars:
    """Live progress bars (rich), one for each stage that runs."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = Console(file=stream, highlight=False, markup=False)
        self.progress: Progress = Progress(
            SpinnerColumn(), TextColumn("{task.description:<22}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(), TimeRemainingColumn(compact=True), TextColumn("{task.fields[text]}"),
            console=self.console, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=5,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.progress.start()

    def line(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text.from_ansi(text), soft_wrap=True)

    def add(self, label: str) -> None:
        if label not in self.tasks:
            self.tasks[label] = self.progress.add_task(label, total=None, unit="", text="")

    def move(self, label: str, done: int, total: int, unit: str, text: str) -> None:
        self.add(label)
        self.progress.update(self.tasks[label], completed=done, total=total or None, unit=unit, text=text)

    def drop(self, label: str) -> None:
        if label in self.tasks:
            self.progress.remove_task(self.tasks.pop(label))

    def close(self) -> None:
        self.progress.stop()
