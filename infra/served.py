"""Finds the model folder that a person means: a path, the label of a stage, a dag's name, or simply the newest service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.mlflow_home import store_folder
from pipeline.artifact import MODEL
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.messages import nearest
from pipeline.store import Store

GGUF = "model.gguf"


def find(model: str, store: str, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The folder with model.gguf that `model` names ("" for the newest service, else the newest model) in the store.

    `tell` is told in one line which one was taken where none was named. Raises UsageError where nothing fits.
    """
    if model and Path(model).exists():
        return _folder(Path(model))
    if store_folder(store) is not None and not Path(store.removeprefix("file://")).is_dir():
        raise UsageError(f"there is no store at {store}", mend="build a model first: corpusmill run quickstart")
    opened = Store(store)
    found = sorted(_served(opened), key=lambda manifest: (manifest.kind == "Service", manifest.created), reverse=True)
    if not found:
        raise UsageError(
            f"the store {store} holds no model that can be served", mend="build one: corpusmill run quickstart"
        )
    if not model:
        tell(_about(opened, found[0]))
        return opened.data(found[0])
    dags = {manifest.attempt: _dag(opened, manifest) for manifest in found}
    fitting = [
        one for one in found if model.lower() in (one.label.lower(), one.stage, one.kind.lower(), dags[one.attempt])
    ]
    if fitting:
        return opened.data(fitting[0])
    known = sorted({manifest.label for manifest in found} | {dag for dag in dags.values() if dag})
    guess = nearest(model, known)
    hint = f"did you mean {guess!r}?" if guess else f"it has: {', '.join(known)}"
    raise UsageError(
        f"no model in {store} is called {model!r}; {hint}", mend="or give the path of a folder with model.gguf"
    )


def _folder(path: Path) -> Path:
    for folder in (path, path / "data"):
        if (folder / GGUF).is_file():
            return folder.resolve()
    raise UsageError(f"{path} holds no {GGUF}", mend="give the folder that Quantize (format q8_0) or Serve made")


def _served(store: Store) -> Iterator[Manifest]:
    for stage in store.stages():
        yield from (
            manifest
            for manifest in store.of_stage(stage)
            if manifest.kind in ("Service", MODEL) and GGUF in manifest.files
        )


def _about(store: Store, manifest: Manifest) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created))
    dag = _dag(store, manifest)
    return f"the newest {manifest.kind.lower()}: {manifest.label}, made {made}" + (
        f" by {dag} in run {manifest.run}" if dag else f" in run {manifest.run}"
    )


def _dag(store: Store, manifest: Manifest) -> str:
    """The name of the dag in whose run the artifact was made, or an empty text."""
    try:
        return str(json.loads(store.files.read(f".runs/{manifest.run}/run.json"))["dag"])
    except (OSError, ValueError, KeyError):
        return ""
