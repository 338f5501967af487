"""Describes a dag for machines elsewhere: what its stages need of one, which files it is made of, what they are called there."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.described import DAG_HOME, Described
from infra.travels import ROOT, travelling
from pipeline.dag import Dag
from pipeline.errors import UsageError
from pipeline.executor import check_room

LOCK = "sources.lock"
MOST_FILES = 500
LEAST = {"cpus": 4, "memory_gib": 16}
"""Of a machine whose dag asks for less."""

_SAFE = re.compile(r"[\w./-]+")


def needs(dag: Dag, gpu: str = "") -> dict[str, Any]:
    """The most that any one stage asks of a machine; GPUs of the type `gpu`, else of the one that stages ask for.

    Raises UsageError where they ask for several.
    """
    asked = [stage.resources for stage in dag.stages.values()]
    types = [gpu] if gpu else sorted({one.gpu for one in asked if one.gpus and one.gpu})
    if len(types) > 1:
        raise UsageError(f"stages ask for {' and '.join(types)}", mend="say which one the machines have: --gpu TYPE")
    return {
        "cpus": max(LEAST["cpus"], *(math.ceil(one.cpus) for one in asked)),
        "memory_gib": max(LEAST["memory_gib"], *(math.ceil(one.memory_gib) for one in asked)),
        "gpus": max(one.gpus for one in asked),
        "gpu": types[0] if types else "",
    }


def fits(dag: Dag, described: Described) -> None:
    """Raise UsageError where a stage asks for more than one of the machines has."""
    machines = [described.head, *([described.worker] if described.workers else [])]
    room = {name: max(getattr(one, name) for one in machines) for name in ("cpus", "gpus", "memory_gib")}
    for label, stage in dag.stages.items():
        check_room(room, label, stage.resources.model_dump())


def own_files(dag: str) -> tuple[Path, tuple[str, ...]] | None:
    """The folder of a dag given as a file, and what of it a machine needs: Python files and the lock. None for one of dags/."""
    if ".py" not in dag:
        return None
    path = Path(dag.partition(".py")[0] + ".py").resolve()
    own = (file.relative_to(path.parent).as_posix() for file in travelling(path.parent) if file.suffix == ".py")
    files = sorted(own)
    if len(files) > MOST_FILES:
        raise UsageError(
            f"{path.parent} holds {len(files)} Python files, of which all would travel",
            mend="put the dag and what it imports into a folder of their own",
        )
    odd = next((name for name in files if not _SAFE.fullmatch(name)), "")
    if odd:
        raise UsageError(f"a manifest cannot name {odd!r}", mend="name it with letters, digits, '_', '-' and '.'")
    lock = [LOCK] if (path.parent / LOCK).is_file() else []
    return path.parent, (*files, *lock)


def there(dag: str, folder: str) -> str:
    """What a dag is called on a machine that has its files in `folder`."""
    if ".py" not in dag:
        return dag
    path, _, function = dag.partition(".py")
    name = f"{Path(path).name}.py{function}"
    return f"{folder}/{name}" if folder else name


def versions() -> dict[str, str]:
    """The minor version of this Python, and the pinned version of Ray."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    ray = re.search(r"^ray==(\S+)$", pins, re.MULTILINE)
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "ray": ray.group(1) if ray else ""}


SHAPES = {
    "secrets": "the name of an environment variable is meant, such as HF_TOKEN, and never its value",
    "environment": "a variable is NAME=VALUE, its name of letters, digits and _",
    "image": "an image is named as registries do, such as corpusmill:latest",
    "torch_index": "an https:// address without user, password or query is meant",
}
"""What a value that does not match is meant to be, in words rather than as a pattern."""


def describe(name: str, dag: str, form: str, asked: Mapping[str, Any]) -> Described:
    """The description that `form` of manifest renders. Raises UsageError for what cannot be; no message shows a value."""
    own = own_files(dag)
    files = {"own_folder": str(own[0]), "own": own[1]} if own else {}
    called = there(dag, "" if form == "skypilot" else DAG_HOME)
    try:
        return Described(name=dns_name(name), dag=called, **files, **versions(), **asked)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = (
            SHAPES.get(str(first["loc"][0]) if first["loc"] else "")
            if first["type"] == "string_pattern_mismatch"
            else None
        )
        said = said or first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {said}" if where else said, mend="corpusmill infra render --help") from None


def dns_name(dag: str) -> str:
    """The dag's name as clusters allow one."""
    plain = re.sub(r"[^a-z0-9]+", "-", dag.lower()).strip("-")
    return f"corpusmill-{plain}"[:40].strip("-")


def variables(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` words. Raises UsageError for a name that sounds like a secret, for such values are written down."""
    found = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator:
            raise UsageError(f"--env {name} has no value", mend="write --env NAME=VALUE, or --secret NAME")
        if re.search(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)KEY", name.upper()) or re.search(r"://[^/\s]*@", value):
            raise UsageError(
                f"the value of {name} would stand in the manifest for all to read",
                mend=f"name it alone: --secret {name}",
            )
        found[name] = value
    return found
