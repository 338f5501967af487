"""A lease on one key of an object store: a small object that its holder renews, and that others watch by their own clocks.

It saves work (the second run waits); correctness rests on each attempt having a directory of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.depot import taken_over
from pipeline.errors import StoreError
from pipeline.files import Files

PERIOD = 5.0
"""Seconds between two renewals. A lease that is not renewed for three of them is dead."""


class Lease:
    """One holder's claim on the object `name`; `check` raises StoreError once another has taken it over.

    `of` says on whose behalf it is held, where that is one holder at a time: the one before it is then known to be dead.
    """

    def __init__(self, files: Files, name: str, of: str = "") -> None:
        self._files, self._name, self._of = files, name, of
        self._holder, self._count = uuid.uuid4().hex, 0
        self._over, self._lost = threading.Event(), False
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def acquire(self, on_wait: Callable[[], None]) -> None:
        """Wait until the lease is free or its holder dead, and take it.

        `on_wait` is called once the holder is known to live; it may raise, where who asks is not to wait.
        """
        watched, since, told = b"", time.monotonic(), False
        while not self._files.create(self._name, self._text()):
            seen = self._seen()
            if seen is None:
                continue
            lives = False if self._of and _read(seen).get("of") == self._of else _lives(seen)
            if seen != watched:
                if watched and lives is None:
                    lives = True  # it was renewed under our eyes
                watched, since = seen, time.monotonic()
            if (lives is False or time.monotonic() - since > 3 * PERIOD) and self._take_over():
                break
            if lives and not told:
                on_wait()
                told = True
            time.sleep(PERIOD / 5)
        self._heart.start()

    def _take_over(self) -> bool:
        """Overwrite, and look after a moment whether another did the same."""
        self._files.replace(self._name, self._text())
        time.sleep(PERIOD / 10)
        return self._is_ours()

    def release(self) -> None:
        """Stop renewing, and remove the object if it is still ours."""
        self._over.set()
        self._heart.join()
        with contextlib.suppress(StoreError):  # unreachable: it dies of itself
            if self._is_ours():
                self._files.remove(self._name)

    def check(self) -> None:
        """Raise StoreError where another run holds the lease now."""
        if self._lost:
            raise taken_over(self._name.removeprefix(".partial/").removesuffix("/lease"))

    def _beat(self) -> None:
        while not self._over.wait(PERIOD):
            with contextlib.suppress(StoreError):  # the stage itself meets what is wrong with the store
                if not self._is_ours():
                    self._lost = True
                    return
                self._count += 1
                self._files.replace(self._name, self._text())

    def _text(self) -> bytes:
        said = {"holder": self._holder, "of": self._of, "count": self._count, "process": _process(os.getpid())}
        return json.dumps(said).encode()

    def _seen(self) -> bytes | None:
        try:
            return self._files.read(self._name)
        except FileNotFoundError:
            return None

    def _is_ours(self) -> bool:
        return _read(self._seen() or b"").get("holder") == self._holder


def live(files: Files, names: Iterable[str]) -> set[str]:
    """Those of the leases `names` that somebody renews; takes as long as it takes for a dead one to be taken over."""

    def read() -> dict[str, bytes]:
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = files.read(name)
        return found

    names = list(names)
    before = read()
    if before:
        time.sleep(3 * PERIOD)
    return {name for name, text in read().items() if text != before.get(name)}


@contextmanager
def kept(files: Files, name: str, on_wait: Callable[[], None] = lambda: None, of: str = "") -> Iterator[Lease]:
    """Hold the lease `name` of an object store, renewed by a heartbeat."""
    lease = Lease(files, name, of)
    lease.acquire(on_wait)
    try:
        yield lease
    finally:
        lease.release()


def _read(text: bytes) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _process(pid: int) -> list[Any]:
    """What tells a process from every other, ever: boot, namespace of process ids, id, start. Empty where that is not known."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in "ZX":
            return []
        started = fields[18]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return [boot, os.readlink("/proc/self/ns/pid"), pid, started]
    except (OSError, IndexError):
        return []


def _lives(text: bytes) -> bool | None:
    """Whether the holder lives, where it is a process of this very machine; None where that cannot be seen from here."""
    process = _read(text).get("process")
    ours = _process(os.getpid())
    if not ours or not isinstance(process, list) or len(process) != 4 or process[:2] != ours[:2]:
        return None
    return _process(int(process[2])) == process
