"""The driver of a detached run, as it runs on Modal: it hands out the jobs, and writes down every call and every end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence

from infra.ends import ended, manifest_in
from infra.modal_calls import Calls
from infra.modal_functions import Paid, enter
from infra.modal_hands import Hands
from infra.modal_limits import handed_over, longest
from infra.modal_turns import Turn
from pipeline import detached
from pipeline.driver import Beat
from pipeline.errors import StoreError
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.store import Store


def drive(run: str, store: str, name: str, volume: str, number: int = 1) -> bool:
    """Drive a detached run, whose graph lies in `store`, with the functions of the app `name`; whether it came to its end.

    This is the driver of that number. One that is started again, here or elsewhere, goes on from what it has written down; one
    whose turn was passed on leaves the run to the next.
    """
    until = time.monotonic() + handed_over(longest())  # first: Modal counts from before this call
    enter(volume)
    import modal

    far = Store(store)
    turn = Turn(far, run, number)

    def following() -> str:
        call = modal.Function.from_name(name, "drive").spawn(run, store, name, volume, number + 1)
        return str(call.object_id)

    if not turn.taken(str(modal.current_function_call_id())):
        return False
    if detached.Ends(far, run).last():  # who stopped the run, or gave it up, did not know of this driver
        return True
    if turn.over:
        turn.pass_on(following)
        return False
    graph, clerk = far.read(detached.Graph, f".runs/{run}/{detached.GRAPH}"), Clerk(name, far, run, until)
    executor = Hands(lambda: clerk)
    try:
        with Beat(far, run, graph.driver, Paid.idle()) as beat:
            done = detached.drive(graph, executor, beat, until)
            if not done:
                clerk.leave()
                turn.pass_on(following)
            executor.close()
    finally:
        Paid.since = time.time()
    return done


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
