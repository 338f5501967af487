"""What a model card is written from: a manifest, those that it was made from, and the Reports that measured it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.catalogue import everything
from pipeline.counted import plain
from pipeline.errors import StoreError
from pipeline.lineage import Hop, above, readings
from pipeline.manifest import Manifest, SourceRecord
from pipeline.store import Store


@dataclass(frozen=True)
class Facts:
    """`hops` are all that the model was made from, sources first, itself last; `sources` is what they read from outside, by name.

    `reports` are the newest of each key.
    """

    made: Manifest
    hops: Mapping[str, Hop]
    sources: Mapping[str, list[SourceRecord]]
    reports: list[Manifest]

    @property
    def hop(self) -> Hop:
        """The model itself."""
        return list(self.hops.values())[-1]

    @property
    def manifests(self) -> list[Manifest]:
        """Those of the hops, as far as they can be read."""
        return [hop.manifest for hop in self.hops.values() if hop.manifest]

    @property
    def missing(self) -> int:
        """Hops whose manifest has gone or cannot be read."""
        return sum(not hop.manifest for hop in self.hops.values())

    @property
    def chain(self) -> list[Manifest]:
        """The models that this one came to be by, itself last."""
        return [one for one in self.manifests if one.kind == self.made.kind]

    @property
    def gguf(self) -> str:
        """The file for llama.cpp; empty where there is none."""
        return next((name for name in sorted(self.made.files) if name.endswith(".gguf")), "")

    @property
    def chat(self) -> bool:
        """Whether it was made to be talked to: it has a chat template, and it is not the first model of its chain."""
        return "chat_template.jinja" in self.made.files and bool(len(self.chain) > 1 or self.made.origin)

    @property
    def licences(self) -> list[str]:
        """The licence of every source, and of every adopted artifact; empty where it is not known."""
        return [one.licence for records in self.sources.values() for one in records]


class Score(NamedTuple):
    """A metric of a Report, with the bounds of its interval where it has them."""

    name: str
    value: float
    low: float | None
    high: float | None


def gather(store: Store, made: Manifest) -> Facts:
    """All that the store has on record of the model."""
    hops = above(store, made)
    known = {name: [record for _, record in every] for name, every in readings(hops).items()}
    for one in [hop.manifest for hop in hops.values() if hop.manifest and not hop.manifest.sources]:
        for name, record in _adopted(one).items():
            known.setdefault(name, []).append(record)
    return Facts(made, hops, {name: list(dict.fromkeys(every)) for name, every in known.items()}, reports(store, made))


def _adopted(made: Manifest) -> dict[str, SourceRecord]:
    """Where something was adopted from before manifests named their sources."""
    told = made.origin
    record = SourceRecord(at=told.get("from", ""), licence=told.get("licence", ""), revision=made.digest)
    return {made.label: record} if told else {}


def reports(store: Store, made: Manifest) -> list[Manifest]:
    """The Reports on a model of this content, the newest of each key, in the order in which they were made."""
    newest: dict[str, Manifest] = {}
    for one in everything(store, [stage for stage in store.stages() if _reports(store, stage)]).manifests:
        if any(given.digest == made.digest for given in one.inputs.values()):
            newest.setdefault(f"{one.stage}/{one.key}", one)
    return list(reversed(newest.values()))


def _reports(store: Store, stage: str) -> bool:
    """Whether a stage makes Reports. It makes one kind alone, so that any of its manifests tells."""
    for key in store.files.children(stage):
        for attempt in store.files.children(f"{stage}/{key}"):
            with contextlib.suppress(StoreError):
                if made := store.manifest(f"{stage}/{key}/{attempt}"):
                    return made.kind == "Report"
    return False


def scores(report: Manifest) -> list[Score]:
    """Its metrics. ``NAME_low`` and ``NAME_high`` bound NAME; plain ``low`` and ``high`` bound the first."""
    told = plain(report.metrics)
    found, taken = [], set[str]()
    for place, (name, value) in enumerate(told.items()):
        for bounds in ((f"{name}_low", f"{name}_high"), *([("low", "high")] if not place else [])):
            low, high = (told.get(bound) for bound in bounds)
            if low is not None and high is not None and low <= value <= high:
                taken |= set(bounds)
                found.append(Score(name, value, low, high))
                break
        else:
            found.append(Score(name, value, None, None))
    return [one for one in found if one.name not in taken]
