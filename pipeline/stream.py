"""The event stream on disk: a job writes numbered, immutable chunks of JSON lines; the driver follows them.

One file system is all they share, so that progress, metrics and logs look alike on every executor.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.chunks import Chunks, Session
from pipeline.errors import StoreError
from pipeline.events import Event, EventKind
from pipeline.store import Store
from pipeline.withheld import masking

FLUSH_SECONDS = 0.5
REMOTE_SECONDS = 3.0
"""Between two chunks, and between two looks, where each is a request to an object store."""
FIRST_SECONDS = 1.0
"""Between heartbeats until the first that has a pulse, also where the store is far: what is lost soon has told that it was there."""


class Emitter:
    """Writes the events of one job; flushed with each change of state, and by a heartbeat of its own while it is open."""

    def __init__(self, store: Store, run: str, label: str) -> None:
        self._files, self._run, self._label = store.files, run, label
        self._session = Session(label, f"{int(time.time() * 1000):014d}")
        self._number = 0
        self._pending: list[str] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pause = REMOTE_SECONDS if store.files.remote else FLUSH_SECONDS
        self._masked = masking()
        self._closed = threading.Event()
        self.pulse: Callable[[], None] | None = None
        """Called at each heartbeat once it is set, before what is pending is written."""
        self._heart = threading.Thread(target=self._beat, name=f"events-{label}", daemon=True)
        self._heart.start()

    def __call__(self, kind: EventKind, **data: Any) -> None:
        with self._lock:  # the time is taken in it: events stand in the order of their times
            event = Event(label=self._label, kind=kind, data=data)
            self._pending.append(self._masked(event.model_dump_json()))
        if kind == "state":
            self.flush()

    def _beat(self) -> None:
        pause = min(FIRST_SECONDS, self._pause)
        while not self._closed.wait(pause):
            with contextlib.suppress(OSError, StoreError):  # a full disk is told by the stage, not by its heartbeat
                if self.pulse:
                    pause = self._pause
                    self.pulse()
                self.flush()

    def flush(self) -> None:
        """Write what is pending as the next chunk; who emits meanwhile does not wait for the store."""
        with self._writing:
            with self._lock:
                lines, self._pending = self._pending, []
            if not lines:
                return
            try:
                self._create(("\n".join(lines) + "\n").encode())
            except BaseException:
                with self._lock:
                    self._pending = lines + self._pending
                raise

    def _create(self, chunk: bytes) -> None:
        """The next chunk. A number is used up when its chunk is there, also one of which that was not heard: who follows asks
        for one after the other."""
        if not self._number:
            self._files.create(self._session.record(self._run), b"")
        made = False
        while not made:
            made = self._files.create(self._session.chunk(self._run, self._number + 1), chunk)
            self._number += 1

    def close(self) -> None:
        """Flush and stop the heartbeat."""
        self._closed.set()
        self._heart.join()
        self.flush()


class Follower:
    """Reads what the jobs of a run have written since the last look, label by label in order."""

    def __init__(self, store: Store, run: str, labels: list[str]) -> None:
        self._chunks, self._run, self._labels = Chunks(store.files, run), run, labels
        self.complaints: list[str] = []
        self._pause = REMOTE_SECONDS if store.files.remote else 0.0
        self._looked = float("-inf")

    def new(self, *, patient: bool = False) -> Iterator[Event]:
        """Events not returned before. What cannot be read now is read at a later look.

        With `patient`, a store to which each look is a request is not asked again before its time, nor for those who have
        long told nothing.
        """
        if patient and time.monotonic() - self._looked < self._pause:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(StoreError):  # the jobs themselves say what is wrong with the store
            for events in self.each(every=not patient).values():
                yield from events

    def each(self, *, every: bool = True) -> dict[str, Iterator[Event]]:
        """For every label an iterator over its events that were not returned before. Raises StoreError."""
        told: dict[str, list[tuple[Session, Iterator[tuple[int, bytes]]]]] = {label: [] for label in self._labels}
        for session, chunks in self._chunks.new(every=every).items():
            if session.label in told:
                told[session.label].append((session, chunks))
        return {label: self._of(found) for label, found in told.items()}

    def _of(self, told: Sequence[tuple[Session, Iterator[tuple[int, bytes]]]]) -> Iterator[Event]:
        for session, chunks in told:
            for number, data in chunks:
                for line in data.decode(errors="replace").rstrip("\n").split("\n"):
                    try:
                        yield Event.model_validate_json(line)
                    except ValidationError:
                        self.complaints.append(f"{session.chunk(self._run, number)} holds a line that is no event")


class LineWriter:
    """A text stream that turns whole lines into log events; what a stage prints lands in its log, never on the terminal.

    A secret of the environment gives way to its name.
    """

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, emit: Emitter, log: Path) -> None:
        self._emit, self._rest, self._masked = emit, "", masking()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._file = log.open("a", encoding="utf-8")

    def write(self, text: str) -> int:
        """Take text; each line that it completes is an event. Half a character (a lone surrogate) becomes ``?``."""
        size = len(text)
        text = self._masked(text.encode("utf-8", self.errors).decode("utf-8"))
        self._file.write(text)
        *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
        for line in lines:
            if line.strip():
                self._emit("log", line=line)
        return size

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def fileno(self) -> int:
        """The log file's descriptor, for what writes below Python."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
