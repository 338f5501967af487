"""`python -m tests.chaos.nodes [DIALS] [--until LABEL]`: the demo on machines without a shared disk, quiet, then with two of them lost.

One is lost in the middle of dedup, one in the middle of pretraining. Every artifact must have the digest of the quiet run.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline import Dag
from pipeline.cache import cache_folder
from pipeline.ledger import runs
from pipeline.loading import load
from pipeline.manifest import Manifest
from pipeline.store import Store
from stages.sources import Source
from tests.chaos.drivers import PLAIN, ROOT
from tests.chaos.storm import manifests
from tests.executors.bridge import why_not
from tests.executors.cluster import Cluster
from tests.executors.helpers import unfinished

DAG, DIALS = "quickstart", ("steps=200", "depth=2")
LOSSES = {"dedup": False, "pretrain": True}
"""In the middle of what a machine is lost, and whether it has committed something by then: of dedup's few seconds the first may do."""
PATIENCE_SECONDS = 900.0


def main(dag: str, words: list[str]) -> int:
    """Exit code 0 where all digests agree, given dials and options of `corpusmill run`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    dials = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    _, drawn, _ = load(dag, dials)
    fetch(drawn)
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        cluster = Cluster(Path(folder), sources=cache_folder() / "pypi")
        os.environ.update(cluster.environment)
        try:
            return Trial(cluster, [dag, *words], drawn).outcome()
        finally:
            cluster.close()


def fetch(dag: Dag) -> None:
    """Fetch the packages that sources name, which the machines get with them: beyond their bridge is no network."""
    for stage in dag.stages.values():
        for name in type(stage).model_fields:
            if isinstance(source := getattr(stage, name), Source) and source.package:
                source.files()


class Trial:
    """Two runs of the same dag on a cluster, the second of which loses machines."""

    def __init__(self, cluster: Cluster, words: list[str], dag: Dag) -> None:
        self.cluster, self.words, self.bucket = cluster, words, cluster.s3.bucket()
        self.stay = [label for label, stage in dag.stages.items() if stage.stays()]

    def outcome(self) -> int:
        """Both runs, what differs between them, and what the ledger says was lost; 0 where nothing differs."""
        stores = [f"{self.bucket}/{name}" for name in ("quiet", "storm")]
        losses: list[str] = []
        for store in stores:
            began = time.monotonic()
            driver = self._driver("run", *self.words, *self._there(), "--tracker", "none", "--store", store)
            for label in losses:
                self._lose(store, label, driver)
            code = driver.wait()
            print(f"{store}: {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
            if code:
                return 1
            losses = [label for label in LOSSES if label in manifests(store)]
        quiet, storm = map(manifests, stores)
        print("\n".join(compared(quiet, storm)), flush=True)
        self._driver("show", runs(Store(stores[1]))[0], "--store", stores[1]).wait()
        same = {label: made.digest for label, made in quiet.items()} == {
            label: made.digest for label, made in storm.items()
        }
        hit = all(storm[label].lost.wall_seconds for label in losses)
        many = f"{len(losses)} machines lost, in the middle of {' and '.join(losses)}"
        print(f"the same digests, {many}" if same and hit else "NOT what was promised", flush=True)
        return 0 if same and hit else 1

    def _there(self) -> list[str]:
        """All stages on the cluster, those too that would stay on this machine: the cluster's are no different."""
        at = self.cluster.address
        return ["--on", at, *(word for label in self.stay for word in ("--place", f"{label}={at}"))]

    def _driver(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PLAIN, *words], cwd=ROOT)

    def _lose(self, store: str, label: str, driver: subprocess.Popen[bytes]) -> None:
        """Once the stage's account tells of work that is not committed, kill its machine; another takes its place."""
        there, deadline = Store(store), time.monotonic() + PATIENCE_SECONDS
        while not (machine := self.cluster.lose_at_work(label, lambda: unfinished(there, label, LOSSES[label]))):
            assert driver.poll() is None and time.monotonic() < deadline, f"{label} was not met at work"
            time.sleep(0.1)
        print(f"→ the machine {machine.address} was lost, in the middle of {label}", flush=True)
        self.cluster.add()
        print("→ another has joined", flush=True)


def compared(quiet: dict[str, Manifest], storm: dict[str, Manifest]) -> list[str]:
    """A line for each label: whether its digest is the same in both, what it cost, and what of that was lost."""
    lines = []
    for label, made in quiet.items():
        other = storm.get(label)
        same = "same" if other and other.digest == made.digest else "DIFFERS" if other else "MISSING"
        lost = f"  {other.lost.wall_seconds:5.1f} s lost" if other and other.lost.wall_seconds else ""
        took = f"{made.cost.wall_seconds:6.1f} s  {other.cost.wall_seconds:6.1f} s" if other else ""
        lines.append(f"{label:22} {made.digest[:12]}  {same:8} {took}{lost}")
    return lines


if __name__ == "__main__":
    if missing := why_not():
        sys.exit(f"error: {missing}")
    sys.exit(main(DAG, sys.argv[1:] or list(DIALS)))
