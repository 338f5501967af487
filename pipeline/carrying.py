"""Carries artifacts and what happened between a store that is a folder of this machine and one that another machine sees.

Only what is missing travels. What arrives is verified, and counts once its manifest, which comes last, is there.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import digest, verified
from pipeline.chunks import Chunks, listed
from pipeline.digest import FileRecord
from pipeline.errors import StoreError
from pipeline.files import LocalFiles
from pipeline.manifest import Manifest
from pipeline.object_files import ObjectFiles, together
from pipeline.store import Store, place_of
from pipeline.store_faults import Unsound, explaining

SECONDS = 1.5
"""Between two looks for what happened there: each is a request."""

Told = Callable[[int, int], None]
"""Is told of bytes: how many have arrived, of how many."""


def nobody(done: int, total: int) -> None:
    """Is told, and forgets."""


class Carrier:
    """Between `here`, a local store, and `there`."""

    def __init__(self, here: Store, there: Store) -> None:
        assert isinstance(here.files, LocalFiles) and isinstance(there.files, ObjectFiles)
        self.here, self.there = here, there
        self._near, self._far = here.files, there.files
        self._lock = threading.Lock()
        self.sent = self.fetched = 0

    def up(self, made: Manifest, told: Told = nobody) -> None:
        """See to it that the artifact is there. Raises StoreError where its data is not here, or not as recorded."""
        place = place_of(made)
        known = self.there.manifest(place)
        if known is not None and not self.there.is_dropped(known):
            return
        trees = {"data": (self.here.data(made), made.files)}
        if made.resume and self.here.has_resume(made):
            trees["resume"] = (self.here.resume(made), made.resume)
        files = [(folder / name, f"{place}/{tree}/{name}") for tree, (folder, names) in trees.items() for name in names]
        count = _Count(sum(path.stat().st_size for path, _ in files), told)

        def put(one: tuple[Path, str]) -> None:
            self._far.put(*one)
            count.add(one[0].stat().st_size)

        together(put, files)
        self._far.remove(f"{place}/dropped.json")
        self._far.create(f"{place}/manifest.json", made.model_dump_json(indent=1).encode())
        with self._lock:
            self.sent += count.done

    def down(self, made: Manifest, told: Told = nobody) -> None:
        """See to it that the artifact is here, as its manifest says. What a cut-off fetch brought is not fetched again."""
        place = place_of(made)
        known = self.here.manifest(place)
        if known is not None and not self.here.is_dropped(known):
            return
        trees = {"data": made.files, "resume": made.resume}
        arriving = self.here.local / ".partial" / made.stage / made.key / f"arriving-{made.attempt}"
        total = sum(record.size for files in trees.values() for record in files.values())
        count = _Count(total, told)
        for tree, files in trees.items():
            if files or tree == "data":
                self._fetch(f"{place}/{tree}", files, arriving / tree, count)
        for name in set(made.rendered) & set(self._far.below(f"{place}/data")):
            with contextlib.suppress(FileNotFoundError, StoreError):  # it is no content: nothing fails without it
                (arriving / "data" / name).write_bytes(self._far.read(f"{place}/data/{name}"))
        with explaining(self.here.url):
            for tree in trees:
                if (arriving / tree).exists():
                    shutil.rmtree(self.here.local / place / tree, ignore_errors=True)
                    stamps = {name: verified.stamp(arriving / tree / name) for name in trees[tree]}
                    self._near.publish(arriving / tree, f"{place}/{tree}", stamps)
            (self.here.local / place / "dropped.json").unlink(missing_ok=True)
        self._near.create(f"{place}/manifest.json", made.model_dump_json(indent=1).encode())
        shutil.rmtree(arriving, ignore_errors=True)
        with self._lock:
            self.fetched += count.moved

    def _fetch(self, place: str, files: Mapping[str, FileRecord], into: Path, count: _Count) -> None:
        with explaining(self.here.url):
            into.mkdir(parents=True, exist_ok=True)

        def fetch(name: str) -> None:
            path, record = into / name, files[name]
            if path.is_file() and digest.of_file(path) == record:
                return count.add(record.size, moved=False)
            try:
                self._far.get(f"{place}/{name}", record, path)
            except (FileNotFoundError, Unsound):
                raise StoreError(
                    f"{self.there.url}/{place}/{name} is missing, or not what its manifest says",
                    mend="run again with --rebuild for that stage",
                ) from None
            count.add(record.size)

        together(fetch, files)


class _Count:
    def __init__(self, total: int, told: Told) -> None:
        self.total, self.done, self.moved, self._told = total, 0, 0, told
        self._lock = threading.Lock()

    def add(self, size: int, *, moved: bool = True) -> None:
        with self._lock:
            self.done += size
            self.moved += size if moved else 0
            self._told(self.done, self.total)


class Mirror:
    """Copies what the jobs of a run write there, as they write it, and passes a request to stop on to them."""

    def __init__(self, carrier: Carrier, run: str) -> None:
        self._near, self._far, self._run = carrier.here.files, carrier.there.files, run
        self._carrier, self._stop_sent = carrier, False
        self._chunks = Chunks(self._far, run)
        for session, numbers in listed(self._near, run).items():
            self._chunks.skip(session, numbers[-1])
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)

    def start(self) -> Mirror:
        """Begin to look, every few moments."""
        self._thread.start()
        return self

    def _follow(self) -> None:
        while not self._over.wait(SECONDS):
            with contextlib.suppress(StoreError):  # what cannot be read now is read at a later look
                self.look(every=False)

    def look(self, *, every: bool = True) -> None:
        """Copy what is new, once; without `every`, not of those who have long told nothing. Raises StoreError."""
        with self._looking:
            if not self._stop_sent and (why := self._carrier.here.stop_asked(self._run)):
                self._carrier.there.ask_stop(self._run, why, "")
                self._stop_sent = True
            for session, chunks in self._chunks.new(every=every).items():
                for number, data in chunks:
                    self._near.create(session.record(self._run), b"")
                    self._near.create(session.chunk(self._run, number), data)

    def close(self) -> None:
        """Look a last time, and bring all logs."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.catch_up("")

    def catch_up(self, label: str) -> None:
        """Look once more, now that a stage has ended, and bring its log; without a label, those of all."""
        folder = f".runs/{self._run}/logs"
        with contextlib.suppress(StoreError, FileNotFoundError):  # what it made is what counts
            self.look()
            for name in [f"{label}.txt"] if label else self._far.below(folder):
                self._near.replace(f"{folder}/{name}", self._far.read(f"{folder}/{name}"))
