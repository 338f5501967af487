"""Runs on Modal that go on by themselves: a driver there, a small function on a CPU, hands out the jobs and writes down how they end.

It lives in an app that stays deployed, under a name made from the code that it ships: an edit on this machine reaches no run that is on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable

from infra import modal_prices
from infra import modal_turns as turns
from infra.modal_app import DRIVER, app
from infra.modal_desk import MIB, shipped_for, there
from infra.modal_faults import explained
from infra.modal_image import Shipped
from infra.modal_names import NAME, needs_secret, secrets, volume_name, volume_of
from pipeline.carrying import Carrier, Told
from pipeline.detached import GRAPH, Graph
from pipeline.driver import Handle
from pipeline.errors import CorpusmillError
from pipeline.job import Job
from pipeline.prices import priced
from pipeline.store import Store


def app_name(shipped: Shipped, volume: str) -> str:
    """The name of the deployed app: of its code, and of what it is given beside it."""
    given = json.dumps([shipped.digest(), secrets(), volume])
    return f"{NAME}-{hashlib.sha256(given.encode()).hexdigest()[:10]}"


def deployed(shipped: Shipped, volume: str) -> str:
    """The name of the app with this code, which is deployed where it is not yet."""
    import modal

    modal_prices.refresh()
    name = app_name(shipped, volume)
    with explained("could not deploy the app"):
        try:
            modal.Function.from_name(name, "drive").hydrate()
        except modal.exception.NotFoundError:
            app(name, shipped, volume)[0].deploy()
    return name


def detach(graph: Graph, place: str) -> Handle:
    """Hand the jobs of a run over to a driver there, with all that they need from here. `place` is what it is called."""
    needs_secret(graph.store)
    far, there_graph = _carried(graph)
    shipped = shipped_for(graph.jobs)
    jobs = tuple(job.model_copy(update={"path": _paths(shipped, job)}) for job in there_graph.jobs)
    driver = priced(DRIVER.model_copy(update={"on": place}))
    there_graph = there_graph.model_copy(update={"jobs": jobs, "driver": driver})
    far.files.create(f".runs/{graph.run}/{GRAPH}", there_graph.model_dump_json().encode())
    volume = volume_of(far.url)
    name = deployed(shipped, volume or volume_name())
    import modal

    with explained("could not start the driver"):
        drive = modal.Function.from_name(name, "drive")
        call = drive.spawn(graph.run, far.url, name, volume or volume_name())
    return Handle(place=place, store=far.url, words={"app": name, "call": call.object_id, "run": graph.run})


def _carried(graph: Graph) -> tuple[Store, Graph]:
    """The store that containers reach, and the graph as it lies there; what its jobs read from here is carried there."""
    here = Store(graph.store)
    if here.files.remote:
        return here, graph
    carrier = Carrier(here, there())
    needed = {parent for job in graph.jobs for parent in job.parents}
    for label, made in graph.known.items():
        if label in needed:
            carrier.up(made, _shown(label))
    for job in graph.jobs:
        with contextlib.suppress(KeyError):  # what is not made yet may extend nothing that is here
            if shorter := job.goes_on_from([graph.known[parent] for parent in job.parents]):
                carrier.up(shorter, _shown(shorter.label))
    far = carrier.there
    jobs = tuple(job.model_copy(update={"store": far.url}) for job in graph.jobs)
    return far, graph.model_copy(update={"store": far.url, "jobs": jobs})


def _shown(label: str) -> Told:
    """Shows on a terminal how much of an artifact has been sent."""

    def told(done: int, total: int) -> None:
        if total > MIB and sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r  {label}: {done // MIB:,} of {total // MIB:,} MiB sent", end=end, file=sys.stderr, flush=True)

    return told


def _paths(shipped: Shipped, job: Job) -> tuple[str, ...]:
    return tuple(place for path in job.path if (place := shipped.place(path)))


def over(handle: Handle, far: Store) -> str:
    """Why the driver will do no more; empty while it lives, or cannot be asked."""
    import modal

    call = modal.FunctionCall.from_id(_last_call(handle, far))
    try:
        call.get(timeout=0)
        return "it ended"
    except (modal.exception.ConnectionError, modal.exception.ServiceError):
        return ""
    except (modal.exception.FunctionTimeoutError, modal.exception.OutputExpiredError) as fault:
        return str(fault) or type(fault).__name__
    except (TimeoutError, modal.exception.TimeoutError):
        return ""
    except modal.exception.Error as fault:
        return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def _last_call(handle: Handle, far: Store) -> str:
    return turns.in_hand(far, _run(handle)) or handle.words["call"]


def _run(handle: Handle) -> str:
    return handle.words["run"]


def cancel(handle: Handle, far: Store) -> None:
    """End the drivers, then the calls that they have spawned, with the containers that they run in.

    A driver that is to follow may be unknown yet: it finds that the run was asked to stop, or has its end.
    """
    import modal

    run = _run(handle)

    def end(calls: Iterable[str]) -> None:
        for call in dict.fromkeys(calls):
            with contextlib.suppress(CorpusmillError), explained():
                modal.FunctionCall.from_id(call).cancel(terminate_containers=True)

    end([handle.words["call"], *turns.calls(far, run, "drivers")])
    end(turns.calls(far, run, "calls"))
