"""How a stage travels to a worker: its class by name, its settings as JSON, its inputs as places to be opened there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from pipeline.artifact import Artifact
from pipeline.errors import StageFailed


def name_of(cls: type[Any]) -> str:
    """A class as ``module:Class``, the form in which a job names it."""
    return f"{cls.__module__}:{cls.__qualname__}"


def named(name: str) -> type[Any]:
    """The class that ``module:Class`` names, imported here."""
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, type):
        raise StageFailed(f"{name} is not a class")
    return found


def import_path(cls: type[Any]) -> tuple[str, ...]:
    """The directories that must be on sys.path for the class to be imported by its name."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None:
        return ()
    up = cls.__module__.count(".") + (1 if Path(file).name == "__init__.py" else 0)
    return (str(Path(file).resolve().parents[up]),)


def plain(value: Any) -> Any:
    """A setting as JSON; an input, opened at its place by name, becomes a reference to that place."""
    if isinstance(value, Artifact):
        return {"$artifact": value.path.as_posix()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return to_jsonable_python(value)


def opened(value: Any, artifacts: dict[str, Artifact]) -> Any:
    """Undo `plain`, with each reference replaced by the artifact at that place."""
    if isinstance(value, dict):
        if set(value) == {"$artifact"}:
            return artifacts[value["$artifact"]]
        return {name: opened(item, artifacts) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(opened(item, artifacts) for item in value)
    return value
