"""How the tests of the executors hand over a dag, stage by stage, and what they then look for."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pipeline import Dag, Stage
from pipeline.executor import Executor
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.spent import Session
from pipeline.store import Store
from pipeline.stream import Follower

SECONDS = 600


class Hand:
    """Hands the stages of dags over to an executor, all in one run of one store."""

    def __init__(self, executor: Executor, store: Path | str, run: str = "run") -> None:
        self.executor, self.root, self.run = executor, str(store), run
        self.store = Store(self.root)

    def over(self, *targets: Stage[Any], force: bool = False) -> dict[str, Future[Manifest]]:
        """Submit all that the targets need; a future for each label."""
        dag, futures = Dag(*targets), dict[str, Future[Manifest]]()
        for label, stage in dag.stages.items():
            parents = dag.parents(stage)
            job = Job.of(stage, parents, run=self.run, store=self.root, force=force)
            futures[label] = self.executor.submit(job, [futures[parent.label] for parent in parents])
        return futures

    def made(self, target: Stage[Any], force: bool = False) -> Manifest:
        """The manifest of the target, once it has been made."""
        return self.over(target, force=force)[target.label].result(SECONDS)

    def text(self, manifest: Manifest) -> str:
        """The text of every file of an artifact, in the order of their names."""
        data = self.store.data(manifest)
        return " ".join(path.read_text() for path in sorted(data.iterdir()))

    def done(self, label: str) -> list[int]:
        """How many of its shards had been committed, each time that a stage told it."""
        events = Follower(self.store, self.run, [label]).new()
        return [event.data["done"] for event in events if event.kind == "progress"]

    def log(self, label: str) -> str:
        """What a stage wrote into its log, wherever it ran."""
        events = Follower(self.store, self.run, [label]).new()
        return "".join(f"{event.data['line']}\n" for event in events if event.kind == "log")


def unfinished(store: Store, stage: str, committed: bool = False) -> bool:
    """Whether a session of `stage` has told of work beyond its last commit; with `committed`, one that had a commit before."""
    folder, accounts = f".partial/{stage}", list[Session]()
    for name in store.files.below(folder):
        if "/spent/" in name and name.endswith(".json"):
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                accounts.append(Session.model_validate_json(store.files.read(f"{folder}/{name}")))
    return any(one.lost.wall_seconds and (one.committed.wall_seconds or not committed) for one in accounts)


def words_in(path: Path) -> str:
    """What was written into a trace so far."""
    return path.read_text() if path.exists() else ""
