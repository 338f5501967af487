"""`python -m tests.executors.rented [DIALS]`: the demo on this machine, on rented ones, and there with a machine and this one lost.

The servicer of the tests stands for Modal, and all its containers share the cores of this machine: its seconds are a bound on what
going there costs beside the work, not the speed of Modal. Every artifact must have the key and digest that it has here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline import Dag
from pipeline.ledger import runs
from pipeline.loading import load
from pipeline.manifest import Manifest
from pipeline.store import Store
from pipeline.tables import size
from tests.chaos.drivers import PLAIN, ROOT
from tests.chaos.nodes import compared, fetch
from tests.chaos.storm import manifests
from tests.modal_servicer.room import why_not
from tests.modal_servicer.service import Service, servicer

DAG, DIALS = "quickstart", ("steps=200", "depth=2")
LOST = "pretrain"
"""The stage in the middle of which its machine is taken back, and the process here that follows it is killed."""
HEARTBEAT_SECONDS = 6.0
"""After a commit, until the machine is taken back: long enough for what is lost to be told."""
PATIENCE_SECONDS = 900.0


def main(dag: str, dials: list[str], home: Path) -> int:
    """Exit code 0 where all keys and digests agree, and what was lost is on record."""
    _, drawn, _ = load(dag, dials)
    fetch(drawn)
    stores = [str(home / name) for name in ("here", "rented", "storm")]
    here, rented, storm = (Trial([dag, *dials], drawn, store) for store in stores)
    here.timed(lambda: here.ends("run", *here.words, "--on", "inline"))
    with servicer() as service:
        rented.timed(lambda: rented.ends("run", *rented.words, *rented.there(service)))
        rented.tell(service)
    with servicer() as service:
        storm.timed(lambda: storm.survives(service))
        storm.tell(service)
    quiet = manifests(here.store)
    same = all(_same(quiet, trial) for trial in (rented, storm))
    lost = manifests(storm.store)[LOST].lost.wall_seconds
    storm.ends("show", runs(Store(storm.store))[0])
    print(
        f"here {here.took}; rented, on the cores of this machine: {rented.took}; with its losses: {storm.took}",
        flush=True,
    )
    print("the same keys and digests; the lost machine is in the ledger" if same and lost else "NOT what was promised")
    return 0 if same and lost else 1


class Trial:
    """One run of the dag, with a store of its own."""

    def __init__(self, words: list[str], dag: Dag, store: str) -> None:
        self.words, self.store, self.seconds = words, store, 0.0
        self._stay = [label for label, stage in dag.stages.items() if stage.stays()]
        self._environment = dict(os.environ)

    def there(self, service: Service) -> list[str]:
        """The words that send it to Modal; what stays here does so in a process of its own, without Ray."""
        self._environment |= service.environment
        return ["--on", "modal", *(word for label in self._stay for word in ("--place", f"{label}=inline"))]

    def timed(self, work: Callable[[], None]) -> None:
        """Do it, and print how long it took."""
        began = time.monotonic()
        work()
        self.seconds = time.monotonic() - began
        print(f"→ {Path(self.store).name}: {self.seconds:.0f} s", flush=True)

    @property
    def took(self) -> str:
        """Its seconds by the clock, and what its stages worked."""
        return f"{self.seconds:.0f} s, {sum(made.cost.cpu_seconds for made in manifests(self.store).values()):.0f} s of CPU"

    def begins(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command of corpusmill on this store."""
        more = () if words[0] == "show" else ("--tracker", "none")
        command = [sys.executable, "-c", PLAIN, *words, *more, "--store", self.store]
        return subprocess.Popen(command, cwd=ROOT, env=self._environment)

    def ends(self, *words: str) -> None:
        """Run a command of corpusmill to its end, which must be a good one."""
        if code := self.begins(*words).wait():
            sys.exit(f"corpusmill {' '.join(words)} ended with {code}")

    def survives(self, service: Service) -> None:
        """Detach it; lose the machine of a stage and kill who follows; see it go on alone; follow it to its end."""
        self.ends("run", *self.words, *self.there(service), "--detach")
        follower = self.begins("attach")
        _until(lambda: _files(service, f"store/.partial/{LOST}/", "/commits/"))
        time.sleep(HEARTBEAT_SECONDS)
        follower.kill()
        follower.wait()
        print(
            f"→ {service.preempt('execute')} machine lost in the middle of {LOST}, and who followed killed", flush=True
        )
        _until(lambda: _files(service, f"store/{LOST}/", "/manifest.json"))
        print(f"→ {LOST} came to its end with nobody to follow it; somebody does again", flush=True)
        self.ends("attach")

    def tell(self, service: Service) -> None:
        """Print what moved, as the wire had it, and how many machines there were."""
        moved, asked = service.state.moved, sum(call.container is None for call in service.calls)
        sent, fetched = (size(moved["client", way]) for way in ("sent", "fetched"))
        print(f"→ {Path(self.store).name}: {sent} to Modal, {fetched} back, in {asked:,} requests", end="; ")
        print(f"{len(service.started('execute'))} machines, each of one stage", flush=True)


def _same(quiet: dict[str, Manifest], trial: Trial) -> bool:
    """Whether all is as it was here, label by label; printed."""
    other = manifests(trial.store)
    print(f"→ here, and {Path(trial.store).name}:", *compared(quiet, other), sep="\n", flush=True)
    return {label: (made.key, made.digest) for label, made in quiet.items()} == {
        label: (made.key, made.digest) for label, made in other.items()
    }


def _files(service: Service, start: str, part: str) -> list[str]:
    """What of these names lies on Volumes now."""
    return [
        name for volume in service.volumes.volumes.values() for name in volume.tree if name.startswith(start) and part in name
    ]  # fmt: skip


def _until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.1)


if __name__ == "__main__":
    if missing := why_not():
        sys.exit(f"error: {missing}")
    with tempfile.TemporaryDirectory(prefix="rented-") as folder:
        sys.exit(main(DAG, sys.argv[1:] or list(DIALS), Path(folder)))
