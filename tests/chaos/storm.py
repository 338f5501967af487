"""Kills runs of the dag of `dag` until so many kills have hit, and sees to it that every one ends in the same digests."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline import digest
from pipeline.manifest import Manifest
from pipeline.store import Store
from pipeline.stream import Follower
from tests.chaos import faults
from tests.chaos.dag import write_texts
from tests.chaos.drivers import SECONDS, Nursery, OnRay
from tests.chaos.report import Report
from tests.on_modal import put_back
from tests.s3 import S3

STEPS = 60
RAY_KINDS = ("worker", "link", "driver", "host", "keeper", "raylet", "gcs", "everything")
SHARES = {"a local store": 0.52, "an S3 server": 0.2, "a small disk": 0.12, "Ray": 0.16}


class Storm:
    """Kills drawn from `seed`. A fault of the product raises AssertionError, naming the case."""

    def __init__(self, kills: int, seed: int, folder: Path) -> None:
        self.kills, self.folder, self.draw, self.report = kills, folder, random.Random(seed), Report(seed)
        self.texts, self.log = folder / "texts", folder / "log"
        write_texts(self.texts)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = S3()
        self.nursery = Nursery(self.texts, STEPS, self.log, self.server.environment)
        self.before = dict(os.environ)
        os.environ.update(self.server.environment)
        self.case, self.turns = "quiet", Counter[str]()
        quiet = str(folder / "quiet")
        for store, teach in ((str(folder / "first"), True), (quiet, False)):
            self.nursery.start(store, teach=teach)
            assert self.nursery.end() == 0, self.log.read_text()
        made = manifests(quiet)
        self.quiet = {label: manifest.digest for label, manifest in made.items()}
        self.seconds = {label: manifest.cost.wall_seconds for label, manifest in made.items()}
        self.used = sum(path.stat().st_size // 4096 * 4096 + 4096 for path in digest.files_below(Path(quiet)))

    def rage(self) -> Report:
        """Case after case, in the place that is furthest behind its share, until there are kills enough."""
        while self.report.kills < self.kills:
            behind = {
                place: share * (self.report.kills + 1) - self.report.places[place]
                for place, share in self._shares().items()
            }
            place = max(behind, key=lambda one: behind[one])
            self.case = f"case {self.report.cases + 1} on {place}, seed {self.report.seed}"
            with self._store(place) as store:
                (self._on_ray if place == "Ray" else self._inline)(store, place)
                self._finish(store)
        return self.report

    def close(self) -> None:
        """End what was started, and leave the environment as it was."""
        self.nursery.close()
        self.server.stop()
        put_back(self.before)

    def _shares(self) -> dict[str, float]:
        can_mount = sys.platform == "linux" and os.geteuid() == 0
        return {place: share for place, share in SHARES.items() if can_mount or place != "a small disk"}

    @contextmanager
    def _store(self, place: str) -> Iterator[str]:
        """A fresh store for one case."""
        name = f"case-{self.report.cases + 1}"
        folder = self.folder / name
        folder.mkdir()
        if place == "a small disk":
            size = int(self.used * self.draw.uniform(0.3, 0.9))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        try:
            yield f"{self.server.bucket()}/{name}" if place == "an S3 server" else str(folder)
        finally:
            if place == "a small disk":
                subprocess.run(["umount", "-l", str(folder)], check=True)
            shutil.rmtree(folder, ignore_errors=True)

    def _inline(self, store: str, place: str) -> None:
        """Some kills, one after the other, of drivers on one store."""
        if place == "a small disk":
            self._strike(store, place, faults.FULL)
            subprocess.run(["mount", "-o", "remount,size=64m", store], check=True)
        for _ in range(self.draw.randint(1, 4)):
            if self.report.kills >= self.kills:
                return
            named = faults.REMOTE if place == "an S3 server" else faults.LOCAL
            struck = (
                self._at_a_time(store, place)
                if self.draw.random() < 0.4
                else self._strike(store, place, self._turn(named))
            )
            if not struck:
                return

    def _at_a_time(self, store: str, place: str) -> bool:
        """Kill a driver at any time after its first stage has begun; False where it was faster."""
        made, mark = manifests(store), self._mark()
        left = sum(seconds for label, seconds in self.seconds.items() if label not in made)
        driver = self.nursery.start(store, fault=faults.TIMED, nth=1, mark=str(mark))
        with self._handle_of(driver, mark) as kill:
            time.sleep(self.draw.uniform(0, left * (3 if place == "an S3 server" else 1)))
            kill()
        return self._count(store, place, faults.TIMED)

    def _turn(self, names: Sequence[str]) -> str:
        """One of those that were drawn least so far: every one has its turn."""
        least = min(self.turns[name] for name in names)
        name = self.draw.choice([name for name in names if self.turns[name] == least])
        self.turns[name] += 1
        return name

    def _mark(self) -> Path:
        return self.folder / f"mark-{self.report.kills}-{self.report.missed}"

    @contextmanager
    def _handle_of(self, driver: int, mark: Path) -> Iterator[Callable[[], None]]:
        """Once a driver has set its mark, gives what kills it, and nobody else, for its number may be another's by then."""
        handle = -1
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(driver)

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                if handle >= 0:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)

        while handle >= 0 and not mark.exists() and not select.select([handle], [], [], 0.005)[0]:
            pass
        yield kill
        if handle >= 0:
            os.close(handle)

    def _strike(self, store: str, place: str, fault: str) -> bool:
        """Let a named fault kill a driver; False where it came to its end without passing the place."""
        mark = self._mark()
        nth = 1 if fault in (faults.FULL, "at lease renewal") else self.draw.randint(1, 5)
        driver = self.nursery.start(store, fault=fault, nth=nth, mark=str(mark))
        if fault == "store unreachable":
            with self._handle_of(driver, mark) as kill:
                self._cut_off(kill, mark)
        return self._count(store, place, fault)

    def _cut_off(self, kill: Callable[[], None], mark: Path) -> None:
        """Take the server away in the middle of an upload, kill the driver a while later, and bring the server back."""
        if mark.exists():
            with self.server.away():
                Path(f"{mark}.gone").touch()
                time.sleep(self.draw.uniform(0, 1))
                kill()

    def _count(self, store: str, place: str, how: str) -> bool:
        code = self.nursery.end()
        if code == -signal.SIGKILL:
            self.report.hit(at_work(store), how, place)
            return True
        self.report.missed += 1
        assert code == 0 or (how == faults.FULL and code == 1), f"{self.case}: {how}: {self.log.read_text()[-3000:]}"
        return False

    def _on_ray(self, store: str, place: str) -> None:
        """Some kills within one run on Ray, of whatever process of its tree, until it ends."""
        running = OnRay(self.texts, STEPS, store, self.case, self.log)
        for _ in range(self.draw.randint(2, 4)):
            kind = self._turn(RAY_KINDS)
            wait, deadline = time.monotonic() + self.draw.uniform(0.3, 10), time.monotonic() + SECONDS
            found, live = dict[str, list[int]](), dict[str, float]()
            while running.driver.poll() is None and not live:
                assert time.monotonic() < deadline, f"{self.case}: no stage begins"
                time.sleep(0.05)
                if time.monotonic() > wait and at_work(store):  # still, once all processes were found
                    found, live = running.processes(), at_work(store)
            if running.driver.poll() is not None:
                break
            if kind == "everything":
                running.kill_all()
            elif kind in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.draw.choice(found[kind]), signal.SIGKILL)
            else:
                continue
            self.report.hit(live, f"Ray: {kind}", place)
        left = running.gone()
        assert not left, f"{self.case}: processes are left: {left}"

    def _finish(self, store: str) -> None:
        """Resume undisturbed; every digest is that of the undisturbed run, and so is every byte."""
        self.nursery.start(store)
        assert self.nursery.end() == 0, f"{self.case}: {self.log.read_text()[-3000:]}"
        made = manifests(store)
        assert {label: manifest.digest for label, manifest in made.items()} == self.quiet, self.case
        opened = Store(store)
        for label, manifest in made.items():
            data = opened.data(manifest)
            content = [path for path in digest.files_below(data) if path.name not in manifest.rendered]
            found = {path.relative_to(data).as_posix(): digest.of_file(path) for path in content}
            assert found == manifest.files, f"{self.case}: {label}"
        self.report.ended(list(made.values()))


def manifests(store: str) -> dict[str, Manifest]:
    """The newest attempt of each label."""
    opened = Store(store)
    return {made.label: made for stage in opened.stages() for made in reversed(opened.of_stage(stage))}


def at_work(store: str) -> dict[str, float]:
    """The stages that the newest run has begun and not ended, and for how many seconds each has committed nothing."""
    opened, now = Store(store), time.time()
    runs = opened.files.children(".runs")
    began: dict[str, float] = {}
    if runs:
        labels = opened.files.children(f".runs/{runs[-1]}/events")
        for event in Follower(opened, runs[-1], labels).new():
            if event.kind == "state":
                began.pop(event.label, None)
                if event.data["state"] in ("started", "resumed"):
                    began[event.label] = event.time
    last = max(_commits(opened.local / ".partial"), default=0.0)
    return {label: max(now - max(at, last), 0.0) for label, at in began.items()}


def _commits(folder: Path) -> Iterator[float]:
    """When each of the commits below `folder` was made, but for those that are swept meanwhile."""
    for place, _, names in os.walk(folder):
        for name in names:
            if place.endswith("/commits") and name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):
                    yield os.stat(f"{place}/{name}").st_mtime
