"""Where jobs run: one verb. `Inline` runs each job in this process, as soon as it is submitted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import UsageError
from pipeline.machine_load import gpu_count
from pipeline.manifest import Manifest
from pipeline.resources import Resources

if TYPE_CHECKING:
    from pipeline.files import Files
    from pipeline.job import Job


NO_ROOM: Mapping[str, float] = {}
UNITS = {"cpus": "CPU core", "gpus": "GPU", "memory_gib": "GiB of memory"}


class Executor(Protocol):
    """Runs jobs somewhere. Constructing one is cheap, imports nothing heavy and starts nothing: that is for the first submit.

    One that is named with an address (``--on NAME://REST``) is made with all of that as its `address`.
    """

    @property
    def name(self) -> str:
        """What manifests call it."""
        ...

    remote: bool = False
    """Whether jobs run on another machine, which sees no folder of this one."""
    carries: bool = False
    """Whether it takes artifacts to its machines and back by itself, so that the store may be a folder of this one."""
    room: Mapping[str, float] = NO_ROOM
    """The most of each resource that a job can be given; what is not named here is not known before it runs."""

    def check(self, label: str, resources: Resources) -> None:
        """Raise UsageError where the stage `label` asks for what cannot be had here. Called when planning, before anything is
        rented: it asks no network."""
        ...

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        """Run `job` once every future in `after` has its manifest (given in the order of ``job.parents``).

        The future raises what the job raised; where one of `after` failed, it fails without running.
        """
        ...

    def close(self, *, cancel: bool = False) -> None:
        """Release what was started, leaving no process behind; with `cancel`, stop what still runs."""
        ...


def check(executor: Executor, files: Files, label: str, resources: Resources) -> None:
    """Raise UsageError where `executor` cannot run the stage `label`: no store in reach, no room, or for reasons of its own."""
    check_reach(executor, files)
    check_room(executor.room, label, resources.model_dump())
    executor.check(label, resources)


def check_reach(executor: Executor, files: Files) -> None:
    """Raise UsageError where the workers of `executor` cannot reach the store."""
    if executor.remote and not executor.carries and not files.remote:
        raise UsageError(
            f"the store {files.url} is a folder of this machine, and the executor {executor.name!r} works on others",
            mend="give one that both reach: --store s3://bucket/prefix",
        )


def check_room(room: Mapping[str, float], label: str, asked: Mapping[str, Any]) -> None:
    """Raise UsageError where the stage `label` asks for more than there is."""
    for name, has in room.items():
        if asked.get(name, 0) > has:
            many = "" if asked[name] == 1 or name == "memory_gib" else "s"
            less = f"give it resources=Resources({name}={has:g})" if has else "leave it out of its resources"
            raise UsageError(
                f"stage {label!r} asks for {asked[name]:g} {UNITS[name]}{many}, but this machine has {has:g}",
                mend=f"{less}, or run it on a larger machine, as with --on modal",
            )


def done(made: Manifest) -> Future[Manifest]:
    """A future that has ended, of no executor's kind."""
    future: Future[Manifest] = Future()
    future.set_result(made)
    return future


def once(futures: Sequence[Future[Manifest]], call: Callable[[], None]) -> None:
    """Call once, when the last of `futures` has ended: at once where it has, never where there is none."""
    left, lock = [len(futures)], threading.Lock()

    def ended(_: Future[Manifest]) -> None:
        with lock:
            left[0] -= 1
            last = not left[0]
        if last:
            call()

    for future in futures:
        future.add_done_callback(ended)


class Inline:
    """Every job in this process, one after the other: for tests, debuggers and small dags."""

    name = "inline"
    remote = carries = False

    def __init__(self, address: str = "") -> None:
        self.room: Mapping[str, float] = {"gpus": gpu_count()}
        if address:
            raise UsageError(f"inline is this process, and has no address: {address!r}", mend="write --on inline")

    def check(self, label: str, resources: Resources) -> None:
        pass

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        future: Future[Manifest] = Future()
        try:
            future.set_result(job.execute([parent.result() for parent in after], executor=self.name))
        except Exception as fault:  # handed on through the future, as every executor does
            future.set_exception(fault)
        return future

    def close(self, *, cancel: bool = False) -> None:
        pass
