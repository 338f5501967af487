"""Registered models by name: ``quickstart`` or ``quickstart@champion``, ``@previous``, and ``@3`` for a version.

Which version became the champion is on record in the order in which it happened, since an old one may become it again.
"""

from __future__ import annotations

import re
import time

from pipeline.errors import UsageError
from pipeline.manifest import Registration
from pipeline.store import Store

CHAMPION, PREVIOUS = "champion", "previous"


def registered_name(dag: str) -> str:
    """The dag's name as its model has it: without slashes and colons."""
    return re.sub(r"[/:]+", "-", dag).strip("-") or "model"


def register(store: Store, word: Registration) -> None:
    """Note a version of a model; one with the alias `champion` is the champion from now on, and the former one `previous`."""
    store.register(word)
    if word.alias == CHAMPION and [one.version for one in champions(store, word.name)[-1:]] != [word.version]:
        name = f".champions/{word.name}/{time.time_ns():020d}.json"
        store.files.create(name, word.model_dump_json(indent=1).encode())


def champions(store: Store, name: str) -> list[Registration]:
    """Every champion of the model `name`, the last one last: the versions as they were registered, then what came of them."""
    folder = f".champions/{name}"
    noted = [store.read(Registration, f"{folder}/{one}") for one in store.files.children(folder) if one[0] != "."]
    first = [one for one in store.registered() if one.name == name and one.alias == CHAMPION]
    return [*sorted(first, key=lambda one: (one.when, one.version)), *noted]


def find(store: Store, text: str) -> Registration | None:
    """The version that ``NAME[@alias]`` means; None where no model has that name. Raises UsageError for an unknown alias."""
    name, _, alias = text.partition("@")
    versions = [one for one in store.registered() if one.name == registered_name(name)]
    if not versions:
        return None
    order = champions(store, registered_name(name))
    named = {one.version: one for one in versions}
    if order:
        former = [one for one in order if one.version != order[-1].version]
        named |= {CHAMPION: order[-1]} | ({PREVIOUS: former[-1]} if former else {})
    if (alias or CHAMPION) not in named:
        known = ", ".join(f"@{one}" for one in named)
        raise UsageError(f"{name} has no version {alias or CHAMPION!r}", mend=f"name one of: {known}")
    return named[alias or CHAMPION]
