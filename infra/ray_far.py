"""Shards of a stage on other machines of its cluster: workers there take them, one at a time, and come and go.

Data goes through the store, never through Ray: a shard's machine fetches the files that it reads, and puts what it wrote
where the stage's machine gets it. A machine that is lost costs the shards that it had begun: they are made at home.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray._private import state as ray_state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra import ray_room
from infra.ray_environment import enter_job
from infra.ray_held import Held
from infra.ray_packing import Stays, packed, store_at, unpacked
from infra.told import Told, told, value_of
from pipeline.digest import FileRecord, files_below, of_file
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.object_files import ObjectFiles, together
from pipeline.resources import Resources

Call = tuple[int, Any, Path]
"""A shard: its number, its item, and the folder that it fills."""

AFTER_SECONDS = 3.0
"""A map that ends sooner is not worth the start of a worker elsewhere."""
LOOK_SECONDS = 1.0
READY_SECONDS = 30.0
"""That a worker may take to start; its machine may have given the CPU to somebody else meanwhile."""
SEAT_SECONDS = 60.0
"""After which a worker gives its CPU back: a stage that waits for one gets it, or it is taken again."""


@dataclass(eq=False)
class Seat:
    """One worker on another machine."""

    actor: Any
    node: str
    ready: Any
    since: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    """When it began the shard that it makes."""


class Far:
    """The workers that one map has on other machines. It asks for no machine that is not there, and takes no CPU that is not free."""

    def __init__(
        self, job: Job, inputs: Sequence[Manifest], home: str, function: Callable[[Any, Path], Any], held: Held
    ) -> None:
        """What the workers hold is told to `held`."""
        self._held = held
        self._label, self._text, self._asked, self._home = (
            job.label,
            job.model_dump_json(),
            Resources.model_validate(job.resources),
            home,
        )
        self._store, self._inputs = store_at(job.store), inputs
        self._began = self._looked = time.monotonic()
        self._starting, self._free = list[Seat](), list[Seat]()
        self._flying: dict[Any, tuple[Seat, Call]] = {}
        self._at_home, self._told = set[int](), False
        self._function: Any = None
        if isinstance(self._store.files, ObjectFiles) and not self._asked.gpus and len(ray_room.living()) > 1:
            self._function = self._packed(function)

    @property
    def on(self) -> bool:
        """Whether there is, or may be, somebody to ask for."""
        return self._function is not None

    @property
    def refs(self) -> list[Any]:
        """What to wait for, with the map's own shards."""
        return [*self._flying, *(seat.ready for seat in self._starting)]

    def __len__(self) -> int:
        return len(self._flying)

    def give(self, waiting: list[Call]) -> None:
        """Hand shards of `waiting` to workers that are free, and look for more workers, or whether one is lost."""
        self._look(waiting)
        while self._free and (call := self._next(waiting)):
            if (item := self._packed(call[1])) is None:
                self._function = None  # the others will be alike
                break
            seat, folder = self._free.pop(), call[2].relative_to(self._store.local).as_posix()
            waiting.remove(call)
            seat.begun = time.monotonic()
            shard = seat.actor.shard.options(name=f"{self._label} {call[0]}")
            self._flying[shard.remote(self._function, self._text, item, folder)] = seat, call
        if not self._function or not self._next(waiting):
            while self._free:
                self._leave(self._free.pop())

    def ended(self, ref: Any, waiting: list[Call]) -> tuple[int, Any] | None:
        """The number and value of the shard that has ended; None for one that is lost, which waits again, or a worker that is ready."""
        if ref not in self._flying:
            self._begun(next(seat for seat in self._starting if seat.ready == ref))
            return None
        seat, call = self._flying[ref]
        try:
            end: Told = ray.get(ref)
        except ray.exceptions.RayActorError:
            self._lose(ref, waiting)
            return None
        del self._flying[ref]
        if time.monotonic() - seat.since > SEAT_SECONDS:
            self._leave(seat)
        else:
            self._free.append(seat)
        value, files = value_of(end)
        return call[0], self._brought(value, files, call[2])

    def close(self) -> None:
        """End every worker."""
        for seat in [*self._starting, *self._free, *(seat for seat, _ in self._flying.values())]:
            self._leave(seat)

    def _leave(self, seat: Seat) -> None:
        ray.kill(seat.actor)
        self._held.ends(seat)

    def _brought(self, value: Any, files: Mapping[str, FileRecord], folder: Path) -> Any:
        there, store = folder.relative_to(self._store.local).as_posix(), self._store.files
        assert isinstance(store, ObjectFiles)
        together(lambda name: store.get(f"{there}/{name}", files[name], folder / name), files)
        store.remove(there)
        return value

    def _packed(self, what: Any) -> Any:
        try:
            return packed(what, self._store, self._inputs)
        except Stays:
            return None

    def _next(self, waiting: list[Call]) -> Call | None:
        return next((call for call in reversed(waiting) if call[0] not in self._at_home), None)

    def _begun(self, seat: Seat) -> None:
        self._starting.remove(seat)
        try:
            ray.get(seat.ready)
        except ray.exceptions.RayError:  # its machine has gone, or the CPU
            return ray.kill(seat.actor)
        self._held.begins(seat)
        self._free.append(seat)
        if not self._told:
            self._told = True
            print("shards are made on other machines as well")

    def _lose(self, ref: Any, waiting: list[Call]) -> None:
        seat, call = self._flying.pop(ref)
        self._leave(seat)
        self._held.loses(time.monotonic() - seat.begun)
        self._at_home.add(call[0])
        waiting.append(call)

    def _look(self, waiting: list[Call]) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS or now - self._began < AFTER_SECONDS:
            return
        self._looked, nodes = now, ray_room.living()
        for ref in [ref for ref, (seat, _) in self._flying.items() if seat.node not in nodes]:
            self._lose(ref, waiting)
        for seat in [one for one in self._starting if one.node not in nodes or now - one.since > READY_SECONDS]:
            self._starting.remove(seat)
            ray.kill(seat.actor)
        if not self._function:
            return
        wanted = sum(call[0] not in self._at_home for call in waiting) - len(self._starting) - len(self._free)
        free = ray_state.available_resources_per_node() if wanted > 0 else {}
        for node in free.keys() & nodes.keys() - {self._home}:
            if ray_room.could_take(self._asked, nodes[node]):
                starting = sum(seat.node == node for seat in self._starting)
                for _ in range(min(int(free[node].get("CPU", 0)) - starting, wanted)):
                    self._sit(node)
                    wanted -= 1

    def _sit(self, node: str) -> None:
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = SHARDS.options(scheduling_strategy=place).remote()
        self._starting.append(Seat(actor, node, actor.ready.remote()))


class Shards:
    """A worker that makes shards of a stage which runs on another machine."""

    def ready(self) -> None:
        """Answer once there is a worker."""

    def shard(self, function: bytes, text: str, item: bytes, folder: str) -> Told:
        """Make one, and put its files below `folder` in the store; the value is the function's with the record of each."""
        enter_job(text)
        store = store_at(Job.model_validate_json(text).store)
        place = store.local / folder
        shutil.rmtree(place, ignore_errors=True)

        def made() -> tuple[Any, dict[str, FileRecord]]:
            place.mkdir(parents=True)
            value = unpacked(function, store)(unpacked(item, store), place)
            files = {path.relative_to(place).as_posix(): of_file(path) for path in files_below(place)}
            assert isinstance(store.files, ObjectFiles)
            put = store.files.put
            together(lambda name: put(place / name, f"{folder}/{name}"), files)
            return value, files

        try:
            with ray_room.working():
                return told(text, made)
        finally:
            shutil.rmtree(place, ignore_errors=True)


SHARDS: Any = ray.remote(num_cpus=1, max_restarts=0)(Shards)  # type: ignore[call-overload]
