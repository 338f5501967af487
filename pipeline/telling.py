"""Tells the trackers of a run, in a thread of its own: a slow or broken tracker never slows or fails a stage."""

from __future__ import annotations

import queue
import threading
from typing import Any

from pipeline.tracker import State, Tracker


class Teller:
    """Passes calls on to the trackers in a thread of its own; the first fault of a tracker silences it, as a warning."""

    def __init__(self, trackers: list[Tracker], warnings: list[str]) -> None:
        self.trackers, self.warnings = trackers, warnings
        self.calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._tell, name="trackers", daemon=True)
        self.thread.start()

    def say(self, verb: str, *arguments: Any) -> None:
        """Call the method `verb` of every tracker, later and in order."""
        self.calls.put((verb, arguments))

    def close(self, state: State) -> None:
        """Tell the end, and wait until all that was said is told."""
        self.say("finish", state)
        self.calls.put(None)
        self.thread.join()

    def _tell(self) -> None:
        while (call := self.calls.get()) is not None:
            verb, arguments = call
            for tracker in list(self.trackers):
                try:
                    getattr(tracker, verb)(*arguments)
                except Exception as fault:  # a tracker never fails a run
                    self.trackers.remove(tracker)
                    first = (str(fault) or repr(fault)).splitlines()[0]
                    self.warnings.append(f"{tracker.name} stopped recording this run: {first}")
