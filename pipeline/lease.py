"""A lease on one key of a local store: an advisory file lock, so that a killed holder lets go at that moment.

It saves work (the second run waits); correctness rests on each attempt having a directory of its own.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.store_faults import explaining


class Busy(Exception):
    """Another run holds the lease, and who asked for it was not to wait: it would hold a machine meanwhile."""


@contextmanager
def held(path: Path, on_wait: Callable[[], None] = lambda: None, poll_seconds: float = 0.2) -> Iterator[None]:
    """Hold the lock file at `path`; where another process has it, call `on_wait` once and wait."""
    with explaining(str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        told = False
        while not locked(file):
            if not told:
                on_wait()
                told = True
            time.sleep(poll_seconds)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def locked(file: IO[str]) -> bool:
    """Whether the lock of an open file could be had at once, for this process alone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file at `path`."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
