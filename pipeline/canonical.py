"""The stable form of a stage's settings, and the key made of it: hash of stage, settings and the content of the inputs.

What never enters: label, resources, store, machine, worker count, the order of a dict or set, how a float or a path is spelt.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import posixpath
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pipeline import digest
from pipeline.artifact import Artifact
from pipeline.errors import KeyFault
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
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return canonical(place, value.value)
    if isinstance(value, (int, float)):
        return _number(place, value)
    if isinstance(value, Artifact):
        return {"$input": value.kind()}
    if isinstance(value, (list, tuple)):
        return [canonical(f"{place}.{position}", item) for position, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((canonical(place, item) for item in value), key=digest.of_json)
    if isinstance(value, Mapping):
        return _mapping(place, value)
    return _object(place, value)


def _number(place: str, value: int | float) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise KeyFault(f"{place} is {value}, which is no setting to rely on", mend="give a finite number or None")
        if value.is_integer() and abs(value) < 2**53:
            return int(value)
    return value


def _mapping(place: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    for name in value:
        if not isinstance(name, str):
            raise KeyFault(f"{place} has the key {name!r}, which is not text", mend="use text as the keys of settings")
        if name.startswith("$"):
            raise KeyFault(
                f"{place} has the key {name!r}; names that begin with $ are kept for the stable form", mend="rename it"
            )
    return {name: canonical(f"{place}.{name}", value[name]) for name in sorted(value)}


def _object(place: str, value: Any) -> Any:
    identity = getattr(value, "identity", None)
    if callable(identity) and isinstance(value, BaseModel):
        return {"$": type(value).__name__, **_mapping(place, identity())}
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return {"$": type(value).__name__, **_mapping(place, fields)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"$": type(value).__name__, **_mapping(place, fields)}
    if isinstance(value, PurePath):
        return posixpath.normpath(value.as_posix())
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    raise KeyFault(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}, which has no stable form",
        mend="use numbers, text, lists, or a group of settings (class Mine(Settings))",
    )
