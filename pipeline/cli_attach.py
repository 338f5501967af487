"""The command `corpusmill attach`, which follows a detached run from anywhere, brings what it makes, or stops it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli_options import DEFAULT_STORE, StoreRoot, TrackerName
from pipeline.errors import CorpusmillError, DecisionNeeded, Stopped, UsageError

if TYPE_CHECKING:
    from pipeline.dag import Dag
    from pipeline.tracker import RunRecord


def told(run: str, store: str, dag: str, rest: Sequence[str]) -> None:
    """Say of a run that it goes on by itself, how to follow it, and that the stages `rest` are made then.

    `dag` is the file of its dag, where that has something to say at the end.
    """
    print(f"run {run} goes on by itself, whatever becomes of this machine")
    print(f"  to follow it, and bring what it makes:  {_command(run, store, dag)}")
    print(f"  to stop it, and what it spends:         {_command(run, store)} --stop")
    if rest:
        print(f"  made here, by whoever follows it to its end: {', '.join(rest)}")


def _command(run: str, store: str, dag: str = "") -> str:
    given = {"--dag": dag, "--store": store if store != DEFAULT_STORE else ""}
    options = [word for option, value in given.items() if value for word in (option, value)]
    return shlex.join(["corpusmill", "attach", run, *options])


def attach(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="id of the run or its beginning; the last one if left out")
    ] = "",
    store: StoreRoot = DEFAULT_STORE,
    stop: Annotated[
        bool, typer.Option("--stop", help="end it, and all that it spends; what was committed is kept")
    ] = False,
    dag: Annotated[
        str,
        typer.Option(metavar="FILE:FUNCTION", help="its dag, if in a file of yours: tell what that says at the end"),
    ] = "",
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
    drawn = drawn_of(begun, dag) if begun else None
    display = Display(begun.dag if begun else found)
    try:
        outcome = attaching.attach(
            opened, found, places=executor_at, trackers=partial(trackers_of, tracker, opened), observer=display
        )
    except KeyboardInterrupt:
        display.close()
        print(f"left; run {found} goes on. To follow it again: {_command(found, store, dag)}", file=sys.stderr)
        sys.exit(130)
    finally:
        display.close()
    display.finished(outcome)
    if outcome.stopped:
        why = next(fault.message for fault in outcome.faults.values() if isinstance(fault, Stopped))
        raise DecisionNeeded(
            f"{why}; what was committed is kept",
            mend="to go on, run the same command as before; where a limit stopped it, with one that is not spent",
        )
    if not outcome.ok:
        raise CorpusmillError("some stages have no artifact", mend="mend what is wrong, then run it again")
    for line in drawn.summary(outcome) if drawn and drawn.summary else []:
        print(line)


def drawn_of(begun: RunRecord, dag: str) -> Dag | None:
    """The whole dag of a run, drawn anew with its dials: that of dags/ by its name on record, or `dag` as a person names it.

    None where that is not known, or of which a part was run: no file is loaded because a record names it. Raises
    CorpusmillError for a `dag` that cannot be drawn, or is another.
    """
    from pipeline.loading import load, names

    if begun.only or not (dag or begun.dag in names()):
        return None
    try:
        _, drawn, _ = load(dag or begun.dag, [f"{dial}={json.dumps(value)}" for dial, value in begun.dials.items()])
    except CorpusmillError:
        if dag:
            raise
        return None  # it was edited since
    made = {label: stage.stage_name() for label, stage in drawn.stages.items()}
    if made == {label: one.stage for label, one in begun.stages.items()}:
        return drawn
    if dag:
        raise UsageError(
            f"{dag} is not what run {begun.run} was drawn from", mend="name its own dag, or leave --dag out"
        )
    return None
