"""Care for a store: `verify` reads every byte again, `survey` finds what nothing needs any more and `sweep` removes it.

Manifests are never removed. What is dropped says so before its first byte goes, so that a kill leaves nothing in doubt.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline import digest, ledger, verified
from pipeline.catalogue import each, everything
from pipeline.digest import FileRecord
from pipeline.errors import StoreError, UsageError
from pipeline.files import LocalFiles
from pipeline.keeping import pins, uses
from pipeline.lease import held, is_held
from pipeline.manifest import Dropped, Manifest
from pipeline.messages import nearest
from pipeline.store import Store, place_of
from pipeline.who import who

DAY = 86_400.0
PARTS = ("data", "resume")


class Wrong(NamedTuple):
    """A file that is not as its manifest says: ``missing``, ``corrupt``, ``unreadable`` or ``extra``."""

    manifest: Manifest
    file: str
    what: str


def chosen(store: Store, names: Collection[str]) -> tuple[list[Manifest], list[str]]:
    """The artifacts to be read, all or those of the labels and stages in `names`, and the manifests that cannot be read."""
    found, complaints = everything(store)
    for name in names:
        known = list({label for made in found for label in (made.label, made.stage)})
        if name not in known:
            guess = nearest(name, known)
            raise UsageError(
                f"no stage or label in {store.url} is called {name!r}",
                mend=f"did you mean {guess!r}?" if guess else "corpusmill show tells the labels of the last run",
            )
    wanted = [made for made in found if not names or made.label in names or made.stage in names]
    return [made for made in wanted if not store.is_dropped(made)], complaints


def verify(store: Store, made: Manifest, read: Callable[[int], None] = lambda size: None) -> list[Wrong]:
    """What is wrong with the files of an artifact, every byte of which is read; `read` is told of the bytes as they go."""
    wrong = []
    for part, files in (("data", made.files), ("resume", made.resume)):
        place = f"{place_of(made)}/{part}"
        found = dict.fromkeys(store.files.below(place), "extra")
        for name in made.rendered if part == "data" else ():
            found.pop(name, None)
        for name, record in files.items():
            found[name] = _state(store, f"{place}/{name}", record)
            read(record.size)
        faults = [Wrong(made, f"{part}/{name}", state) for name, state in sorted(found.items()) if state]
        if faults:  # what was remembered as sound is to be read again before it is used
            verified.memory_of(store.local / place).unlink(missing_ok=True)
        wrong += faults
    return wrong


def _state(store: Store, name: str, record: FileRecord) -> str:
    try:
        return "" if store.files.digest(name) == record else "corrupt"
    except FileNotFoundError:
        return "missing"
    except StoreError:
        if store.files.remote:  # it is the server that does not answer
            raise
        return "unreadable"


@dataclass
class Survey:
    """What a sweep would remove: data of artifacts, what an earlier sweep left, scratch of attempts, events of runs.

    The scratch is by its place below .partial, with its bytes, or None where they are not known.
    """

    drops: list[Manifest] = field(default_factory=list)
    unfinished: list[Manifest] = field(default_factory=list)
    partials: dict[str, int | None] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.drops or self.unfinished or self.partials or self.runs)


def weight(made: Manifest) -> int:
    """The bytes that dropping an artifact frees."""
    return made.size + sum(record.size for record in made.resume.values())


def survey(store: Store, keep_days: float, drop: Sequence[Manifest] = (), now: float | None = None) -> Survey:
    """What nothing registered, pinned, adopted or used in the last `keep_days` needs, and what is named in `drop`.

    Raises StoreError where a record cannot be read, for nobody knows what that needs; UsageError for a drop of what is
    pinned, or in use.
    """
    since = (time.time() if now is None else now) - keep_days * DAY
    manifests, complaints = everything(store)
    if complaints:
        raise StoreError(
            f"nothing is removed while a manifest cannot be read, for what it needs is not known: {complaints[0]}",
            mend="corpusmill verify lists all that is wrong",
        )
    pinned, using = set(pins(store)), _used(store, since)
    for made in drop:
        _may_go(store, made, pinned, using.live)
    roots = pinned | using.recent | set(map(place_of, store.registered()))
    roots |= {place_of(made) for made in manifests if made.created >= since or made.origin}
    kept = needed(manifests, roots) - {place_of(made) for made in drop}
    gone = [made for made in manifests if store.is_dropped(made)]
    lost = {place_of(made) for made in gone}
    return Survey(
        drops=[made for made in manifests if place_of(made) not in kept and place_of(made) not in lost],
        unfinished=[made for made in gone if set(PARTS) & set(store.files.children(place_of(made)))],
        partials=_stale(store, since),
        runs=using.old,
    )


def needed(manifests: Iterable[Manifest], roots: Iterable[str]) -> set[str]:
    """The places of `roots` and of all that they were made from."""
    by_place = {place_of(made): made for made in manifests}
    pending, found = list(roots), set[str]()
    while pending:
        place = pending.pop()
        if place not in found:
            found.add(place)
            above = by_place[place].inputs.values() if place in by_place else ()
            pending += map(place_of, above)
    return found


def _may_go(store: Store, made: Manifest, pinned: set[str], live: set[str]) -> None:
    place = place_of(made)
    if place in pinned:
        raise UsageError(f"{made.label} ({place}) is pinned", mend=f"corpusmill unpin {place}, then again")
    if place in live:
        raise UsageError(f"{made.label} ({place}) is in use by a run", mend="wait for the run, or stop it")
    if store.is_dropped(made):
        raise UsageError(f"{made.label} ({place}) was dropped before", mend="name another, or none")


class _Use(NamedTuple):
    """Places that runs since some day used, those that runs use now, and the runs before that day that still have events."""

    recent: set[str]
    live: set[str]
    old: list[str]


def _used(store: Store, since: float) -> _Use:
    use = _Use(set(), set(), [])
    for word in uses(store).values():
        use.recent.update(word.attempts if word.when >= since else ())
    known = ledger.runs(store)
    for run, one in zip(known, each(store, lambda run: ledger.account(store, run), known), strict=True):
        if isinstance(one, str):  # cut short as it began: it used nothing
            continue
        places = {stage.attempt for stage in one.stages.values() if stage.attempt}
        if one.ended in ledger.OPEN:
            use.live.update(places)
        if one.ended in ledger.OPEN or one.started + one.seconds >= since:
            use.recent.update(places)
        elif store.files.exists(f".runs/{run}/events"):
            use.old.append(run)
    return use


def _stale(store: Store, since: float) -> dict[str, int | None]:
    """Scratch that nobody holds and nobody touched since, here and in the store, with its bytes."""
    found: dict[str, int | None] = {}
    here = store.local / ".partial"
    for attempt in sorted(path for path in here.glob("*/*/*") if path.is_dir()):
        with contextlib.suppress(FileNotFoundError):  # somebody works there, and what was listed has gone
            files = digest.files_below(attempt)
            if max(path.stat().st_ctime for path in (attempt, *files)) < since:
                found[attempt.relative_to(here).as_posix()] = sum(path.stat().st_size for path in files)
    if not store.files.remote:
        return {place: size for place, size in found.items() if not is_held(store.local / _lease(place))}
    from pipeline.depot import began
    from pipeline.object_lease import live

    for stage in store.files.children(".partial"):
        for key in store.files.children(f".partial/{stage}"):
            names = store.files.children(f".partial/{stage}/{key}")
            found |= {f"{stage}/{key}/{name}": None for name in names if name != "lease" and began(name) < since}
    held_now = live(store.files, {_lease(place) for place in found})
    return {place: size for place, size in found.items() if _lease(place) not in held_now}


def _lease(place: str) -> str:
    return f".partial/{place.rpartition('/')[0]}/lease"


def sweep(store: Store, found: Survey) -> None:
    """Remove what was found. Killed at any moment, the next survey finds the rest."""
    name = who()
    for made in found.drops:
        word = Dropped(who=name, when=time.time(), size=weight(made))
        store.files.create(f"{place_of(made)}/dropped.json", word.model_dump_json(indent=1).encode())
        _remove(store, made)
    for made in found.unfinished:
        _remove(store, made)
    for place in found.partials:
        _clear(store, place)
    for run in found.runs:
        ledger.settle(store, run)
        store.files.remove(f".runs/{run}/events")
        store.files.remove(f".runs/{run}/sessions")


def _clear(store: Store, place: str) -> None:
    """Remove the scratch of an attempt that is not complete, and see to it that it never will be."""
    if store.files.remote:
        from pipeline.depot import VOID
        from pipeline.object_lease import kept

        with kept(store.files, _lease(place)):
            if store.files.create(f"{place}/manifest.json", VOID):
                for part in PARTS:
                    store.files.remove(f"{place}/{part}")
            store.files.remove(f".partial/{place}")
            LocalFiles(store.local).remove(f".partial/{place}")
    elif not is_held(store.local / _lease(place)):
        with held(store.local / _lease(place)):
            store.files.remove(f".partial/{place}")


def _remove(store: Store, made: Manifest) -> None:
    for part in PARTS:
        place = f"{place_of(made)}/{part}"
        verified.memory_of(store.local / place).unlink(missing_ok=True)
        store.files.remove(place)
        LocalFiles(store.local).remove(place)  # the copy of a store elsewhere
