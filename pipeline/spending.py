"""What a run spends, held to its limit: by its driver, and by each of its jobs, which need no driver for it."""

from __future__ import annotations

import contextlib
import threading
import time

from pipeline import chunks, ledger
from pipeline.errors import StoreError
from pipeline.spent import Session
from pipeline.store import Store
from pipeline.tables import dollars
from pipeline.who import who

LOOK_SECONDS = 2.0
"""Between two looks of a job at what the others have spent."""
REMOTE_SECONDS = 20.0
"""The same where each look is some requests to an object store."""


class Spending:
    """Adds up the sessions of a run; once they have cost more than `limit` dollars together, asks it to stop.

    Each stage then stops at its next commit, and no other begins. What nobody counts here (a look ago, or without a price)
    is not held back.
    """

    def __init__(self, store: Store, run: str, limit: float | None) -> None:
        self._store, self._run, self._limit = store, run, limit
        self._sessions: dict[str, float] = {}
        self._newest: dict[chunks.Session, int] = {}
        self._pause, self._looked = REMOTE_SECONDS if store.files.remote else LOOK_SECONDS, float("-inf")
        self._lock = threading.Lock()
        self.over = ""
        """Why the run is to stop; empty while it may go on."""

    def count(self, session: Session) -> None:
        """Count what a session has cost so far."""
        if self._limit is None:
            return
        with self._lock:
            cost = max(session.cost.dollars or 0.0, self._sessions.get(session.session, 0.0))
            self._sessions[session.session] = cost
            spent = sum(self._sessions.values())
            if spent <= self._limit or self.over:
                return
            self.over = f"{dollars(spent)} were spent, and --max-cost is {dollars(self._limit)}"
        with contextlib.suppress(StoreError):  # a store that cannot be written stops the stages by itself
            self._store.ask_stop(self._run, self.over, who())

    def look(self) -> None:
        """Count what the stages of the run have on record, once in a while: those that are over, and those on other machines."""
        if self._limit is None or self.over or time.monotonic() - self._looked < self._pause:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(StoreError):  # the stage itself meets what is wrong with the store
            for session in ledger.sessions(self._store, self._run, self._newest):
                self.count(session)
