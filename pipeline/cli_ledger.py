"""The commands that read the ledger: `runs`, `show` and `diff`. They write nothing, and start neither Ray, torch nor MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.cli_options import DEFAULT_STORE, AsJson, StoreRoot
from pipeline.errors import StoreError, UsageError

if TYPE_CHECKING:
    from pipeline.ledger import Account
    from pipeline.manifest import Manifest
    from pipeline.store import Store

T = TypeVar("T")

Thing = Annotated[
    str, typer.Argument(metavar="RUN|ARTIFACT|LABEL", help="or the beginning of a digest; the last run where left out")
]
DagOf = Annotated[str, typer.Option("--dag", metavar="DAG", help="the dag that a label is of")]


def runs(
    store: StoreRoot = DEFAULT_STORE,
    limit: Annotated[int, typer.Option(min=0, help="how many, newest first; 0 is all")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs: when, how they ended, what they took, cost and lost."""
    from pipeline import ledger
    from pipeline.catalogue import each
    from pipeline.ledger_lines import runs_table
    from pipeline.store import Store
    from pipeline.tables import coloured

    opened = Store(store)
    known = ledger.runs(opened)
    read = list(each(opened, lambda run: ledger.account(opened, run), known[: limit or None]))
    accounts = [one for one in read if not isinstance(one, str)]
    _complain([one for one in read if isinstance(one, str)])
    _complain([line for one in accounts for line in one.complaints])
    if as_json:
        print(json.dumps([one.model_dump() for one in accounts], indent=1))
    elif accounts:
        print("\n".join(runs_table(accounts, coloured(sys.stdout))))
        if limit and len(known) > limit:
            print(f"… and {len(known) - limit} older; --limit 0 lists all")
    else:
        print(f"no runs in {opened.url}")


def show(name: Thing = "", dag: DagOf = "", store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show all that is on record of a run or an artifact."""
    from pipeline.catalogue import find, find_run
    from pipeline.ledger_lines import artifact_lines, run_lines
    from pipeline.store import Store
    from pipeline.tables import coloured

    opened = Store(store)
    found = find(opened, name, dag) if name else find_run(opened, "")
    if isinstance(found, str):
        one = _account(opened, found)
        _complain(one.complaints)
        print(_dumped(one.model_dump()) if as_json else "\n".join(run_lines(one, coloured(sys.stdout))))
    else:
        shown = _artifact(opened, found)
        print(_dumped(shown) if as_json else "\n".join(artifact_lines(shown, found.cost, found.lost, found.idle)))


def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="a run, or an artifact; the last run but one where both are left out")
    ] = "",
    b: Annotated[
        str, typer.Argument(metavar="B", help="another of the same; the last run where both are left out")
    ] = "",
    dag: DagOf = "",
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Say where two runs or two artifacts differ: settings, code, inputs, environment, metrics, cost."""
    from pipeline import compare, ledger
    from pipeline.catalogue import find
    from pipeline.ledger_lines import difference_lines
    from pipeline.store import Store

    opened = Store(store)
    if not a:
        b, a = (*ledger.runs(opened)[:2], "", "")[:2]
    if not a or not b:
        raise UsageError("diff compares two runs, or two artifacts", mend="corpusmill runs lists the runs")
    first, second = find(opened, a, dag), find(opened, b, dag)
    if isinstance(first, str) and isinstance(second, str):
        found = compare.runs(opened, _account(opened, first), _account(opened, second))
    elif not isinstance(first, str) and not isinstance(second, str):
        found = compare.artifacts(first, second)
    else:
        raise UsageError(f"{a} and {b} are a run and an artifact", mend="give two runs, or two artifacts")
    print(_dumped(found) if as_json else "\n".join(difference_lines(found)))


def _account(store: Store, run: str) -> Account:
    from pipeline import ledger

    one = ledger.account(store, run)
    if isinstance(one, str):
        raise StoreError(one, mend="corpusmill runs lists the runs that can be read")
    return one


def _artifact(store: Store, made: Manifest) -> dict[str, Any]:
    """The manifest, where it stands, who keeps it, and what was made from it."""
    from pipeline.catalogue import everything
    from pipeline.keeping import acceptances, dropped, kept
    from pipeline.store import place_of
    from pipeline.tables import moment

    found, complaints = everything(store)
    _complain(complaints)
    children = [one for one in found if any(given.attempt == made.attempt for given in one.inputs.values())]
    gone = _readable(lambda: dropped(store, made))
    return {
        **made.model_dump(),
        "place": place_of(made),
        "kept": _readable(lambda: kept(store, made)) or [],
        "dropped": f"{moment(gone.when)} by {gone.who}; it can be built again" if gone else "",
        "accepted": [word.model_dump() for word in _readable(lambda: acceptances(store, made)) or []],
        "made_from_it": [f"{one.label} · {place_of(one)}" for one in children],
    }


def _readable(read: Callable[[], T]) -> T | None:
    """What `read` returns; where a record cannot be read, None, and a warning."""
    try:
        return read()
    except StoreError as fault:
        _complain([fault.message])
        return None


def _complain(complaints: Sequence[str]) -> None:
    for line in complaints:
        print(f"warning: {line}", file=sys.stderr)


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=1, default=str)
