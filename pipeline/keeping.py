"""Who keeps an artifact, and who gave it up: pins, registrations, uses, acceptances, drops. All are records beside it or in the root."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from pipeline import digest
from pipeline.manifest import Acceptance, Dropped, Manifest, Pin
from pipeline.store import Store, place_of
from pipeline.who import who


def pin(store: Store, made: Manifest, why: str, *, pinned: bool = True) -> Pin:
    """Put on record that `made` is to be kept, or no longer."""
    word = Pin(
        stage=made.stage, key=made.key, attempt=made.attempt, pinned=pinned, who=who(), when=time.time(), why=why
    )
    name = f".pins/{made.attempt}/{time.time_ns():020d}.json"
    store.files.create(name, word.model_dump_json(indent=1).encode())
    return word


def pins(store: Store) -> dict[str, Pin]:
    """Every pin in force, by the place of what it keeps. Raises StoreError for a record that cannot be read."""
    last: dict[str, Pin] = {}
    for attempt in store.files.children(".pins"):
        for name in store.files.children(f".pins/{attempt}"):
            if not name.startswith("."):
                word = store.read(Pin, f".pins/{attempt}/{name}")
                last[place_of(word)] = word
    return {place: word for place, word in last.items() if word.pinned}


class Use(BaseModel):
    """A run found all of these attempts (by place) as it wanted them, and had nothing to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: float
    attempts: list[str]


def note_use(store: Store, made: Iterable[Manifest]) -> None:
    """Put on record that these attempts were used now, in place of what was said of the same ones before."""
    places = sorted(map(place_of, made))
    word = Use(when=time.time(), attempts=places)
    store.files.replace(f".used/{digest.of_json(places)[:16]}.json", word.model_dump_json().encode())


def uses(store: Store) -> dict[str, Use]:
    """Every use on record, by the name of its record."""
    names = [f".used/{name}" for name in store.files.children(".used") if not name.startswith(".")]
    return {name: store.read(Use, name) for name in names}


def acceptances(store: Store, made: Manifest) -> list[Acceptance]:
    """Every word that the attempt is good for other code."""
    folder = f"{place_of(made)}/accepted"
    names = [f"{folder}/{name}" for name in store.files.children(folder) if not name.startswith(".")]
    return sorted((store.read(Acceptance, name) for name in names), key=lambda word: word.when)


def dropped(store: Store, made: Manifest) -> Dropped | None:
    """Who removed the data of the attempt, if anybody did."""
    return store.read(Dropped, f"{place_of(made)}/dropped.json") if store.is_dropped(made) else None


def kept(store: Store, made: Manifest) -> list[str]:
    """Who keeps the attempt itself, in words: a pin, registered versions."""
    word = pins(store).get(place_of(made))
    said = [f"pinned by {word.who}" + (f": {word.why}" if word.why else "")] if word else []
    for model in store.registered():
        if model.attempt == made.attempt:
            said.append(
                f"registered as {model.name} version {model.version}" + (f", {model.alias}" if model.alias else "")
            )
    return said
