"""Where jobs for Modal are handled: starts the app at the first that must run, carries what it needs there and what it makes back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

from infra.ends import ended, fault_in, manifest_in
from infra.modal_app import Session
from infra.modal_calls import Calls
from infra.modal_faults import explained
from infra.modal_image import Shipped
from infra.modal_names import needs_secret, volume_name, volume_of
from pipeline.carrying import Carrier, Mirror, Told
from pipeline.errors import AGAIN, StageFailed, StoreError
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.store import Store
from pipeline.stream import Emitter

GATHER_SECONDS = 0.2
"""The app starts when no job has come for so long: what all of them import is shipped once."""
MIB = 2**20


class HomeDesk:
    """Handles the jobs of one executor, each in a thread of its caller."""

    def __init__(self) -> None:
        self._expected, self._told = list[Job](), time.monotonic()
        self._starting, self._lock = threading.Lock(), threading.Lock()
        self._sessions: list[Session] = []
        self._calls: dict[int, Calls] = {}
        self._carriers: dict[str, Carrier] = {}
        self._mirrors: dict[tuple[str, str], Mirror] = {}
        self._over = False

    def expect(self, job: Job) -> None:
        """A job may come: what it imports is shipped with the rest."""
        self._expected.append(job)
        self._told = time.monotonic()

    def made(self, job: Job, inputs: Sequence[Manifest]) -> Manifest:
        """The artifact of `job`: the one in force here, else made there and brought here. Raises what the job raised."""
        if job.resolve(inputs) is not None:
            return job.execute(inputs, executor="modal")
        carrier = self.carrier(job.store)
        needs_secret(job.store)
        if not self._sessions:
            with _telling(job, "(Modal gets ready; building an image takes minutes, once)") as told:
                told(0, 0)
        if carrier is None:
            return manifest_in(self._called(job, inputs))
        far = job.model_copy(update={"store": carrier.there.url})
        mirror = self._mirror(carrier, job.run)
        shorter = job.goes_on_from(inputs)
        for made in (*inputs, *([shorter] if shorter else [])):
            with _telling(job, "MiB to Modal") as told:
                carrier.up(made, told)
        end = self._called(far, inputs)
        mirror.catch_up(job.label)
        if fault := fault_in(end):
            raise type(fault)(fault.message, mend=fault.mend.replace(carrier.there.url, carrier.here.url))
        made = manifest_in(end)
        with _telling(job, "MiB from Modal") as told:
            carrier.down(made, told)
        return made

    def _called(self, job: Job, inputs: Sequence[Manifest]) -> str:
        session = self._session(job)
        places = [place for path in job.path if (place := session.shipped.place(path))]
        return self._calls[id(session)].made(
            job.model_copy(update={"path": tuple(places)}), [ended(made) for made in inputs]
        )

    def _session(self, job: Job) -> Session:
        """The app that has what `job` imports; started by the first who asks."""
        needs = shipped_for([job])
        volume = volume_of(job.store)
        with self._starting:
            for session in self._sessions:
                if session.shipped.holds(needs) and volume in ("", session.volume):
                    return session
            while (left := self._told + GATHER_SECONDS - time.monotonic()) > 0:
                time.sleep(left)
            if self._over:
                raise StageFailed(f"stage {job.label!r}: it was stopped", mend=AGAIN)
            session = Session(shipped_for([*self._expected, job]), volume)
            self._calls[id(session)] = Calls(lambda: session.execute)
            self._sessions.append(session)
        if self._over:  # in between: nothing that was started is left behind
            session.close()
            raise StageFailed(f"stage {job.label!r}: it was stopped", mend=AGAIN)
        return session

    def carrier(self, url: str) -> Carrier | None:
        """What carries between a store of this machine and the Volume; None for a store that containers reach."""
        with self._lock:
            if url not in self._carriers:
                here = Store(url)
                if here.files.remote:
                    return None
                self._carriers[url] = Carrier(here, there())
            return self._carriers[url]

    def _mirror(self, carrier: Carrier, run: str) -> Mirror:
        with self._lock:
            if (carrier.here.url, run) not in self._mirrors:
                self._mirrors[carrier.here.url, run] = Mirror(carrier, run).start()
            return self._mirrors[carrier.here.url, run]

    def cancel(self) -> None:
        """End what runs there: nothing is spent any more."""
        self._over = True
        for calls in list(self._calls.values()):
            calls.cancel()

    def close(self) -> None:
        """Stop the apps, and copy what was still told."""
        with contextlib.ExitStack() as closing:
            for session in self._sessions:
                closing.callback(session.close)
            for mirror in self._mirrors.values():
                closing.callback(mirror.close)
        self._sessions.clear()


def there() -> Store:
    """The store on the Volume, which is made where it is missing."""
    with explained("could not make the Volume"):
        import modal

        modal.Volume.objects.create(volume_name(), version=2, allow_existing=True)
    return Store(f"modal://{volume_name()}/store")


def shipped_for(jobs: Sequence[Job]) -> Shipped:
    """What these jobs import beside the project."""
    shipped = Shipped()
    for job in jobs:
        for path in job.path:
            shipped.add(path, [job.stage])
    return shipped


@contextlib.contextmanager
def _telling(job: Job, unit: str) -> Iterator[Told]:
    """Tells the stage's own stream how much has been carried, or just `unit`; small things travel untold."""
    emit = Emitter(Store(job.store), job.run, job.label)

    def told(done: int, total: int) -> None:
        if total > MIB or not total:
            emit("progress", done=done // MIB, total=total // MIB, unit=unit)

    try:
        yield told
    finally:
        with contextlib.suppress(StoreError):
            emit.close()
