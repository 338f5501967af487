"""The stable form of a stage's settings, and the key made of it: hash of stage, settings and the content of the inputs.

What never enters: label, resources, store, machine, worker count, the order of a dict or set, how a float or a path is spelt.
Equal numbers are one (1, 1.0 and 1e0; 0.0 and -0.0), True and 1 are two, and so are None, "", 0 and a name that is not there.
A class or function counts by its dotted path, ``functools.partial(Class, setting=…)`` by the path and the settings.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import posixpath
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pipeline import digest
from pipeline.artifact import Artifact
from pipeline.errors import KeyFault
from pipeline.named import importable, is_code, name_of
from pipeline.stage import NOT_IDENTITY, Stage

KEY_LENGTH = 32
"""Hex digits of a key: 128 bits of sha256."""


def settings(stage: Stage[Any]) -> dict[str, Any]:
    """The settings of `stage` in their stable JSON form; an input stands as its kind. Raises KeyFault for what has none."""
    return {
        name: canonical(f"{stage.label}.{name}", getattr(stage, name))
        for name in type(stage).model_fields
        if name not in NOT_IDENTITY
    }


def key(stage: Stage[Any], inputs: Mapping[str, str]) -> str:
    """The key of `stage`, given the content digest of the artifact at each of its input places."""
    return key_of(stage.stage_name(), settings(stage), inputs)


def key_of(name: str, canonical_settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key from its parts: the stage's name, its settings in stable form, the digest of each input."""
    return digest.of_json({"stage": name, "settings": canonical_settings, "inputs": dict(inputs)})[:KEY_LENGTH]


def canonical(place: str, value: Any) -> Any:
    """`value` as JSON that is the same whenever the value means the same. `place` names it in a KeyFault."""
    return _form(place, value, inputs=True)


def _form(place: str, value: Any, inputs: bool) -> Any:
    """The form of `value`; `inputs` says whether an artifact may stand here, where its stage finds it."""
    if isinstance(value, enum.Enum):
        return _form(place, value.value, inputs)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(place, value)
    if isinstance(value, (int, float)):
        return _number(place, value)
    if isinstance(value, Artifact):
        return _input(place, value, inputs)
    if isinstance(value, (list, tuple)):
        return [_form(f"{place}.{position}", item, inputs) for position, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((_form(place, item, False) for item in value), key=digest.of_json)
    if isinstance(value, Mapping):
        return _mapping(place, value, inputs and isinstance(value, dict))
    return _object(place, value)


def _text(place: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise KeyFault(
            f"{place} holds half a surrogate pair, which no file can hold as text", mend="decode it as UTF-8"
        ) from None
    return value


def _number(place: str, value: int | float) -> int | float:
    if not isinstance(value, float):
        if abs(value) >= 10**4000:  # Python itself refuses to write more than 4,300 digits
            raise KeyFault(f"{place} is a number of more than 4,000 digits", mend="give it as text")
        return value
    if not math.isfinite(value):
        raise KeyFault(f"{place} is {value}, which is no setting to rely on", mend="give a finite number or None")
    return int(value) if value.is_integer() else value


def _input(place: str, value: Artifact, inputs: bool) -> dict[str, str]:
    if not inputs:
        raise KeyFault(
            f"{place} is an input ({value!r}) inside a set or a group of settings, where its content would not count",
            mend="make it a field of the stage itself, or put it into a tuple or a dict there",
        )
    return {"$input": value.kind()}


def _mapping(place: str, value: Mapping[Any, Any], inputs: bool = False) -> dict[str, Any]:
    for name in value:
        if not isinstance(name, str):
            raise KeyFault(f"{place} has the key {name!r}, which is not text", mend="use text as the keys of settings")
        if name.startswith("$"):
            raise KeyFault(
                f"{place} has the key {name!r}; names that begin with $ are kept for the stable form", mend="rename it"
            )
    return {_text(place, name): _form(f"{place}.{name}", value[name], inputs) for name in sorted(value)}


def _object(place: str, value: Any) -> Any:
    if isinstance(value, Stage):
        raise KeyFault(f"{place} is the stage {value.label!r}, not what it makes", mend=f"give it {value.label}.out")
    if isinstance(value, BaseModel):
        identity = getattr(value, "identity", None)
        fields = identity() if callable(identity) else {name: getattr(value, name) for name in type(value).model_fields}
        return {"$": type(value).__name__, **_mapping(place, fields)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"$": type(value).__name__, **_mapping(place, fields)}
    if is_code(value):
        return {"$class": _code(place, value)}
    if type(value) is partial:
        return _partial(place, value)
    if isinstance(value, PurePath):
        return _text(place, "/" * value.as_posix().startswith("/") + posixpath.normpath(value.as_posix()).lstrip("/"))
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    raise KeyFault(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}, which has no stable form",
        mend="use numbers, text, lists, a group of settings (class Mine(Settings)), or name a class and its settings: "
        "functools.partial(Class, setting=…)",
    )


def _partial(place: str, value: partial[Any]) -> dict[str, Any]:
    if value.args:
        raise KeyFault(f"{place} has arguments without names: {value!r}", mend="give each by its name")
    if not is_code(value.func):
        raise KeyFault(
            f"{place} is a partial of {value.func!r}, which has no name of its own",
            mend="give functools.partial a class or a function of a module",
        )
    return {"$class": _code(place, value.func), "settings": _mapping(place, value.keywords)}


def _code(place: str, value: Any) -> str:
    """A class or function as ``module:qualname``. Raises KeyFault for one that no worker would find by that name."""
    name = name_of(value)
    if not importable(value):
        raise KeyFault(
            f"{place} is {name}, which cannot be imported by that name",
            mend="define it at the top level of a module (no lambda, no local class)",
        )
    return name
