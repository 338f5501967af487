"""The driver of a detached run, as it runs on Modal: it hands out the jobs, and writes down every call and every end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence

from infra.ends import ended, manifest_in
from infra.modal_calls import Calls
from infra.modal_functions import enter
from infra.modal_hands import Hands
from infra.modal_limits import handed_over, longest
from pipeline import detached
from pipeline.errors import StoreError
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.store import Store

DRIVER = "driver.json"
"""In the folder of a run: the call of the driver that has it in hand."""


def drive(run: str, store: str, name: str, volume: str, before: str = "") -> bool:
    """Drive a detached run, whose graph lies in `store`, with the functions of the app `name`; whether it came to its end.

    One that is started again, here or elsewhere, goes on from what the one before it has written down; `before` is the call
    of the driver whose time was up. One that was started again though it had handed the run over leaves it alone.
    """
    enter(volume)
    import modal

    until = time.monotonic() + handed_over(longest())
    far, mine = Store(store), str(modal.current_function_call_id())
    if in_hand(far, run) not in ("", before, mine):
        return False
    _note(far, run, mine)
    clerk = Clerk(name, far, run, until)
    executor = Hands(lambda: clerk)
    done = detached.drive(far.read(detached.Graph, f".runs/{run}/{detached.GRAPH}"), executor, until)
    if not done:
        clerk.leave()
        following = modal.Function.from_name(name, "drive").spawn(run, store, name, volume, mine)
        _note(far, run, following.object_id)  # it may take its time to start, and is the one to ask from now on
    executor.close()
    return done


def in_hand(far: Store, run: str) -> str:
    """The call of the driver that has a run in hand; empty where none has begun."""
    try:
        return str(json.loads(far.files.read(f".runs/{run}/{DRIVER}"))["call"])
    except FileNotFoundError:
        return ""


def _note(far: Store, run: str, call: str) -> None:
    far.files.replace(f".runs/{run}/{DRIVER}", json.dumps({"call": call}).encode())


class Clerk:
    """Handles the jobs of a detached run where its driver is: nothing is carried, and every call is written down."""

    def __init__(self, name: str, store: Store, run: str, until: float) -> None:
        import modal

        self._store, self._run = store, run
        self._calls = Calls(lambda: modal.Function.from_name(name, "execute"), until)

    def expect(self, job: Job) -> None:
        """Nothing: the app is there."""

    def made(self, job: Job, inputs: Sequence[Manifest]) -> Manifest:
        """The artifact of `job`; a call that an earlier driver spawned is waited for, not spawned again."""
        if job.resolve(inputs) is not None:
            return job.execute(inputs, executor="modal")
        place = f".runs/{self._run}/calls/{job.label}.json"

        def noted(call: str) -> None:
            self._store.files.replace(place, json.dumps({"call": call}).encode())

        known = ""
        with contextlib.suppress(FileNotFoundError, StoreError):
            known = str(json.loads(self._store.files.read(place))["call"])
        return manifest_in(self._calls.made(job, [ended(made) for made in inputs], noted, known))

    def leave(self) -> None:
        """Wait no more, and let what runs run: another driver takes over."""
        self._calls.leave()

    def cancel(self) -> None:
        """End what was spawned."""
        self._calls.cancel()

    def close(self) -> None:
        """Nothing: the app stays."""
