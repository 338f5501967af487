"""An attempt as a graph shows it: the box, and all that a click on it tells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.counted import plain
from pipeline.manifest import Manifest
from pipeline.tables import dollars, duration, figure, size

KEY_METRICS = (
    "accuracy", "preference_accuracy", "bits_per_byte", "loss", "right",
    "documents_unique", "documents_kept", "vocab_size", "tokens", "pairs", "chats", "documents",
)  # fmt: skip
"""The figure that says most about a stage: the first of these that it has."""
LONGEST = 400  # characters of a setting that a person is shown


@dataclass(frozen=True)
class Detail:
    """What a click on a box tells. `inputs` are (field, name of the box); a source is (name, how much, then lines about it).

    `link` is the address of its run below MLflow's own.
    """

    label: str
    about: str = ""
    link: str = ""
    inputs: Sequence[tuple[str, str]] = ()
    sources: Sequence[Sequence[str]] = ()
    metrics: Sequence[tuple[str, str]] = ()
    settings: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()


def key_metric(metrics: Mapping[str, float]) -> str:
    """The metric that says most about a stage, by the order of `KEY_METRICS`, else its first, as ``name value``."""
    few = plain(metrics)
    name = next((wanted for wanted in KEY_METRICS if wanted in few), next(iter(few), ""))
    return f"{name} {figure(few[name])}" if name else ""


def flat(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """Settings in stable form as (dotted name, text): lists as JSON, inputs left out."""
    for key, value in settings.items():
        below = place if key.startswith("$") and place else f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping) and set(value) == {"$input"}:
            continue  # an input's place among the settings (pipeline.canonical)
        if isinstance(value, Mapping) and value:
            yield from flat(value, below)
        else:
            yield below, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shown_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings for a person: what is very long is cut."""
    return [(name, text if len(text) <= LONGEST else text[:LONGEST] + " …") for name, text in flat(settings)]


def shown_metrics(made: Manifest) -> list[tuple[str, str]]:
    """The metrics of an attempt for a person."""
    return [(name, figure(value)) for name, value in plain(made.metrics).items()]


def facts(made: Manifest) -> list[tuple[str, str]]:
    """What else is on record of an attempt: identity, cost, where it was made."""
    cost = made.cost
    found = {
        "key": made.key,
        "attempt": made.attempt,
        "content": made.digest,
        "code": made.code.digest,
        "size": f"{size(made.size)} in {len(made.files)} file{'s' * (len(made.files) != 1)}",
        "took": duration(cost.wall_seconds),
        "CPU": duration(cost.cpu_seconds),
        "GPU": duration(cost.gpu_seconds) if cost.gpu_seconds else "",
        "dollars": dollars(cost.dollars) if cost.dollars is not None else "",
        "made by run": made.run,
        "executor": made.executor,
        "machine": ", ".join(f"{name} {value}" for name, value in made.machine.items()),
        **{f"origin: {name}": value for name, value in made.origin.items()},
    }
    return [(name, value) for name, value in found.items() if value]
