"""What ends a stage before it is done: a request to stop, looked for at each commit."""

from __future__ import annotations

import time

from pipeline.errors import Stopped
from pipeline.store import Store

LOOK_SECONDS = 1.0
"""Between two looks into a remote store; a local one is cheap to ask at every commit."""


class StopWatch:
    """Whether a run was asked to stop, asked on behalf of its stage `label`."""

    def __init__(self, store: Store, run: str, label: str) -> None:
        self._store, self._run, self._label = store, run, label
        self._pause = LOOK_SECONDS if "://" in store.url else 0.0
        self._looked = float("-inf")

    def look(self) -> None:
        """Raise Stopped if the run was asked to stop; what the stage has committed is kept."""
        if time.monotonic() - self._looked < self._pause:
            return
        self._looked = time.monotonic()
        if why := self._store.stop_asked(self._run):
            raise Stopped(f"stage {self._label!r} was stopped: {why}", mend="run again to go on from its last commit")
