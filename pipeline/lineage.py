"""What an artifact was made of and what was made from it, from manifests alone: each hop with how much of which source it holds.

The figures of a hop are of what is trained on: its own metrics ``from.SOURCE.documents`` (``tokens``, ``chats``, ``pairs``), or else
what its inputs hold. Inputs of one field (``documents.0``, ``documents.1``) add up; of those of several fields the greatest figure counts,
and a field that knows a source's tokens goes before one that does not. So a model holds what its tokens hold, not what its
tokenizer read of the same; a tuned one holds its conversations, and what the model that it started from was made of. Pairs are answers
to what was asked from a source: a model holds them beside the rest; elsewhere they stand for all that its inputs hold of that source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline import ledger
from pipeline.artifact import MODEL
from pipeline.catalogue import each, everything
from pipeline.counted import MEASURES, PAIRS, Figures, counted
from pipeline.errors import StoreError
from pipeline.manifest import InputRecord, Manifest, SourceRecord
from pipeline.store import Store, place_of


class Amount(NamedTuple):
    """How much of a source an artifact holds, None where nobody counted.

    `share` is of the tokens where they are known, else of the conversations, else of the pairs, else of the documents; of
    documents only where no source of the artifact was counted in tokens.
    """

    documents: float | None = None
    tokens: float | None = None
    chats: float | None = None
    pairs: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Hop:
    """One artifact on the way. `above` are the places of its inputs, each once; `inputs` says which stands in which field.

    `origins` says for each name in `amounts` which sources it began as: conversations written as documents have a name of their
    own. An ancestor whose manifest is missing or cannot be read has none, and says why in `gap`; its label and digest are known.
    """

    place: str
    label: str
    kind: str
    digest: str
    manifest: Manifest | None
    above: tuple[str, ...]
    inputs: dict[str, str]
    amounts: dict[str, Amount]
    origins: dict[str, tuple[str, ...]]
    gap: str = ""


def above(store: Store, *made: Manifest) -> dict[str, Hop]:
    """The hops that lead to `made`, by place: the sources first, every artifact after all it was made from."""
    known: dict[str, Manifest] = {place_of(one): one for one in made}
    gaps: dict[str, str] = {}
    level = list(known.values())
    while level:
        asked = dict.fromkeys(place for one in level for place in _inputs(one).values())
        wanted = [place for place in asked if place not in known and place not in gaps]
        level = []
        for place, found in zip(wanted, each(store, lambda place: _read(store, place), wanted), strict=True):
            if isinstance(found, str):
                gaps[place] = found
            else:
                known[place] = found
                level.append(found)
    return web(known, [place_of(one) for one in made], gaps)


def below(store: Store, *made: Manifest) -> dict[str, Hop]:
    """`made` and everything in the store that was made from it, by place, every artifact after all it was made from."""
    hops = whole(store)
    found = {place_of(one) for one in made}
    for place, hop in hops.items():
        if found.intersection(hop.above):
            found.add(place)
    return {place: hop for place, hop in hops.items() if place in found}


def whole(store: Store) -> dict[str, Hop]:
    """Every artifact of the store as a hop, by place, every one after all it was made from."""
    known = {place_of(one): one for one in reversed(everything(store).manifests)}
    return web(known, list(known))


def web(known: Mapping[str, Manifest], ends: Iterable[str], gaps: Mapping[str, str] | None = None) -> dict[str, Hop]:
    """The hops from the sources to `ends`; what of it is not in `known` is a gap."""
    hops: dict[str, Hop] = {}
    for place, record in _ordered(known, ends):
        if place in known:
            hops[place] = _hop(place, known[place], hops)
        elif record is not None:
            why = (gaps or {}).get(place, "its manifest is missing, or cannot be read")
            hops[place] = Hop(place, record.label, "", record.digest, None, (), {}, {}, {}, why)
    return hops


def readings(hops: Mapping[str, Hop]) -> dict[str, list[tuple[Manifest, SourceRecord]]]:
    """Who read what from outside, by the name of the source, in the order of the hops."""
    found: dict[str, list[tuple[Manifest, SourceRecord]]] = {}
    for made in (hop.manifest for hop in hops.values() if hop.manifest):
        for name, record in made.sources.items():
            found.setdefault(name, []).append((made, record))
    return found


def sources(hops: Mapping[str, Hop]) -> dict[str, SourceRecord]:
    """What all hops read from outside, by name; of two under one name both addresses, licences and revisions are told."""
    found = {name: [record for _, record in every] for name, every in readings(hops).items()}
    return {
        name: SourceRecord(
            **{part: ", ".join(dict.fromkeys(getattr(one, part) for one in records if getattr(one, part)))
               for part in SourceRecord.model_fields}
        )
        for name, records in found.items()
    }  # fmt: skip


def held(hop: Hop, names: Collection[str]) -> dict[str, Amount]:
    """What `hop` holds of these sources, under the names that it has there."""
    return {
        name: amount
        for name, amount in hop.amounts.items()
        if name in names or not set(hop.origins.get(name, ())).isdisjoint(names)
    }


def final(store: Store, run: str) -> list[Manifest]:
    """The artifacts that a run ended with: those that no other of its artifacts was made from, in the order of its stages."""
    read = [_read(store, place) for place in ledger.attempts(store, run).values()]
    made = {place_of(one): one for one in read if not isinstance(one, str)}
    used = {place for one in made.values() for place in _inputs(one).values()}
    return [one for place, one in made.items() if place not in used]


def _inputs(made: Manifest) -> dict[str, str]:
    return {field: place_of(given) for field, given in made.inputs.items()}


def _read(store: Store, place: str) -> Manifest | str:
    """The manifest at `place`, or why there is none."""
    try:
        return store.manifest(place) or "its manifest is missing"
    except StoreError as fault:
        return fault.message


def _ordered(known: Mapping[str, Manifest], ends: Iterable[str]) -> Iterator[tuple[str, InputRecord | None]]:
    """Each place once, after all it was made from, with the record by which a child names it."""
    seen: set[str] = set()
    pending: list[tuple[str, InputRecord | None, bool]] = [(place, None, False) for place in reversed(list(ends))]
    while pending:
        place, record, ready = pending.pop()
        if ready:
            yield place, record
        elif place not in seen:
            seen.add(place)
            pending.append((place, record, True))
            given = known[place].inputs.values() if place in known else ()
            pending += [(place_of(one), one, False) for one in reversed(list(given))]


def _hop(place: str, made: Manifest, hops: Mapping[str, Hop]) -> Hop:
    inputs = {field: at for field, at in _inputs(made).items() if at in hops}
    figures = _figures(made, inputs, hops)
    parents = tuple(dict.fromkeys(inputs.values()))
    given = [hops[at].origins for at in parents]
    origins = {name: (name,) if name in made.sources else _origins(name, given) for name in figures}
    return Hop(place, made.label, made.kind, made.digest, made, parents, inputs, _shared(figures), origins)


def _figures(made: Manifest, inputs: Mapping[str, str], hops: Mapping[str, Hop]) -> dict[str, Figures]:
    own = counted(made.metrics)
    if any(set(one) - {PAIRS} for one in own.values()):
        return own
    given: dict[str, Figures] = {name: {} for name in made.sources} | _inherited(inputs, hops)
    if not own:
        return given
    rest = {name: {what: count for what, count in one.items() if what != PAIRS} for name, one in given.items()}
    return rest | {name: {**(rest.get(name, {}) if made.kind == MODEL else {}), **one} for name, one in own.items()}


def _origins(name: str, given: list[dict[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """What `name` began as: as the inputs have it; a name that none of them has stands for all that is in them."""
    same = [one[name] for one in given if name in one]
    every = same or [origin for one in given for origin in one.values()]
    return tuple(dict.fromkeys(origin for one in every for origin in one)) or (name,)


def _inherited(inputs: Mapping[str, str], hops: Mapping[str, Hop]) -> dict[str, Figures]:
    by_field: dict[str, dict[str, Figures]] = {}
    for place, at in inputs.items():
        total = by_field.setdefault(place.partition(".")[0], {})
        for name, amount in hops[at].amounts.items():
            figures = total.setdefault(name, {})
            for what in MEASURES:
                value = getattr(amount, what)
                if value is not None:
                    figures[what] = figures.get(what, 0.0) + value
    found: dict[str, Figures] = {}
    for name in dict.fromkeys(name for total in by_field.values() for name in total):
        every = [total[name] for total in by_field.values() if name in total]
        best = [figures for figures in every if "tokens" in figures] or every
        pools = {what: every if what == PAIRS else best for what in MEASURES}
        greatest = {what: max((one[what] for one in pool if what in one), default=None) for what, pool in pools.items()}
        found[name] = {what: value for what, value in greatest.items() if value is not None}
    return found


def _shared(figures: Mapping[str, Figures]) -> dict[str, Amount]:
    """The figures with their shares, the largest first."""
    totals = {what: sum(one.get(what, 0.0) for one in figures.values()) for what in MEASURES}

    def amount(one: Figures) -> Amount:
        what = next((what for what in MEASURES if what in one), "")
        alone = what == "documents" and totals["tokens"]
        share = one[what] / totals[what] if what and totals[what] and not alone else None
        return Amount(one.get("documents"), one.get("tokens"), one.get("chats"), one.get(PAIRS), share)

    found = {name: amount(one) for name, one in figures.items()}
    ranks = {name: [-(getattr(one, what) or 0.0) for what in MEASURES] for name, one in found.items()}
    return dict(sorted(found.items(), key=lambda one: ranks[one[0]]))
