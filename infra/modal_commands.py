"""The commands `corpusmill infra modal`: the app that detached runs live in is deployed, stopped and looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Annotated, Any

import typer

from infra.modal_faults import check_installed, explained
from infra.modal_names import NAME, secrets, volume_name
from pipeline.cli_options import DEFAULT_STORE, StoreRoot
from pipeline.errors import CorpusmillError, UsageError

modal = typer.Typer(
    name="modal", help="Modal: the app that detached runs live in.", no_args_is_help=True, rich_markup_mode=None
)
OVER = ("stopped", "disabled")


@modal.command()
def deploy(
    dag: Annotated[
        str, typer.Argument(metavar="[DAG]", help="also ship the code of this dag, as a run of it would")
    ] = "",
) -> None:
    """Deploy today's code, and build its image. A detached run does so by itself: here it is done ahead of time."""
    check_installed()
    from infra.modal_desk import there
    from infra.modal_detached import deployed
    from infra.modal_image import Shipped

    shipped = Shipped()
    for path, module in _imports(dag) if dag else ():
        shipped.add(path, [module])
    store = there()
    name = deployed(shipped, volume_name())
    print(f"deployed {name}: execute, drive (store {store.url}; secrets: {', '.join(secrets()) or 'none'})")
    print(
        f"nothing runs, and nothing is paid for, until a run is sent: corpusmill run {dag or 'DAG'} --on modal --detach"
    )


def _imports(dag: str) -> list[tuple[str, str]]:
    from pipeline.loading import load
    from pipeline.named import import_paths

    _, drawn, _ = load(dag, [])
    return [(path, type(stage).__module__) for stage in drawn.stages.values() for path in import_paths(stage)]


@modal.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """List our apps on Modal, and how many containers of each are paid for now."""
    apps = _apps()
    if as_json:
        print(json.dumps(apps, indent=1))
        return
    if not apps:
        print("no app of corpusmill is on Modal (corpusmill infra modal deploy makes one)")
        return
    from pipeline.tables import table

    rows = [[app["name"], app["state"], str(app["containers"]), app["created"], app["id"]] for app in apps]
    print("\n".join(table(["app", "state", "containers", "created", "id"], rows, right=(2,))))


@modal.command()
def stop(
    name: Annotated[str, typer.Argument(metavar="[APP]", help="its name or id, as status lists it")] = "",
    everything: Annotated[bool, typer.Option("--all", help="every one of them")] = False,
    idle: Annotated[
        bool, typer.Option("--idle", help="those in which nothing runs: of code that has been edited since")
    ] = False,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Stop an app, with every run and container in it; what was committed is kept.

    The runs of the store that lived in it are written down as stopped.
    """
    if [bool(name), everything, idle].count(True) != 1:
        raise UsageError("stop is given one app, --idle or --all", mend="corpusmill infra modal status lists them")
    found = [app for app in _apps() if everything or name in (app["name"], app["id"]) or (idle and _leftover(app))]
    if not found and name:
        raise UsageError(f"no app of ours on Modal is called {name!r}", mend="corpusmill infra modal status lists them")
    import modal as client

    runs = _runs(store) if found else {}
    for app in found:
        ended = [run for run in runs.get(app["name"], []) if _stopped(store, run)]
        with explained(f"could not stop {app['name']}"):
            client.App.lookup(app["id"]).stop()
        print(f"stopped {app['name']} ({app['containers']} containers)")
        for run in ended:
            print(f"run {run} is stopped; what was committed is kept")


@modal.command()
def prices() -> None:
    """Ask Modal what it charges this workspace, and plan with that from now on. Each run on Modal asks too, once a day."""
    from infra.modal_prices import asked, keep
    from pipeline.prices import told_file

    text = keep(*asked())
    print(text, end="")
    if "dollars_per_hour" not in text:
        raise CorpusmillError("Modal told no rate that is known by its name", mend="see modal billing rates")
    print(f"# kept in {told_file()}; your own prices, which come first, are in prices.toml beside it")


def _runs(store: str) -> dict[str, list[str]]:
    """By the name of their app, the runs of a store that live there now, as far as that can be known; what cannot, is warned of."""
    from pipeline import ledger
    from pipeline.detached import detaching
    from pipeline.driver import HANDLE, Handle
    from pipeline.plugins import executor_at
    from pipeline.store import Store

    found: dict[str, list[str]] = {}
    try:
        opened = Store(store)
        for run in ledger.runs(opened):
            if ledger.end(opened, run) is None and opened.files.exists(f".runs/{run}/{HANDLE}"):
                handle = opened.read(Handle, f".runs/{run}/{HANDLE}")
                kind, _, place = handle.place.partition("://")
                if kind != "modal" or place not in ("", os.environ.get("MODAL_ENVIRONMENT", "")):
                    continue
                if not detaching(executor_at(handle.place)).over(handle):  # else attach tells what became of it
                    found.setdefault(handle.words["app"], []).append(run)
    except CorpusmillError as fault:  # whatever is wrong with them, apps are to be stopped
        print(f"warning: no run is written down as stopped: {fault.message}", file=sys.stderr)
    return found


def _stopped(store: str, run: str) -> bool:
    """Stop a run before its app, lest it take that for a fault; whether that is written down."""
    from pipeline import attaching
    from pipeline.plugins import executor_at
    from pipeline.store import Store
    from pipeline.who import who

    try:
        attaching.cancel(Store(store), run, places=executor_at, who=who())
    except CorpusmillError as fault:
        print(f"warning: run {run} cannot be written down as stopped: {fault.message}", file=sys.stderr)
        return False
    return True


def _leftover(app: dict[str, Any]) -> bool:
    """Whether nothing runs in an app that is no service: a service waits for whoever asks."""
    return not app["containers"] and not app["name"].startswith(f"{NAME}-serve-")


def _apps() -> list[dict[str, Any]]:
    """Our apps that are not over, as Modal's own command line lists them."""
    check_installed()
    words = [sys.executable, "-m", "modal", "app", "list", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        with explained("could not list the apps"):
            _ask()
        said = (done.stderr.strip() or done.stdout.strip() or "no reason was given").splitlines()[-1]
        raise CorpusmillError(f"Modal could not list the apps: {said}", mend="see modal app list")
    found = []
    for row in json.loads(done.stdout):
        name, state = str(row["description"]), str(row["state"])
        ours = name == NAME or name.startswith(f"{NAME}-")
        if ours and not any(word in state for word in OVER):
            found.append(
                {
                    "name": name,
                    "id": row["app_id"],
                    "state": state,
                    "containers": int(row["tasks"]),
                    "created": row["created_at"],
                }
            )
    return found


def _ask() -> None:
    """Ask Modal who we are, for an error that says what is wrong."""
    import modal as client

    client.Client.from_env().hello()
