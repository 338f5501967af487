"""Everything that a store holds, by the names that people use: a run, a label, a place, the beginning of an id or digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from pipeline import ledger, registered
from pipeline.errors import StoreError, UsageError
from pipeline.manifest import Manifest
from pipeline.messages import nearest
from pipeline.store import Store, place_of

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Records that are read at the same time where each takes a round trip."""
SHORTEST = 4
"""Characters of an id or a digest that are enough to look for it."""


class Everything(NamedTuple):
    """Every complete attempt, newest first, and what could not be read."""

    manifests: list[Manifest]
    complaints: list[str]


def everything(store: Store, stages: Iterable[str] | None = None) -> Everything:
    """The attempts of all stages, or of `stages`. One that cannot be read is a complaint, and the rest is there."""
    complaints: list[str] = []

    def of_key(key: str) -> list[Manifest]:
        found = []
        for name in store.files.children(key):
            try:
                made = store.manifest(f"{key}/{name}")
            except StoreError as fault:
                complaints.append(fault.message)
                continue
            found += [made] if made else []
        return found

    names = store.stages() if stages is None else stages
    keys = [f"{stage}/{key}" for stage in names for key in store.files.children(stage)]
    found = [made for of_one in each(store, of_key, keys) for made in of_one]
    return Everything(sorted(found, key=lambda made: made.created, reverse=True), sorted(complaints))


def each(store: Store, read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``read(item)`` for each, in order; many at once where the store is across a network."""
    if not store.files.remote:
        yield from map(read, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="catalogue") as threads:
        yield from threads.map(read, items)


def find(store: Store, name: str, dag: str = "") -> str | Manifest:
    """The id of the run, or the manifest of the artifact, that `name` means; a label means its newest artifact, of `dag`.

    A registered model means its champion; with ``@previous`` or ``@VERSION`` behind it another of its versions.
    Raises UsageError where it means nothing here, or more than one thing.
    """
    runs = ledger.runs(store)
    if name in runs:
        return name
    version = None if dag else registered.find(store, name)
    model = store.manifest(place_of(version)) if version else None
    if "/" in name and model is None:
        return _at(store, name)
    labelled = {} if "/" in name else _labelled(store, name, dag, runs)
    if labelled or (version and model):
        champion: dict[str, str | Manifest] = {f"{version.name}@{version.version}": model} if version and model else {}
        return _one(name, {f"--dag {drawn}": made for drawn, made in labelled.items()} | champion)
    meant: dict[str, str | Manifest] = {}
    found = everything(store).manifests
    if len(name) >= SHORTEST:
        meant = {f"run {run}": run for run in runs if run.startswith(name)}
        for made in reversed(found):  # the newest of those with one digest or key
            for what, value in (("attempt", made.attempt), ("digest", made.digest), ("key", made.key)):
                if value.startswith(name):
                    meant[f"{what} {value}"] = made
    if meant:
        return _one(name, meant)
    raise _unknown(store, name, dag, [*(made.label for made in found), *runs])


def _unknown(store: Store, name: str, dag: str, known: list[str]) -> UsageError:
    if dag:
        drawn = {
            begun.dag for run in ledger.runs(store) if (begun := ledger.record(store, run)) and name in begun.stages
        }
        mend = f"it is of: {', '.join(sorted(drawn))}" if drawn else "corpusmill runs lists the runs and their dags"
        return UsageError(f"no run of dag {dag!r} in {store.url} has made {name!r}", mend=mend)
    guess = nearest(name, list(dict.fromkeys(known)))
    mend = (
        f"did you mean {guess!r}?" if guess else "corpusmill runs lists the runs; an artifact has a label and a digest"
    )
    return UsageError(f"nothing in {store.url} is called {name!r}", mend=mend)


def find_run(store: Store, name: str) -> str:
    """The id of the run that `name`, its beginning, means; the last run without a name. Raises UsageError."""
    runs = ledger.runs(store)
    found = [name] if name in runs else [run for run in runs if run.startswith(name)]
    if not runs:
        raise UsageError(f"there are no runs in {store.url}", mend="corpusmill run DAG makes one")
    if not found:
        raise UsageError(f"no run in {store.url} is called {name!r}", mend="corpusmill runs lists the runs")
    if name and len(found) > 1:
        raise UsageError(f"{name} may mean {len(found)} runs: {', '.join(found[:8])}", mend="name one of them")
    return found[0]


def find_artifact(store: Store, name: str, dag: str = "") -> Manifest:
    """The artifact that `name` means. Raises UsageError, also where it means a run."""
    found = find(store, name, dag)
    if isinstance(found, str):
        raise UsageError(
            f"{name} is a run, and an artifact is wanted", mend=f"corpusmill show {name} lists its artifacts"
        )
    return found


def _one(name: str, meant: dict[str, str | Manifest]) -> str | Manifest:
    distinct = {found if isinstance(found, str) else place_of(found): found for found in meant.values()}
    if len(distinct) > 1:
        shown = ", ".join(list(meant)[:8]) + (" …" if len(meant) > 8 else "")
        raise UsageError(f"{name} may mean {len(distinct)} things: {shown}", mend="name one of them")
    return next(iter(distinct.values()))


def _at(store: Store, name: str) -> Manifest:
    """The newest attempt at STAGE/KEY[/ATTEMPT], also as a path; of key and attempt the beginning is enough."""
    stage, *below = name.removeprefix(store.url).strip("/").split("/")[:3]
    key, attempt = (*below, "", "")[:2]
    found = [
        made
        for made in reversed(everything(store, [stage]).manifests)
        if made.key.startswith(key) and made.attempt.startswith(attempt)
    ]
    if not found:
        raise UsageError(
            f"there is no artifact {name} in {store.url}", mend="a place is STAGE/KEY or STAGE/KEY/ATTEMPT"
        )
    only = _one(name, {place_of(made) if attempt else f"{stage}/{made.key}": made for made in found})
    assert isinstance(only, Manifest)
    return only


def _labelled(store: Store, label: str, dag: str, runs: list[str]) -> dict[str, str | Manifest]:
    """For each dag with a stage of this label, what its newest run has of it; without any run, what was adopted as it."""
    newest: dict[str, str | Manifest] = {}
    records = each(store, lambda run: ledger.record(store, run), runs)
    for run, begun in zip(runs, records, strict=True):
        if begun is None or label not in begun.stages or begun.dag in newest or (dag and begun.dag != dag):
            continue
        place = ledger.attempts(store, run).get(label)
        made = store.manifest(place) if place else None
        if made:
            newest[begun.dag] = made
    if newest or dag or re.search(r"[^\w.-]", label):
        return newest
    made = next((made for made in everything(store).manifests if made.label == label), None)
    return {"": made} if made else {}
