"""The command `corpusmill`. It imports only what the command at hand needs, so that help and plan are instant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from pipeline import cli_adopt, cli_attach, cli_card, cli_care, cli_ledger, cli_lineage, cli_sources, cli_track
from pipeline.cli_options import DEFAULT_STORE, DagName, Dials, StoreRoot, TrackerName
from pipeline.errors import CorpusmillError, DecisionNeeded, Stopped, UsageError, no_space

app = typer.Typer(
    name="corpusmill",
    help="Raw text to a served language model, as one reproducible dag.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PLACE",
        help="where it runs: ray (here; the default), inline (in this process), modal, ray://HOST:10001",
    ),
]
At = Annotated[list[str] | None, typer.Option("--place", metavar="LABEL=PLACE", help="where this stage runs instead")]

Labels = list[str] | None
Only = Annotated[str, typer.Option(metavar="LABEL", help="this stage alone, from existing inputs, even if cached")]
From = Annotated[
    str, typer.Option("--from", metavar="LABEL", help="this stage again, and below it what its bytes change")
]
Until = Annotated[str, typer.Option(metavar="LABEL", help="this stage and what it needs, nothing below it")]
Rebuild = Annotated[
    Labels, typer.Option(metavar="LABEL", help="build this stage again, though cached; or all that drifted")
]
Accept = Annotated[
    Labels, typer.Option(metavar="LABEL", help="keep what is there of a drifted stage, or of all, on the record")
]
Why = Annotated[str, typer.Option(metavar="TEXT", help="why it is accepted")]
Above = Annotated[
    float, typer.Option(metavar="MINUTES", min=0, help="drift that takes longer to rebuild is not rebuilt unasked")
]
MaxCost = Annotated[
    float | None, typer.Option(metavar="DOLLARS", min=0, help="stop at the next commit when so much is spent")
]
Move = Annotated[
    float, typer.Option("--confirm-move", metavar="GIB", min=0, help="more is not moved between places unasked")
]


def _request(**asked: Any) -> Any:
    from pipeline.request import Request

    return Request.model_validate({name: value for name, value in asked.items() if value is not None})


@app.command()
def plan(
    dag: DagName,
    dials: Dials = None,
    store: StoreRoot = DEFAULT_STORE,
    only: Only = "",
    start: From = "",
    until: Until = "",
    rebuild: Rebuild = None,
    accept: Accept = None,
    on: On = "",
    place: At = None,
    places: Annotated[
        bool, typer.Option("--places", help="compare where it could run: time, dollars, and whether it fits in memory")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the plan as JSON")] = False,
) -> None:
    """Say what a run would do, why, what it cost last time and what to expect now. Runs nothing."""
    from pipeline.accounts import plan_lines
    from pipeline.loading import load
    from pipeline.places import HERE, Places
    from pipeline.plugins import executor_at
    from pipeline.selection import check_places, select
    from pipeline.store import Store
    from pipeline.tables import coloured

    _, drawn, _ = load(dag, dials or [])
    request = _request(only=only, start=start, until=until, rebuild=rebuild, accept=accept, on=on or HERE, place=place)
    opened, executors = Store(store), Places(executor_at)
    drawn, planned = select(drawn, opened, request, executors)
    check_places(planned, drawn, executors, opened, away=True)
    if places:
        lines = _offers(planned, drawn, opened, as_json)
    else:
        lines = [json.dumps(planned.as_json(), indent=1)] if as_json else plan_lines(planned, coloured(sys.stdout))
    print("\n".join(lines))


def _offers(planned: Any, dag: Any, store: Any, as_json: bool) -> list[str]:
    from pipeline.offers import offer_lines, offers
    from pipeline.tables import coloured

    found = offers(planned, dag, store)
    if as_json:
        return [json.dumps({"places": [offer.as_json() for offer in found]}, indent=1)]
    return offer_lines(found, planned, coloured(sys.stdout))


@app.command()
def run(
    dag: DagName,
    dials: Dials = None,
    store: StoreRoot = DEFAULT_STORE,
    on: On = "",
    place: At = None,
    only: Only = "",
    start: From = "",
    until: Until = "",
    rebuild: Rebuild = None,
    accept: Accept = None,
    why: Why = "",
    confirm_above: Above = 10.0,
    max_cost: MaxCost = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="let its place drive it: it goes on without this machine")
    ] = False,
    confirm_move: Move = 10.0,
    tracker: TrackerName = "mlflow",
) -> None:
    """Bring a dag up to date: run what has to run, and show how it ended."""
    from pipeline.display import Display
    from pipeline.loading import load
    from pipeline.places import HERE
    from pipeline.resuming import command
    from pipeline.stopping import stoppable
    from pipeline.store import Store

    request = _request(
        only=only, start=start, until=until, rebuild=rebuild, accept=accept, why=why, confirm_above=confirm_above, max_cost=max_cost,
        on=on or HERE, place=place, confirm_move=confirm_move, detach=detach,
    )  # fmt: skip
    seen: list[Any] = []

    def again() -> str:
        return command(sys.argv[1:], *((seen[0].done, seen[0].begun) if seen else ()))

    with stoppable(again):
        name, drawn, values = load(dag, dials or [])
        seen.append(Display(name))
        outcome = _watched(drawn, Store(store), values, tracker, request, seen[0])
    if outcome.detached:
        named = dag if ".py" in dag and drawn.summary and not (only or start or until) else ""
        return cli_attach.told(outcome.run, store, named, [one.label for one in outcome.left if not one.away])
    if outcome.stopped:
        why = next(fault.message for fault in outcome.faults.values() if isinstance(fault, Stopped))
        raise DecisionNeeded(f"{why}; what was committed is kept", mend=f"raise the limit, then run again: {again()}")
    if not outcome.ok:
        raise CorpusmillError("some stages have no artifact", mend=f"mend what is wrong, then run again: {again()}")
    for line in drawn.summary(outcome) if drawn.summary and not (only or start or until) else []:
        print(line)


def _watched(dag: Any, store: Any, dials: Any, tracker: str, request: Any, display: Any) -> Any:
    """Run, shown on the terminal."""
    from pipeline.apart import trackers_of
    from pipeline.plugins import executor_at
    from pipeline.run import run as execute

    try:
        outcome = execute(
            dag, store, name=display.dag, dials=dials, executor=partial(executor_at, request.on), elsewhere=executor_at,
            trackers=partial(trackers_of, tracker, store), observer=display, request=request,
        )  # fmt: skip
    finally:
        display.close()
    if not outcome.detached:
        display.finished(outcome)
    return outcome


for command in (
    *(cli_adopt.adopt, cli_attach.attach, cli_ledger.runs, cli_ledger.show, cli_ledger.diff, cli_track.track),
    *(cli_card.card, cli_care.verify, cli_care.pin, cli_care.unpin, cli_care.gc),
    *(cli_lineage.lineage, cli_lineage.impact),
):
    app.command()(command)
app.add_typer(cli_sources.sources, name="sources")


def _add_plugins(words: Sequence[str]) -> None:
    """Load the commands that packages bring, unless a command of the core was asked for."""
    from pipeline import plugins

    core = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    core |= {str(group.name) for group in app.registered_groups}
    if words and words[0] in core:
        return
    for name, point in sorted(plugins.named("commands").items()):
        try:
            brought = point.load()
        except ModuleNotFoundError as fault:
            brought = _missing(name, fault.name or "")
        if isinstance(brought, typer.Typer):
            app.add_typer(brought, name=name)
        else:
            app.command(name)(brought)


def _missing(name: str, package: str) -> Callable[[], None]:
    def command() -> None:
        raise UsageError(f"{name} needs the package {package!r}", mend="install the extra that brings it")

    command.__doc__ = f"(needs the package {package})"
    return command


def main() -> None:
    """Run the command line; a CorpusmillError ends in its message and exit code, Ctrl-C in 130."""
    code = 0
    try:
        _add_plugins(sys.argv[1:])
        app(standalone_mode=True)
    except CorpusmillError as fault:
        print(f"error: {fault}", file=sys.stderr)
        code = fault.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as fault:
        if not no_space(fault):
            raise
        print(
            "error: no space left on the store's disk\n  → free some space and run the same command again",
            file=sys.stderr,
        )
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
