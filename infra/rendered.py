"""From what a person wished on the command line to the files of a manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.described import MARK, Described
from infra.described_dag import ROOT, describe, fits, needs, variables
from pipeline.dag import Dag
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Wishes:
    """The options of the command, as they were given."""

    store: str = ""
    image: str = "corpusmill:latest"
    gpu: str = ""
    gpus: int | None = None
    cpus: int | None = None
    memory_gib: int | None = None
    workers: int = 0
    spot: bool = False
    clouds: Sequence[str] = ()
    select: Sequence[str] = ()
    secrets: Sequence[str] = ()
    variables: Sequence[str] = ()
    torch_index: str = ""
    minutes: int = 0
    max_cost: float | None = None


def described(form: str, dag: str, dials: Sequence[str], wishes: Wishes) -> tuple[Described, list[str]]:
    """What is to be rendered, and warnings. Raises UsageError for a wish or a dag that no such machines can carry out."""
    from pipeline.loading import load

    if any("=" in name for name in wishes.secrets):
        raise UsageError("--secret takes a name alone", mend="its value stays in your environment, or in the cluster")
    if not wishes.store and form != "dockerfile":
        raise UsageError("machines come and go", mend="give a store that outlives them: --store s3://bucket/prefix")
    name, drawn, _ = load(dag, dials)
    asked: dict[str, Any] = {
        "store": wishes.store, "image": wishes.image, "dials": tuple(dials), "workers": wishes.workers, "spot": wishes.spot,
        "places": tuple(_place(word) for word in wishes.clouds), "select": dict(map(_pair, wishes.select)),
        "secrets": tuple(wishes.secrets), "environment": variables(wishes.variables), "torch_index": wishes.torch_index,
        "minutes": wishes.minutes, "max_cost": wishes.max_cost, **_machines(drawn, wishes),
    }  # fmt: skip
    found = describe(name, dag, form, asked)
    fits(drawn, found)
    return found, _warnings(form, drawn, found)


def _machines(dag: Dag, wishes: Wishes) -> dict[str, Any]:
    """The head and a worker; where there are workers, the head has no GPU."""
    wished = {"cpus": wishes.cpus, "memory_gib": wishes.memory_gib, "gpus": wishes.gpus}
    machine = {**needs(dag, wishes.gpu), **{name: value for name, value in wished.items() if value is not None}}
    if machine["gpu"] and not machine["gpus"] and wishes.gpus is None:
        machine["gpus"] = 1
    return {"head": {**machine, "gpu": "", "gpus": 0} if wishes.workers else machine, "worker": machine}


def _place(word: str) -> dict[str, str]:
    cloud, _, region = word.partition("/")
    return {"cloud": cloud.lower(), "region": region}


def _pair(word: str) -> tuple[str, str]:
    label, separator, value = word.partition("=")
    if not separator:
        raise UsageError(f"--select {label} has no value", mend="write --select LABEL=VALUE")
    return label, value


def _warnings(form: str, dag: Dag, found: Described) -> list[str]:
    """What a person should know. Raises UsageError for what this form of manifest cannot say."""
    gpus = max(found.head.gpus, found.worker.gpus)
    warned = []
    if gpus and not any(stage.resources.gpus for stage in dag.stages.values()):
        warned.append("no stage of this dag asks for a GPU: those of the machines would stand idle")
    if form == "skypilot" and gpus and not found.worker.gpu:
        raise UsageError("a cloud rents GPUs by type", mend="say which: --gpu H100")
    if form == "kuberay" and len(found.places) > 1:
        raise UsageError("a cluster lies in one cloud", mend="give --cloud once")
    if form == "kuberay" and found.spot and not found.places:
        warned.append(
            "which nodes are spot differs from cloud to cloud: say --cloud aws, azure or gcp, or --select LABEL=VALUE"
        )
    if not found.secrets and form != "dockerfile":
        warned.append("no --secret is named: the machines must reach the store by a role of their own")
    return warned


def rendered(form: str, found: Described) -> dict[str, str]:
    """The manifest under "", and what belongs beside it under the ending of its name."""
    if form == "kuberay":
        from infra.render_kuberay import kuberay

        return {"": kuberay(found)}
    from infra.render_docker import PARTS, dockerfile, dockerignore

    if form == "dockerfile":
        return {"": dockerfile(found), ".dockerignore": dockerignore()}
    from infra.render_skypilot import skypilot

    return {"": skypilot(found, str(ROOT), PARTS)}


def write(files: dict[str, str], out: Path) -> list[str]:
    """Write them; a line for each. Raises UsageError rather than to write over what was not rendered."""
    places = {out.with_name(out.name + ending): text for ending, text in files.items()}
    for place in places:
        if place.exists() and not _ours(place):
            raise UsageError(f"{place} is there, and was not rendered by this command", mend="name another with -o")
    for place, text in places.items():
        try:
            partial = place.with_name(f".{place.name}.{os.getpid()}")
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, place)
        except OSError as fault:
            raise UsageError(f"{place} cannot be written: {fault.strerror}", mend="name another with -o") from None
    return [f"wrote {place}" for place in places]


def _ours(place: Path) -> bool:
    try:
        return place.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False
