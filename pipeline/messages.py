"""Turns pydantic's complaints about a stage or a dial into one line that names the place and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.artifact import Artifact


def nearest(name: str, known: list[str]) -> str:
    """The known name most like `name`, or an empty string."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def explain(stage: type[Any], given: Mapping[str, object], fault: ValidationError) -> tuple[str]:
    """One message for all that is wrong with the construction of `stage` from `given`."""
    return ("\n".join(_line(stage, given, dict(error)) for error in fault.errors(include_url=False)),)


def _line(stage: type[Any], given: Mapping[str, object], error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    name = place[0] if place else ""
    where = f"{stage.__name__}.{name}"
    known = [field for field in stage.model_fields]
    if error["type"] == "extra_forbidden" and len(place) == 1:
        guess = nearest(name, known)
        hint = f"did you mean {guess!r}?" if guess else "it has: " + ", ".join(known)
        return f"{stage.__name__} has no setting {name!r}; {hint}"
    if error["type"] == "missing":
        return f"{where} is missing; {_describe(stage, name)}"
    value = given.get(name)
    if hasattr(value, "out") and isinstance(value.out, Artifact):
        label = getattr(value, "label", name)
        return f"{where} wants an artifact, but was given the stage {label!r}; did you mean {label}.out?"
    if isinstance(value, Artifact):
        wanted = _wanted(stage, name)
        return f"{where} wants {wanted}, but {value!r} is {value.kind()}; give it what a stage makes that is {wanted}"
    return f"{where} = {value!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _wanted(stage: type[Any], name: str) -> str:
    annotation = stage.model_fields[name].annotation
    return getattr(annotation, "__name__", None) or str(annotation).replace("stages.kinds.", "")


def _describe(stage: type[Any], name: str) -> str:
    field = stage.model_fields.get(name)
    return (field.description if field is not None and field.description else "") or f"give {name}=…"
