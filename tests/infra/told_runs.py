"""Runs as a driver tells them to a tracker: a small dag, the manifests of its stages and the events on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.mlflow_tracker import MlflowTracker
from pipeline import digest
from pipeline.canonical import canonical
from pipeline.digest import FileRecord
from pipeline.events import Event
from pipeline.manifest import CodeRecord, Cost, InputRecord, Manifest
from pipeline.tracker import RunRecord, StageRecord
from stages.kinds import Documents

Find = Callable[..., Any]
"""Finds the MLflow run of a stage by the run of the dag and the label; the parent without a label."""

BEGAN = 1_790_000_000.0
DAG: dict[str, tuple[str, str, dict[str, str]]] = {
    "Collect": ("collect", "Documents", {}),
    "Filter": ("filter", "Documents", {"documents": "Collect"}),
    "Pretrain": ("pretrain", "Model", {"tokens": "Filter"}),
    "Sft": ("sft", "Model", {"model": "Pretrain"}),
    "Evaluate": ("evaluate", "Report", {"models.0": "Pretrain", "models.1": "Sft"}),
    "Serve": ("serve", "Service", {"model": "Sft"}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "Filter": {
        "languages": ["en", "de"],
        "rules": {"$": "Rules", "shortest": 50, "notes": "x" * 9000},
        "eos_token": "<|end|>",
        "documents": canonical("documents", Documents("unread")),
    }
}


def manifest(label: str, run: str, inputs: dict[str, Manifest] | None = None, salt: str = "", **more: Any) -> Manifest:
    """A complete attempt at the stage `label`, with one file whose content is the label and `salt`."""
    stage, kind, _ = DAG[label]
    content = f"{label}{salt}".encode()
    files = {"part-00000.parquet": FileRecord(size=len(content), sha256=digest.of_bytes(content))}
    records = {
        place: InputRecord(stage=made.stage, key=made.key, attempt=made.attempt, digest=made.digest, label=made.label)
        for place, made in (inputs or {}).items()
    }
    about: dict[str, Any] = {
        "settings": SETTINGS.get(label, {}), "machine": {"cpus": 2}, "run": run, "executor": "inline",
        "environment": {"python": "3.11.7", "HF_TOKEN": "hf_verysecret"}, "metrics": {"documents": 12.0},
        "cost": Cost(wall_seconds=90, cpu_seconds=120, peak_bytes=1 << 20), "created": BEGAN + 100,
    }  # fmt: skip
    return Manifest(
        stage=stage, label=label, key=digest.of_json([label, salt])[:32], attempt=f"{label.lower()}-{run}{salt}",
        kind=kind, source=f"stages.{stage}:{label}", inputs=records, files=files, digest=digest.of_files(files),
        code=CodeRecord(digest="c0de" * 16, packages={"pyarrow": "21.0"}), **{**about, **more},
    )  # fmt: skip


def record(run: str, store: Path, began: float = BEGAN) -> RunRecord:
    """A run of the dag above."""
    stages = {
        label: StageRecord(
            stage=stage, kind=kind, settings=SETTINGS.get(label, {}), inputs=inputs, state="run", reason="never built"
        )
        for label, (stage, kind, inputs) in DAG.items()
    }
    return RunRecord(
        run=run, dag="tales", dials={"steps": 40}, store=str(store), executor="inline", started=began, stages=stages
    )


def plain(page: str) -> str:
    """A page without the spaces that only set its tables."""
    return re.sub("\u00a0+(?= \\|)", "", page).replace("\u00a0", " ")


def say(tracker: MlflowTracker, label: str, kind: str, after: float, **data: Any) -> None:
    """One event of the stage `label`, `after` seconds into the run."""
    tracker.event(Event(label=label, kind=kind, time=BEGAN + after, data=data))  # type: ignore[arg-type]


def build(tracker: MlflowTracker, made: dict[str, Manifest], run: str, **more: Any) -> Callable[[str], None]:
    """A function that plays one stage from start to manifest."""

    def stage(label: str) -> None:
        say(tracker, label, "state", 1, state="started")
        for step in range(0, 250):
            say(tracker, label, "metrics", 2 + step / 10, step=step, values={"loss": 5 - step / 100})
        made[label] = manifest(
            label,
            run,
            {place: made[parent] for place, parent in DAG[label][2].items()},
            metrics={"loss": 2.51, "tokens": 4096.0},
            **more,
        )
        say(tracker, label, "cost", 59, session="s", cost={"wall_seconds": 57.0}, committed={})
        say(tracker, label, "state", 60, state="finished")
        tracker.stage(label, "finished", made[label])

    return stage


def tell_whole(root: Path) -> dict[str, Manifest]:
    """Tell the tracker of the store `root` of run-1, in which every stage finished; the manifests by label."""
    made: dict[str, Manifest] = {}
    tracker = MlflowTracker(str(root))
    tracker.start(record("run-1", root))
    for label in DAG:
        build(tracker, made, "run-1")(label)
    tracker.finish("finished")
    return made
