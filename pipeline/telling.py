"""Tells the trackers of a run, in a thread of its own: a slow or broken tracker never slows or fails a stage.

Nor does it hold up the end of a run for long: what it was not told, `corpusmill track` tells it later.
"""

from __future__ import annotations

import queue
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import Any

from pipeline.store import Store
from pipeline.tracker import State, Tracker

PATIENCE = 90.0
"""Seconds that the end of a run waits for one call of a tracker."""
LONGEST = 150.0
"""Seconds that it waits for all that is still to be told."""
MOST = 100_000
"""Calls that may wait to be told; a tracker so far behind is given up, before it takes the memory of the stages."""


def again(store: Store, runs: Sequence[str], tracker: str) -> str:
    """The command that tells `tracker` of runs once more."""
    words = ["corpusmill", "track", *runs, "--store", store.url]
    return shlex.join(words if tracker == "mlflow" else [*words, "--tracker", tracker])


class Teller:
    """Passes calls on to the trackers in a thread of its own; the first fault of a tracker silences it, as a warning.

    `again` says, by the name of a tracker, which command tells it what it missed.
    """

    def __init__(self, trackers: list[Tracker], warnings: list[str], again: Callable[[str], str]) -> None:
        self.trackers, self.warnings, self._again = trackers, warnings, again
        self.calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._called, self._lock = time.monotonic(), threading.Lock()
        self.thread = threading.Thread(target=self._tell, name="trackers", daemon=True)
        self.thread.start()

    def say(self, verb: str, *arguments: Any) -> None:
        """Call the method `verb` of every tracker, later and in order."""
        if self.calls.qsize() > MOST:
            self._give_up("fell too far behind")
        if self.trackers:
            self.calls.put((verb, arguments))

    def close(self, state: State) -> None:
        """Tell the end, and wait until all that was said is told, or until it is plain that it will not be soon."""
        self.say("finish", state)
        self.calls.put(None)
        began = time.monotonic()
        while self.thread.is_alive():
            now = time.monotonic()
            left = min(max(self._called, began) + PATIENCE, began + LONGEST) - now
            if left <= 0:
                self._give_up("does not answer")
                return
            self.thread.join(min(left, 0.5))

    def _give_up(self, why: str) -> None:
        """Tell nobody any more. The call that is on is left to itself: its thread ends with the process."""
        while self.trackers:
            self._silence(self.trackers[-1], why)

    def _silence(self, tracker: Tracker, why: str) -> None:
        with self._lock:
            if tracker not in self.trackers:  # given up, and then it failed as well
                return
            self.trackers.remove(tracker)
        self.warnings.append(
            f"{tracker.name} stopped recording this run: {why}; to record it later: {self._again(tracker.name)}"
        )

    def _tell(self) -> None:
        while (call := self.calls.get()) is not None:
            verb, arguments = call
            for tracker in list(self.trackers):
                try:
                    self._called = time.monotonic()
                    getattr(tracker, verb)(*arguments)
                except Exception as fault:  # a tracker never fails a run
                    self._silence(tracker, shorten((str(fault) or repr(fault)).splitlines()[0], 160, placeholder="…"))
