"""How a stage travels to a worker: its class by name, its settings as JSON, its inputs as places to be opened there.

A class or function among the settings travels by its name and is imported on the worker: that is code which the dag itself
named. Nothing that a job opens comes from data, and no name that begins with $ can be a setting's own.
"""

from __future__ import annotations

import dataclasses
import importlib
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pipeline import canonical
from pipeline.artifact import Artifact
from pipeline.errors import KeyFault, StageFailed
from pipeline.named import importable, is_code, name_of
from pipeline.stage import Stage


def named(name: str) -> type[Any]:
    """The class that ``module:Class`` names, imported here."""
    found = _imported(name)
    if not isinstance(found, type):
        raise StageFailed(f"{name} is not a class")
    return found


def _imported(name: str) -> Any:
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def sent(stage: Stage[Any]) -> dict[str, Any]:
    """The settings of `stage`, whose inputs are opened at their places. Raises KeyFault for one that would arrive as another."""
    before = canonical.settings(stage)
    settings = {name: plain(getattr(stage, name)) for name in type(stage).model_fields}
    after = canonical.settings(type(stage)(**opened(settings, stage.inputs())))
    for name in before:
        if before[name] != after[name]:
            raise KeyFault(
                f"{stage.label}.{name} would reach a worker as another value ({after[name]!r})",
                mend=f"give the field {name} of {type(stage).__name__} the type of what it holds",
            )
    return settings


def plain(value: Any) -> Any:
    """A setting as JSON; an input, opened at its place by name, becomes a reference to that place."""
    if isinstance(value, Artifact):
        return {"$artifact": value.path.as_posix()}
    if is_code(value):
        return {"$class": name_of(value)}
    if isinstance(value, partial):
        return {"$partial": name_of(value.func), "with": plain(value.keywords)}
    if isinstance(value, BaseModel):
        return _made(value, list(type(value).model_fields))
    if dataclasses.is_dataclass(value):
        return _made(value, [field.name for field in dataclasses.fields(value) if field.init])
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return to_jsonable_python(value)


def _made(value: Any, names: list[str]) -> dict[str, Any]:
    """A group of settings; one whose class has no name of its own is left for the stage's field to build."""
    fields = {name: plain(getattr(value, name)) for name in names}
    return {"$made": name_of(type(value)), "with": fields} if importable(type(value)) else fields


def opened(value: Any, artifacts: dict[str, Artifact]) -> Any:
    """Undo `plain`, with each reference replaced by the artifact at that place."""
    if isinstance(value, list):
        return tuple(opened(item, artifacts) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"$artifact"}:
        return artifacts[value["$artifact"]]
    if set(value) == {"$bytes"}:
        return bytes.fromhex(value["$bytes"])
    if set(value) == {"$class"}:
        return _imported(value["$class"])
    if set(value) == {"$partial", "with"}:
        return partial(_imported(value["$partial"]), **opened(value["with"], artifacts))
    if set(value) == {"$made", "with"}:
        return _imported(value["$made"])(**opened(value["with"], artifacts))
    return {name: opened(item, artifacts) for name, item in value.items()}
