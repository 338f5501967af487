"""What holds a source, and what it costs to build it again without that source: of all that is in force, from records alone.

In force is the newest artifact of each label of each dag, and every registered version. What holds nothing else would go;
the rest of what is newest would be built again, at what it cost the last time. A registered version that is no longer the newest is
named, and its rebuilding not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline import ledger
from pipeline.artifact import MODEL
from pipeline.catalogue import each
from pipeline.counted import MEASURES
from pipeline.errors import UsageError
from pipeline.lineage import Amount, Hop, held, readings, sources, whole
from pipeline.manifest import SourceRecord
from pipeline.messages import nearest
from pipeline.registered import champions
from pipeline.spent import less
from pipeline.store import Store, place_of

GOES, REBUILT, OLD = "goes", "rebuilt", "old"


@dataclass(frozen=True)
class Touched:
    """One artifact that holds what is dropped: how much, where it is in force, and what becomes of it.

    `fate` is ``goes`` where nothing else is in it, ``rebuilt``, or ``old`` for a registered version that is not the newest.
    `seconds` and `dollars` are expected of its rebuilding, None where unknown.
    """

    hop: Hop
    amount: Amount
    dags: tuple[str, ...]
    versions: tuple[str, ...]
    fate: str
    seconds: float | None
    dollars: float | None


@dataclass(frozen=True)
class Impact:
    """What was asked to go, and what holds it: models first, then in the order in which they are made."""

    dropped: dict[str, SourceRecord]
    touched: tuple[Touched, ...]

    def rebuilding(self) -> tuple[float | None, float | None, int]:
        """Seconds and dollars of all that would be rebuilt, as far as known (None: nothing is), and of how many no time is known."""
        again = [one for one in self.touched if one.fate == REBUILT]
        seconds = [one.seconds for one in again if one.seconds is not None]
        money = [one.dollars for one in again if one.dollars is not None]
        return sum(seconds) if seconds else None, sum(money) if money else None, len(again) - len(seconds)


def find(store: Store, asked: Sequence[str]) -> Impact:
    """What holds any of the sources `asked`, by name or address. Raises UsageError for one that nothing in the store holds."""
    hops = whole(store)
    names = _names(store, hops, asked)
    newest, versions = _newest(store), _versions(store)
    attempts = {hop.manifest.attempt: hop for hop in hops.values() if hop.manifest}
    found = []
    for place, hop in hops.items():
        amounts = held(hop, names)
        if not amounts or (place not in newest and place not in versions):
            continue
        alone = all(set(hop.origins[name]) <= names or name in names for name in hop.amounts)
        fate = GOES if alone else REBUILT if place in newest else OLD
        seconds, money = _cost(hop, attempts) if fate == REBUILT else (None, None)
        at = tuple(newest.get(place, ())), tuple(versions.get(place, ()))
        found.append(Touched(hop, _sum(amounts.values()), *at, fate, seconds, money))
    found.sort(key=lambda one: one.hop.kind != MODEL)
    known = sources(hops)
    return Impact({name: known.get(name, SourceRecord(at="")) for name in sorted(names)}, tuple(found))


def _names(store: Store, hops: Mapping[str, Hop], asked: Sequence[str]) -> set[str]:
    by_name = {name for hop in hops.values() for name in hop.amounts}
    by_address: dict[str, set[str]] = {}
    for name, every in readings(hops).items():
        for _, record in every:
            by_address.setdefault(record.at, set()).add(name)
    names: set[str] = set()
    for word in asked:
        if word not in by_name and word not in by_address:
            guess = nearest(word, [*by_name, *by_address])
            known = ", ".join(sorted(by_name)) or "none: nothing was made since sources are counted"
            hint = f"did you mean {guess!r}? " if guess else ""
            raise UsageError(f"nothing in {store.url} holds a source {word!r}", mend=f"{hint}the sources are: {known}")
        names |= {word} if word in by_name else by_address[word]
    return names


def _newest(store: Store) -> dict[str, list[str]]:
    """The places of the newest artifact of each label of each dag, with the dags that have it."""
    runs = ledger.runs(store)
    begun = [one for one in each(store, lambda run: ledger.record(store, run), runs) if one]
    seen: set[tuple[str, str]] = set()
    places: dict[str, list[str]] = {}
    for record in begun:
        if all((record.dag, label) in seen for label in record.stages):
            continue
        for label, place in ledger.attempts(store, record.run).items():
            if (record.dag, label) not in seen:
                seen.add((record.dag, label))
                dags = places.setdefault(place, [])
                dags += [record.dag] if record.dag not in dags else []
    return places


def _versions(store: Store) -> dict[str, list[str]]:
    """The places of registered versions, each as ``NAME@VERSION``, the champion marked."""
    places: dict[str, list[str]] = {}
    registered = store.registered()
    last = {name: champions(store, name)[-1:] for name in {one.name for one in registered}}
    for one in registered:
        best = " champion" if [champion.version for champion in last[one.name]] == [one.version] else ""
        places.setdefault(place_of(one), []).append(f"{one.name}@{one.version}{best}")
    return places


def _cost(hop: Hop, attempts: Mapping[str, Hop]) -> tuple[float | None, float | None]:
    """What it took the last time, without what was lost; with what it went on from. What was adopted cannot be made here."""
    made, seconds = hop.manifest, 0.0
    money: float | None = 0.0
    while made is not None and not made.origin:
        spent = less(made.cost, made.lost)
        seconds += spent.wall_seconds
        money = None if spent.dollars is None or money is None else money + spent.dollars
        if not made.extended_from:
            return seconds, money
        before = attempts.get(made.extended_from)
        made = before.manifest if before else None
    return None, None


def _sum(amounts: Collection[Amount]) -> Amount:
    """Several amounts as one; the shares are added of those that are of the same measure as the first."""
    totals: dict[str, float] = {}
    for what in MEASURES:
        counted = [one for one in amounts if getattr(one, what) is not None]
        if counted:
            totals[what] = sum(getattr(one, what) for one in counted)
        shares = [one.share for one in counted if one.share is not None]
        if shares and "share" not in totals:
            totals["share"] = sum(shares)
    return Amount(**totals)
