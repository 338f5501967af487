"""What an artifact was made from, read from manifests alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import StoreError
from pipeline.manifest import Manifest, SourceRecord
from pipeline.store import Store, place_of


@dataclass(frozen=True)
class Amount:
    """What an artifact holds of a source."""

    documents: float | None = None
    tokens: float | None = None
    chats: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Hop:
    """One artifact: its manifest, None where that cannot be read, and the places of what it was made from."""

    place: str
    manifest: Manifest | None
    above: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    amounts: Mapping[str, Amount] = field(default_factory=dict)


def above(store: Store, manifest: Manifest) -> dict[str, Hop]:
    """Everything that `manifest` was made from, sources first, itself last."""
    found: dict[str, Hop] = {}
    pending: list[tuple[str, Manifest | None]] = [(place_of(manifest), manifest)]
    while pending:
        place, made = pending.pop()
        inputs = (
            {} if made is None else {name: f"{one.stage}/{one.key}/{one.attempt}" for name, one in made.inputs.items()}
        )
        found.pop(place, None)
        found[place] = Hop(place, made, tuple(dict.fromkeys(inputs.values())), inputs)
        for one in found[place].above:
            try:
                pending.append((one, store.manifest(one)))
            except StoreError:
                pending.append((one, None))
    return dict(reversed(found.items()))


def sources(hops: Mapping[str, Hop]) -> dict[str, SourceRecord]:
    """Every source that the hops read, by its name."""
    return {name: one for hop in hops.values() if hop.manifest for name, one in hop.manifest.sources.items()}
