"""The command `corpusmill`. It imports only what the command at hand needs, so that help and plan are instant."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Annotated, Any

import typer

from pipeline.errors import CorpusmillError, UsageError, no_space

app = typer.Typer(
    name="corpusmill",
    help="Raw text to a served language model, as one reproducible dag.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DagName = Annotated[str, typer.Argument(metavar="DAG", help="a name in dags/, or path/to/file.py:function")]
Dials = Annotated[
    list[str] | None, typer.Argument(metavar="[DIAL=VALUE]...", help="dials of the dag, for example steps=800")
]
StoreRoot = Annotated[str, typer.Option("--store", envvar="CORPUSMILL_STORE", help="root of all artifacts")]
OnExecutor = Annotated[str, typer.Option("--executor", help="where the stages run: ray, or inline (in this process)")]

Rebuild = Annotated[
    list[str] | None, typer.Option("--rebuild", metavar="LABEL", help="build this stage again, though cached")
]

DEFAULT_STORE = ".corpusmill"


@app.command()
def plan(
    dag: DagName,
    dials: Dials = None,
    store: StoreRoot = DEFAULT_STORE,
    rebuild: Rebuild = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the plan as JSON")] = False,
) -> None:
    """Say what a run would do, why, and what it cost last time. Runs nothing."""
    from pipeline.display import plan_lines
    from pipeline.loading import load
    from pipeline.plan import plan as make_plan
    from pipeline.store import Store
    from pipeline.tables import coloured

    _, drawn, _ = load(dag, dials or [])
    planned = make_plan(drawn, Store(store), force={drawn.find(label).label for label in rebuild or []})
    lines = [json.dumps(planned.as_json(), indent=1)] if as_json else plan_lines(planned, coloured(sys.stdout))
    print("\n".join(lines))


@app.command()
def run(
    dag: DagName,
    dials: Dials = None,
    store: StoreRoot = DEFAULT_STORE,
    executor: OnExecutor = "ray",
    only: Annotated[
        str,
        typer.Option("--only", metavar="LABEL", help="build this stage alone, from existing inputs, even if cached"),
    ] = "",
    rebuild: Rebuild = None,
    tracker: Annotated[str, typer.Option("--tracker", help="who is told: mlflow, or none")] = "mlflow",
) -> None:
    """Bring a dag up to date: run what has to run, and show how it ended."""
    from pipeline.display import Display
    from pipeline.loading import load
    from pipeline.run import run as execute
    from pipeline.store import Store

    if only and rebuild:
        raise UsageError("--only and --rebuild exclude each other", mend="--only builds its stage again as it is")
    name, drawn, values = load(dag, dials or [])
    opened = Store(store)
    display = Display(name)
    _stop_on_signals()
    try:
        outcome = execute(
            drawn, opened, name=name, dials=values, executor=partial(_executor, executor), trackers=partial(_trackers, tracker, opened),
            observer=display, only=only, force=rebuild or [],
        )  # fmt: skip
    except KeyboardInterrupt:
        display.close()
        print(f"stopped; what was committed is kept. To go on: {_again()}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        display.close()
    display.finished(outcome)
    if not outcome.ok:
        raise CorpusmillError("some stages have no artifact", mend=f"mend what is wrong, then run again: {_again()}")
    for line in drawn.summary(outcome) if drawn.summary and not only else []:
        print(line)


def _stop_on_signals() -> None:
    """A closed terminal or a polite kill ends a run as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _executor(name: str) -> Any:
    from pipeline import plugins
    from pipeline.executor import Inline

    return Inline() if name == Inline.name else plugins.load("executors", name, beside=[Inline.name])()


def _trackers(name: str, store: Any) -> Sequence[Any]:
    from pipeline import plugins

    return [] if name == "none" else [plugins.load("trackers", name, beside=["none"])(str(store.local))]


def _again() -> str:
    import shlex

    return shlex.join(["corpusmill", *sys.argv[1:]])


def _add_plugins(words: Sequence[str]) -> None:
    """Load the commands that packages bring, unless a command of the core was asked for."""
    from pipeline import plugins

    core = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    if words and words[0] in core:
        return
    for name, point in sorted(plugins.named("commands").items()):
        try:
            app.command(name)(point.load())
        except ModuleNotFoundError as fault:
            app.command(name)(_missing(name, fault.name or ""))


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
