"""What an attempt has cost over all its sessions, killed and failed ones included, and how much of that was lost or idle.

Each session keeps one small file, replaced whole at every commit and heartbeat: a kill -9 hides a few seconds of it at most.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import events
from pipeline.errors import StoreError
from pipeline.machine import Meter, Share
from pipeline.machine_load import Load
from pipeline.manifest import Cost

if TYPE_CHECKING:
    from pipeline.files import Files

BEAT_SECONDS = 2.0
TOLD_SECONDS = 1.0
"""Between two commits that are told to who follows the events; what has no price is told at heartbeats, and after long work far away."""


class Session(BaseModel):
    """One session of an attempt: what it cost so far; what had come to stay of that when it last committed or published; and how
    much of it had passed before its stage began: a machine that is held costs, though it does not work yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str
    cost: Cost
    committed: Cost = Cost()
    idle: Cost = Cost()

    @property
    def lost(self) -> Cost:
        """What nothing came of, should this session be over."""
        return less(self.cost, self.committed)

    @property
    def waited(self) -> Cost:
        """What of `idle` is not lost besides."""
        return self.idle if self.committed.wall_seconds else Cost()


def less(cost: Cost, part: Cost) -> Cost:
    """What is left of a cost without a part of it; it has no peak."""
    return Cost(
        wall_seconds=round(cost.wall_seconds - part.wall_seconds, 3),
        cpu_seconds=round(cost.cpu_seconds - part.cpu_seconds, 3),
        gpu_seconds=round(cost.gpu_seconds - part.gpu_seconds, 3),
        beyond_cpu_seconds=round(cost.beyond_cpu_seconds - part.beyond_cpu_seconds, 3),
        dollars=None if cost.dollars is None else round(cost.dollars - (part.dollars or 0), 6),
    )


def total(costs: Iterable[Cost]) -> Cost:
    """The sum, with the highest of the peaks; dollars are unknown where those of any part are."""
    parts = [cost for cost in costs if cost]
    priced = [cost.dollars for cost in parts if cost.dollars is not None]
    return Cost(
        wall_seconds=round(sum(cost.wall_seconds for cost in parts), 3),
        cpu_seconds=round(sum(cost.cpu_seconds for cost in parts), 3),
        gpu_seconds=round(sum(cost.gpu_seconds for cost in parts), 3),
        beyond_cpu_seconds=round(sum(cost.beyond_cpu_seconds for cost in parts), 3),
        peak_bytes=max((cost.peak_bytes for cost in parts), default=0),
        dollars=round(sum(priced), 6) if priced and len(priced) == len(parts) else None,
    )


class Accounts(Protocol):
    """Where accounts are kept beyond this machine."""

    def keep_account(self, name: str, text: bytes) -> None:
        """Keep one under this name, in place of what it said before."""
        ...

    def accounts(self) -> list[bytes]:
        """Those of the sessions before."""
        ...


class Spent:
    """The account of the session that is on, and of those before it, whose files lie in `folder` or `elsewhere`.

    `heard` is called with the account at each commit and heartbeat, and as the session ends.
    """

    def __init__(
        self,
        folder: Path,
        meter: Meter | None = None,
        emit: events.Sink = events.nowhere,
        elsewhere: Accounts | None = None,
        heard: Callable[[Session], None] = lambda session: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._meter, self._emit, self._elsewhere = folder, meter or Meter(), emit, elsewhere
        self._heard = heard
        self._name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
        self._committed, self._over = Cost(), False
        self._beaten, self._load = time.monotonic() - (BEAT_SECONDS if elsewhere else 0), Load()
        self._told, self._kept = float("-inf"), 0.0
        self._lock = threading.Lock()

    def add(self, share: Share) -> None:
        """Count a call that may have run in another process."""
        self._meter.add(share)

    def commit(self) -> None:
        """What was spent until now has led to something that stays."""
        with self._lock:
            now = self._now(commits=True)
            self._write(now)
            far = self._elsewhere and now.committed.wall_seconds - self._kept >= BEAT_SECONDS
            if far or (now.cost.dollars is not None and time.monotonic() - self._told >= TOLD_SECONDS):
                self._tell(now)
            if far:
                with contextlib.suppress(StoreError):  # the next commit meets what is wrong with the store
                    self._keep(now)
        self._heard(now)

    def beat(self) -> None:
        """Bring the account up to date, at most every `BEAT_SECONDS`, and at once the first time where a machine may be lost with it.

        Called by a heartbeat in a thread of its own.
        """
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            with contextlib.suppress(OSError, StoreError):  # the stage itself meets what is wrong with the store
                self.tell()

    def tell(self) -> None:
        """Bring the account up to date, and tell it, and how busy the machine is, to who follows the events."""
        with self._lock:
            if self._over:
                return
            self._beaten, now = time.monotonic(), self._now()
            self._write(now)
            self._tell(now)
            self._emit("machine", values=self._load.now())
            self._keep(now)
        self._heard(now)

    def _keep(self, now: Session) -> None:
        """Keep the account beyond this machine: what it had committed last is not to be taken for lost, should it die."""
        if self._elsewhere:
            self._elsewhere.keep_account(self._file().name, now.model_dump_json().encode())
            self._kept = now.committed.wall_seconds

    def published(self) -> None:
        """The attempt exists, and its scratch has gone: nothing of this session can be lost any more."""
        with self._lock:
            self._over, now = True, self._now(commits=True)
            self._tell(now)
            with contextlib.suppress(OSError):  # a heartbeat may have written while the scratch was removed
                self._file().unlink(missing_ok=True)
                self._folder.rmdir()
                self._folder.parent.rmdir()
        self._heard(now)

    def costs(self) -> tuple[Cost, Cost, Cost]:
        """What the attempt has cost so far; what of it the sessions before this one lost, and what was idle and is not lost.

        Asked for once, to be published.
        """
        with self._lock:
            texts = self._elsewhere.accounts() if self._elsewhere else []
            self._elsewhere = None  # nothing is put there any more that nobody would remove
        known = {session.session: session for session in (*_read(texts), *sessions(self._folder))}
        earlier = [session for name, session in sorted(known.items()) if name != self._name]
        return (
            total([*(session.cost for session in earlier), self._meter.cost()]),
            total([*(session.lost for session in earlier), self._meter.lost()]),
            total([*(session.waited for session in earlier), self._meter.idle]),
        )

    def _now(self, *, commits: bool = False) -> Session:
        cost = self._meter.cost()
        self._committed = less(cost, self._meter.lost()) if commits else self._committed
        return Session(session=self._name, cost=cost, committed=self._committed, idle=self._meter.idle)

    def _tell(self, now: Session) -> None:
        self._told = time.monotonic()
        self._emit("cost", **now.model_dump())

    def _file(self) -> Path:
        return self._folder / f"{self._name}.json"

    def _write(self, session: Session) -> None:
        partial = self._file().with_suffix(".tmp")
        partial.write_text(session.model_dump_json(), encoding="utf-8")
        os.replace(partial, self._file())


def sessions(folder: Path) -> list[Session]:
    """Every session whose file lies in `folder`, oldest first; one that a crash of the machine spoilt is passed over."""
    return _read([path.read_bytes() for path in sorted(folder.glob("*.json"))])


def _read(texts: Iterable[bytes]) -> list[Session]:
    found = []
    for text in texts:
        with contextlib.suppress(ValidationError):
            found.append(Session.model_validate_json(text))
    return found


def kept(files: Files, key: str, code: str) -> Cost:
    """What sessions that were cut short have committed at `key` (``stage/key``) by this code: the next one goes on from there."""
    found = []
    for attempt in files.children(f".partial/{key}"):
        if attempt.endswith(f"-{code[:12]}"):
            folder = f".partial/{key}/{attempt}/spent"
            found += _read(
                [files.read(f"{folder}/{name}") for name in files.children(folder) if name.endswith(".json")]
            )
    return total(session.committed for session in found)
