"""The command `corpusmill attach`, which follows a detached run from anywhere, brings what it makes, or stops it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, StoreRoot, TrackerName
from pipeline.errors import CorpusmillError, DecisionNeeded, Stopped

if TYPE_CHECKING:
    from pipeline.outcome import Outcome
    from pipeline.tracker import RunRecord


def told(run: str, store: str, rest: Sequence[str]) -> None:
    """Say of a run that it goes on by itself, how to follow it, and that the stages `rest` are made then."""
    again = _command(run, store)
    print(f"run {run} goes on by itself, whatever becomes of this machine")
    print(f"  to follow it, and bring what it makes:  {again}")
    print(f"  to stop it, and what it spends:         {again} --stop")
    if rest:
        print(f"  made here, by whoever follows it to its end: {', '.join(rest)}")


def _command(run: str, store: str) -> str:
    return shlex.join(["corpusmill", "attach", run, *(["--store", store] if store != DEFAULT_STORE else [])])


def attach(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="id of the run or its beginning; the last one if left out")
    ] = "",
    store: StoreRoot = DEFAULT_STORE,
    stop: Annotated[
        bool, typer.Option("--stop", help="end it, and all that it spends; what was committed is kept")
    ] = False,
    tracker: TrackerName = "mlflow",
) -> None:
    """Follow a detached run until it ends, and bring here what it makes. Ctrl-C leaves it, and it goes on."""
    from functools import partial

    from pipeline import attaching
    from pipeline.apart import trackers_of
    from pipeline.catalogue import find_run
    from pipeline.display import Display
    from pipeline.ledger import record
    from pipeline.plugins import executor_at
    from pipeline.store import Store
    from pipeline.who import who

    opened = Store(store)
    found = find_run(opened, "" if run == "last" else run)
    if stop:
        attaching.cancel(opened, found, places=executor_at, who=who())
        print(f"run {found} is stopped; what was committed is kept")
        return
    begun = record(opened, found)
    display = Display(begun.dag if begun else found)
    try:
        outcome = attaching.attach(
            opened, found, places=executor_at, trackers=partial(trackers_of, tracker, opened), observer=display
        )
    except KeyboardInterrupt:
        display.close()
        print(f"left; run {found} goes on. To follow it again: {_command(found, store)}", file=sys.stderr)
        sys.exit(130)
    finally:
        display.close()
    display.finished(outcome)
    if outcome.stopped:
        why = next(fault.message for fault in outcome.faults.values() if isinstance(fault, Stopped))
        raise DecisionNeeded(
            f"{why}; what was committed is kept",
            mend="run the same command as before to go on, with a limit that is not spent",
        )
    if not outcome.ok:
        raise CorpusmillError("some stages have no artifact", mend="mend what is wrong, then run it again")
    for line in summary(begun, outcome) if begun else []:
        print(line)


def summary(begun: RunRecord, outcome: Outcome) -> list[str]:
    """What a dag of dags/ says at the end of its run; of a file of one's own the record does not tell where it lies."""
    from pipeline.loading import find, names

    if begun.only or begun.dag not in names():
        return []
    try:
        drawn = find(begun.dag)(**begun.dials)
    except (CorpusmillError, TypeError, ValueError):  # it was edited since
        return []
    same = set(drawn.stages) == set(begun.stages)
    return drawn.summary(outcome) if drawn.summary and same else []
