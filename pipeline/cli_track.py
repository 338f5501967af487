"""The command `corpusmill track`, which tells a tracker of runs that are over: what it missed, or all that the store holds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, StoreRoot, TrackerName
from pipeline.errors import CorpusmillError, UsageError

if TYPE_CHECKING:
    from pipeline.replay import Tale
    from pipeline.store import Store
    from pipeline.tracker import Tracker

    Named = tuple[str, Callable[[], Tale]]

LAST = "last"
PATIENCE = 3
"""Runs in a row that fail alike before their first record: then the tracker is away, and the rest is not tried."""


def track(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="ids of runs or their beginnings; last: the last run")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="every run, and artifacts whose run has no record")] = False,
    tracker: TrackerName = "mlflow",
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Tell MLflow of runs that are over, from the store. What it has already is kept once; what it misses is added."""
    from pipeline import plugins
    from pipeline.replay import is_live, whole
    from pipeline.store import Store
    from pipeline.tables import table
    from pipeline.telling import again

    if bool(runs) == everything:
        raise UsageError("track is given runs, or --all", mend="corpusmill runs lists the runs")
    opened, make = Store(store), plugins.load("trackers", tracker)
    found = whole(opened) if everything else _named(opened, runs or [])
    live = [run for run, _ in found if is_live(opened, run)] if everything else []
    rows, faults, alike = list[list[str]](), list[str](), list[str]()
    for number, (run, call) in enumerate([one for one in found if one[0] not in live]):
        if len(alike) == PATIENCE and len(set(alike)) == 1:
            rows.append([run, "", "", "", "", "no", f"not tried: {tracker} does not answer"])
            faults.append(run)
            continue
        _progress(f"{number + 1}/{len(found) - len(live)} {run}")
        row, fault, begun = _tell(opened, run, call, lambda: make(opened.url))
        rows.append(row)
        faults += [run] if fault else []
        alike = [] if begun else [*alike, fault][-PATIENCE:]
    _progress("")
    rows += [[run, "", "running", "", "", "–", "its own driver, or corpusmill attach, tells of it"] for run in live]
    header = ["run", "dag", "ended", "stages", "events", "told", ""]
    print("\n".join(table(header, rows, right=(3, 4))) if rows else f"nothing to tell in {opened.url}")
    if faults:
        command = again(opened, ["--all"] if everything else faults, tracker)
        raise CorpusmillError(f"{len(faults)} of {len(rows)} could not be told", mend=f"again: {command}")


def _named(store: Store, names: Sequence[str]) -> list[Named]:
    """The runs that `names` mean, in the order in which they began. Raises UsageError, before anything is told."""
    from functools import partial

    from pipeline.catalogue import find_run
    from pipeline.replay import recorded

    found = sorted({find_run(store, "" if name == LAST else name) for name in names})
    if len(found) == 1:  # what is wrong with the only one is the one thing to say
        tale = recorded(store, found[0])
        return [(found[0], lambda: tale)]
    return [(run, partial(recorded, store, run)) for run in found]


def _tell(store: Store, run: str, call: Callable[[], Tale], make: Callable[[], Tracker]) -> tuple[list[str], str, bool]:
    """Tell one run: its row, why it could not be told, and whether its first record could be written."""
    from pipeline.ledger import ENDS
    from pipeline.replay import tell
    from pipeline.tables import duration

    cells, events, began = ["", "", ""], 0, time.monotonic()

    def heard() -> None:
        nonlocal events
        events += 1

    begun, fault, note = False, "", ""
    try:
        tale = call()
        cells = [tale.record.dag, ENDS.get(tale.state, tale.state), str(len(tale.ends))]
        tell(store, tale, make(), heard)
        note = f"{duration(time.monotonic() - began)}" + "".join(f"; {line}" for line in tale.complaints[:2])
    except Exception as wrong:  # the other runs are told all the same
        fault = (str(wrong) or repr(wrong)).splitlines()[0]
        begun = events > 0
    return [run, *cells, f"{events:,}", "no" if fault else "yes", fault or note], fault, begun or not fault


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{'telling ' + text if text else ''}", end="", file=sys.stderr, flush=True)
