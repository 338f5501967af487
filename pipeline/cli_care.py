"""The commands that care for a store: `verify`, `pin`, `unpin` and `gc`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, StoreRoot
from pipeline.errors import DecisionNeeded, StoreError, UsageError

if TYPE_CHECKING:
    from pipeline.care import Survey, Wrong
Thing = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="a label, STAGE/KEY[/ATTEMPT], or the beginning of a digest")
]
DagOf = Annotated[str, typer.Option("--dag", metavar="DAG", help="the dag that a label is of")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="why, on the record")]


def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[LABEL|STAGE]...", help="all where left out")] = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Read every byte of the artifacts again, and say what is missing, corrupt or not theirs."""
    from pipeline import care
    from pipeline.store import Store, place_of
    from pipeline.tables import size, some

    opened = Store(store)
    manifests, complaints = care.chosen(opened, names or [])
    wrong: list[Wrong] = []
    weight = sum(care.weight(made) for made in manifests)
    with _progress(weight) as (told, read):
        for made in manifests:
            told(made.label)
            wrong += care.verify(opened, made, read)
    for one in wrong:
        print(f"{one.what:<8} {opened.url}/{place_of(one.manifest)}/{one.file}")
    for line in complaints:
        print(f"unreadable {line}")
    if wrong or complaints:
        labels = sorted({one.manifest.label for one in wrong})
        mend = "; ".join([f"corpusmill run DAG --rebuild {label}" for label in labels])
        unreadable = "delete the directory of a manifest that is damaged" if complaints else ""
        raise StoreError(
            f"{some(len(wrong), 'file')} {'is' if len(wrong) == 1 else 'are'} not as recorded, "
            f"{some(len(complaints), 'manifest')} cannot be read",
            mend="; ".join(part for part in (mend, unreadable) if part),
        )
    print(f"{some(len(manifests), 'artifact')}, {size(weight)}: every byte is as recorded")


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """Two calls: what is read now, and how many bytes went by; drawn on a terminal alone."""
    if not sys.stdout.isatty():
        yield (lambda label: None), (lambda size: None)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<22}"), BarColumn(24), DownloadColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield (lambda label: progress.update(task, description=label)), (lambda size: progress.advance(task, size))


def pin(name: Thing, why: Why = "", dag: DagOf = "", store: StoreRoot = DEFAULT_STORE) -> None:
    """Keep an artifact and all that it was made from, whatever its age, until it is unpinned."""
    _pin(name, why, dag, store, True)


def unpin(name: Thing, why: Why = "", dag: DagOf = "", store: StoreRoot = DEFAULT_STORE) -> None:
    """Let gc drop an artifact that was pinned, once nothing else needs it."""
    _pin(name, why, dag, store, False)


def _pin(name: str, why: str, dag: str, store: str, pinned: bool) -> None:
    from pipeline import keeping
    from pipeline.catalogue import find_artifact
    from pipeline.store import Store, place_of

    opened = Store(store)
    made = find_artifact(opened, name, dag)
    if pinned and opened.is_dropped(made):
        raise UsageError(f"the data of {made.label} ({place_of(made)}) was dropped", mend="build it again first")
    if not pinned and place_of(made) not in keeping.pins(opened):
        print(f"{made.label} ({place_of(made)}) is not pinned")
        return
    word = keeping.pin(opened, made, why, pinned=pinned)
    print(f"{'pinned' if pinned else 'unpinned'} {made.label} ({place_of(made)}) by {word.who}")


def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="keep what was made or used in so many days")] = 30,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="ARTIFACT", help="drop this besides, even if a registered model needs it"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be removed, and remove nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Drop the data of what nothing registered, pinned or recent needs. Manifests stay: it can be built again."""
    from pipeline import care
    from pipeline.catalogue import find_artifact
    from pipeline.store import Store

    opened = Store(store)
    found = care.survey(opened, keep_days, [find_artifact(opened, name) for name in drop or []])
    if found.empty:
        print("nothing to remove")
        return
    for line in _found(found):
        print(line)
    if dry_run:
        return
    if not yes and not sys.stdin.isatty():
        raise DecisionNeeded("gc removes nothing unasked", mend="add --yes, or --dry-run to see alone")
    if not yes and not typer.confirm("remove it?"):
        raise DecisionNeeded("nothing was removed", mend="corpusmill pin ARTIFACT keeps one")
    care.sweep(opened, found)
    print("removed")


def _found(found: Survey) -> Iterator[str]:
    """What would be freed: a line for each stage, the scratch, the events; with a total."""
    from pipeline.care import weight
    from pipeline.tables import size, table

    rows: list[tuple[str, int, int | None, str]] = []
    for stage in sorted({made.stage for made in found.drops}):
        made = [one for one in found.drops if one.stage == stage]
        rows.append((stage, len(made), sum(map(weight, made)), ", ".join(sorted({one.label for one in made}))))
    if found.partials:
        sizes = [freed for freed in found.partials.values() if freed is not None]
        whole = sum(sizes) if len(sizes) == len(found.partials) else None
        rows.append(("scratch", len(found.partials), whole, "attempts that were cut short"))
    if found.unfinished:
        rows.append(("dropped before", len(found.unfinished), None, "what a gc that was stopped left"))
    if found.runs:
        rows.append(("events", len(found.runs), None, "runs of long ago; their accounts stay"))
    cells = [[name, f"{count}", "unknown" if freed is None else size(freed), of] for name, count, freed, of in rows]
    yield from table(["stage", "number", "frees", "of"], cells, right=(1, 2))
    known = size(sum(freed or 0 for _, _, freed, _ in rows))
    yield f"{known} in all" + (", besides what is unknown" if any(freed is None for _, _, freed, _ in rows) else "")
