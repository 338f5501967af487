"""Runs stages on Modal: each job is a call of one function there, on a machine like the one that its resources ask for.

Where the store is a folder of this machine, what a job needs is carried to a Volume first, and what it made back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from infra import modal_limits
from infra.modal_faults import check_installed
from infra.modal_hands import Desk, Hands
from pipeline.executor import NO_ROOM
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.resources import Resources

if TYPE_CHECKING:
    from pipeline.carrying import Carrier
    from pipeline.detached import Graph
    from pipeline.driver import Handle
    from pipeline.store import Store


class ModalExecutor:
    """Runs jobs in an app that lives as long as this process: when the process ends, whatever ends it, so does all spending.

    ``modal://NAME`` as `address` names an environment of the workspace.
    """

    name = "modal"
    remote = carries = True
    room: Mapping[str, float] = NO_ROOM

    def __init__(self, *, address: str = "") -> None:
        check_installed()
        environment = address.partition("://")[2].strip("/")
        if environment:
            os.environ["MODAL_ENVIRONMENT"] = environment
        self._place = f"modal://{environment}" if environment else "modal"
        self._hands = Hands(_at_home)

    def check(self, label: str, resources: Resources) -> None:
        """Raise UsageError for what Modal does not rent out; it would not say so itself, but wait."""
        modal_limits.check(label, resources)
        modal_limits.longest()

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        """Run `job` once all of `after` have ended; until then it holds nothing, neither there nor here."""
        self.check(job.label, Resources.model_validate(job.resources))
        return self._hands.submit(job, after)

    def close(self, *, cancel: bool = False) -> None:
        """End the app and every container of it; without `cancel`, after the jobs that still run."""
        self._hands.close(cancel=cancel)

    def detach(self, graph: Graph) -> Handle:
        """Hand the jobs of a run over to a driver on Modal, with all that they need from here."""
        from infra import modal_detached

        for job in graph.jobs:
            self.check(job.label, Resources.model_validate(job.resources))
        return modal_detached.detach(graph, self._place)

    def carrier(self, handle: Handle, store: Store) -> Carrier | None:
        """What carries between a store of this machine and the Volume."""
        from pipeline.carrying import Carrier
        from pipeline.store import Store

        return None if store.files.remote else Carrier(store, Store(handle.store))

    def over(self, handle: Handle) -> str:
        """Why the driver will do no more; empty while it lives."""
        from infra import modal_detached
        from pipeline.store import Store

        return modal_detached.over(handle, Store(handle.store))

    def cancel(self, handle: Handle) -> None:
        """End the driver of a detached run, and every container that works for it."""
        from infra import modal_detached
        from pipeline.store import Store

        modal_detached.cancel(handle, Store(handle.store))


def _at_home() -> Desk:
    from infra.modal_desk import HomeDesk

    return HomeDesk()
