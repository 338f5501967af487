"""The CPUs that workers of one stage hold beyond the stage's own, on its machine and on others: they are paid for too."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from pipeline.machine import Beyond


class Held:
    """What is held, over time. Where a stage maps, Ray lends the `own` CPUs that the stage holds to its shards."""

    def __init__(self, own: float) -> None:
        self.own = own
        self._since = dict[Hashable, tuple[float, float]]()
        self._ended = self._lost = self._shards = self._most = 0.0
        self._lending: float | None = None
        self._lock = threading.Lock()

    def begins(self, worker: Hashable, cpus: float = 1.0) -> None:
        """A worker holds so many CPUs that are none of the stage's, from now on."""
        with self._lock:
            self._since[worker] = time.monotonic(), cpus

    def ends(self, worker: Hashable) -> None:
        """It holds them no more, if it did."""
        with self._lock:
            if worker in self._since:
                self._ended += self._seconds(worker)
                del self._since[worker]

    def loses(self, seconds: float) -> None:
        """What a worker did in its last seconds is to be made again."""
        with self._lock:
            self._lost += seconds

    @contextmanager
    def lends(self) -> Iterator[None]:
        """The stage lends its own CPUs to one map meanwhile."""
        with self._lock:
            self._lending = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._ended += self._net()
                self._shards = self._most = 0.0
                self._lending = None

    def shard(self, seconds: float) -> None:
        """A shard has ended that held a CPU of the stage's machine for so long: its own, or one more."""
        with self._lock:
            self._shards += seconds

    def beyond(self) -> Beyond:
        """All of it until now."""
        with self._lock:
            return Beyond(self._ended + sum(map(self._seconds, self._since)) + self._net(), self._lost)

    def _net(self) -> float:
        """What the shards at home held in this map beyond what the stage lent them; it never shrinks."""
        if self._lending is not None:
            self._most = max(self._most, self._shards - self.own * (time.monotonic() - self._lending))
        return self._most

    def _seconds(self, worker: Hashable) -> float:
        since, cpus = self._since[worker]
        return (time.monotonic() - since) * cpus
