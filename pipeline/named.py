"""Classes and functions by name, and those that a stage's settings bring with them beside its own class."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pipeline.artifact import Artifact

if TYPE_CHECKING:
    from pipeline.stage import Stage

Named = type[Any] | Callable[..., Any]


def name_of(thing: Named) -> str:
    """A class or function as ``module:Class``, the form in which jobs and keys name it."""
    return f"{thing.__module__}:{thing.__qualname__}"


def is_code(value: Any) -> bool:
    """Whether a setting is a class or a function, also one of C or behind a decorator, where its module has it by its name."""
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return True
    return isinstance(getattr(value, "__qualname__", None), str) and importable(value)


def importable(thing: Named) -> bool:
    """Whether another process finds the very same thing by its name."""
    found: Any = sys.modules.get(thing.__module__) if thing.__module__ != "__main__" else None
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def file_of(thing: Named) -> str | None:
    """The source file in which a class or function is defined, as far as its module tells."""
    return getattr(sys.modules.get(thing.__module__), "__file__", None)


def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package, not to anybody's project."""
    return not {"site-packages", "dist-packages"}.isdisjoint(PurePath(file).parts)


def import_paths(stage: Stage[Any]) -> tuple[str, ...]:
    """The directories that must be on sys.path for a stage's class, and what its settings bring, to be imported by name."""
    paths = {}
    for thing in (type(stage), *brought_by(stage)):
        file = file_of(thing)
        if file is not None and not is_installed(file):
            up = thing.__module__.count(".") + (1 if Path(file).name == "__init__.py" else 0)
            paths[str(Path(file).resolve().parents[up])] = True
    return tuple(paths)


def brought_by(stage: Stage[Any]) -> Iterator[Named]:
    """The classes and functions that the fields of a stage bring."""
    yield from brought([getattr(stage, name) for name in type(stage).model_fields])


def brought(value: Any) -> Iterator[Named]:
    """The classes and functions that a setting names, and those of the groups, enums and artifacts in it."""
    if is_code(value):
        yield value
    elif isinstance(value, partial):
        yield from brought(value.func)
        yield from brought(value.keywords)
    elif isinstance(value, (enum.Enum, Artifact)):
        yield type(value)
    elif isinstance(value, BaseModel):
        yield type(value)
        yield from brought([getattr(value, name) for name in type(value).model_fields])
    elif dataclasses.is_dataclass(value):
        yield type(value)
        yield from brought([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from brought(list(value.values()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from brought(item)
