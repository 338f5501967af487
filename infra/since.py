"""Since when a process runs, a machine is up, and a machine that was started for a run is paid for and does not work."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.lease import locked


def booted() -> float:
    """When this machine booted, in seconds since 1970: that of a container is its host's. Raises OSError, IndexError, ValueError."""
    return float(Path("/proc/stat").read_text().split("btime ")[1].split()[0])


def began(process: int | str = "self") -> float:
    """When a process began, in seconds since 1970; now, where the system does not tell."""
    try:
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        return min(booted() + ticks / os.sysconf("SC_CLK_TCK"), time.time())
    except (OSError, IndexError, ValueError):
        return time.time()


def held(asked: float, ready: float) -> float | None:
    """Since when this machine is held for a stage that asked for one when it was not there; None where it was (`asked` is 0).

    A machine that booted after it was asked for is held since then, else since what runs stages began here (`ready`).
    """
    try:
        boot = booted()
    except (OSError, IndexError, ValueError):
        boot = 0.0
    return (boot if boot > asked else ready) if asked else None


class Idle:
    """How long a machine was held for a run without working, until the stage that begins on it now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since = time.time() - seconds if seconds else None
        self.counted = True

    def keep(self) -> None:
        """The stage does not count it, since it did not come to work: it is for the next one."""
        self.counted = False


@contextmanager
def working(mark: Path, run: str = "", start: float | None = None) -> Iterator[Idle]:
    """Work on this machine for a while, as a stage of `run` for which it is held since `start`, or only for a part of one.

    The first stage decides: a machine that was started for it is idle, for its run alone, whenever nothing works on it. The
    files at `mark` keep that, and lose a killed worker's time rather than count it twice. Where they cannot be written, work
    goes on without them.
    """
    idle, busy = Idle(0.0), None
    with suppress(OSError):
        busy = mark.with_suffix(".busy").open("a")
        idle = _begins(mark, busy, run, start)
    try:
        yield idle
    finally:
        with suppress(OSError):
            if busy:
                _ends(mark, busy, idle)
                busy.close()


def _begins(mark: Path, busy: IO[str], run: str, start: float | None) -> Idle:
    with _record(mark) as record:
        alone, now = locked(busy), time.time()
        if record["owner"] is None and run:
            record["owner"] = "" if start is None else run
            record["idle"] = now - max(start or now, record["rests"]) if alone else 0.0
        elif alone and record["rests"]:
            record["idle"] += now - record["rests"]
        mine = bool(run) and record["owner"] == run
        idle = Idle(record["idle"] if mine else 0.0)
        record["rests"], record["idle"] = 0.0, 0.0 if mine else record["idle"]
        fcntl.flock(busy, fcntl.LOCK_SH)
    return idle


def _ends(mark: Path, busy: IO[str], idle: Idle) -> None:
    with _record(mark) as record:
        record["idle"] += 0.0 if idle.counted else idle.seconds
        fcntl.flock(busy, fcntl.LOCK_UN)
        record["rests"] = time.time() if locked(busy) else 0.0
        fcntl.flock(busy, fcntl.LOCK_UN)  # closing it would not do, where a process that was forked meanwhile lives on


@contextmanager
def _record(mark: Path) -> Iterator[dict[str, Any]]:
    """What is known of the machine, by one process at a time: whose it is, seconds not told yet, since when nothing works on it."""
    with mark.with_suffix(".json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            record = json.load(file)
        except ValueError:  # there is none, or a kill has spoilt it
            record = {"owner": None, "idle": 0.0, "rests": 0.0}
        yield record
        file.seek(0)
        file.truncate()
        json.dump(record, file)
