"""How a stage that runs in a Ray worker spreads its work: shards as tasks, a gang as a placement group of actors.

A stage has its own node's disk for its inputs and for what its shards write, and that node for a gang. Shards of a map that
goes on for a while are made on other nodes too (`ray_far`). While it waits, Ray lends the CPUs that the stage holds to its
shards, so that stages which map never block each other.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from infra.ray_environment import enter_job
from infra.ray_far import LOOK_SECONDS, Far
from infra.ray_held import Held
from infra.told import Told, as_torchrun, shard, told, value_of
from pipeline.errors import AGAIN, StageFailed
from pipeline.job import Job
from pipeline.machine import Beyond
from pipeline.manifest import Manifest

_ray: Any = ray  # parts of Ray have no types
_pickle: Any = cloudpickle

INLINE_BYTES = 64 * 2**10
"""A pickled function larger than this goes into Ray's object store once, instead of beside every shard."""


class RayBackend:
    """Spreads the work of `job` over the node that this worker belongs to."""

    patient = False

    def __init__(self, job: Job, inputs: Sequence[Manifest], links: Any, ticket: str) -> None:
        self._job, self._inputs, self._links, self._ticket = job, inputs, links, ticket
        self._node, self._here = ray.get_runtime_context().get_node_id(), f"node:{_ray.util.get_node_ip_address()}"
        self._cpus = max(
            1, int(next(node for node in ray.nodes() if node["NodeID"] == self._node)["Resources"].get("CPU", 1))
        )
        self._retries = int(job.resources.get("retries", 0))
        self._held = Held(float(job.resources.get("cpus", 1)))

    def map(
        self, function: Callable[[Any, Path], Any], calls: Sequence[tuple[int, Any, Path]]
    ) -> Generator[tuple[int, Any]]:
        """Yield ``(index, value)`` as the shards end, with twice as many in flight as there are CPUs, and more on other machines."""
        pickled: Any = _pickle.dumps(function)
        if len(pickled) > INLINE_BYTES:
            pickled = ray.put(pickled)
        text = self._job.model_dump_json()
        waiting, flying = list(reversed(calls)), dict[Any, int]()
        place = NodeAffinitySchedulingStrategy(self._node, soft=False)
        far = Far(self._job, self._inputs, self._node, function, self._held)
        try:
            with self._held.lends():
                while waiting or flying or len(far):
                    while waiting and len(flying) < 2 * self._cpus:
                        index, item, folder = waiting.pop()
                        name = f"{self._job.label} {index}"
                        task = SHARD.options(name=name, max_retries=self._retries, scheduling_strategy=place)
                        flying[task.remote(pickled, text, item, str(folder))] = index
                    far.give(waiting)
                    patience = LOOK_SECONDS if far.on or len(far) else None
                    for ref in ray.wait([*flying, *far.refs], timeout=patience)[0]:
                        if ref in flying:
                            index = flying.pop(ref)
                            seconds, end = self._end(ref, f"shard {index}")
                            self._held.shard(seconds)
                            yield index, value_of(end)
                        elif end := far.ended(ref, waiting):
                            yield end
        finally:
            far.close()
            for ref in flying:
                ray.cancel(ref, force=True)  # it may be stuck in C code

    def _end(self, ref: Any, what: str) -> Any:
        try:
            return ray.get(ref)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.ActorDiedError):
            message = f"stage {self._job.label!r}: the worker of {what} died each time it was tried"
            raise StageFailed(message, mend=AGAIN) from None

    def gang(self, function: Callable[[], Any], workers: int) -> list[Any]:
        """Call `function` on `workers` actors that start together, each with torchrun's environment; values by rank."""
        if self._job.resources.get("gpus"):
            raise StageFailed(f"stage {self._job.label!r}: a gang on GPUs is not supported", mend="use one worker")
        share = min(1.0, self._cpus / workers)
        group = placement_group([{"CPU": share, self._here: 0.001}] * workers, strategy="STRICT_PACK")
        actors: list[Any] = []
        try:
            ray.get(group.ready())
            self._held.begins("gang", max(share * workers - self._held.own, 0.0))
            for rank in range(workers):
                place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
                name = f"{self._job.label} rank {rank}"
                actors.append(MEMBER.options(num_cpus=share, scheduling_strategy=place, name=name).remote())
            master = ray.get(actors[0].master.remote())
            pickled, text = _pickle.dumps(function), self._job.model_dump_json()
            refs = [actor.call.remote(pickled, text, rank, workers, *master) for rank, actor in enumerate(actors)]
            return self._gathered(refs)
        finally:
            for actor in actors:
                ray.kill(actor)
            remove_placement_group(group)
            self._held.ends("gang")

    @contextlib.contextmanager
    def limited(self, minutes: float) -> Generator[None]:
        """Let the link of this stage end this worker, should the stage not come back soon after `minutes`."""
        if minutes:
            self._links.begins.remote(self._ticket, minutes)
        try:
            yield
        finally:
            if minutes:
                self._links.ends.remote(self._ticket)

    def look(self) -> None:
        """Nothing: a worker of Ray's has no end of its own."""

    def beyond(self) -> Beyond:
        """The CPUs of its shards and gangs, here and on other machines."""
        return self._held.beyond()

    def _gathered(self, refs: list[Any]) -> list[Any]:
        """The values by rank; the first worker to fail ends the wait for those that now wait for it."""
        values, flying = dict[int, Any](), {ref: rank for rank, ref in enumerate(refs)}
        while flying:
            for ref in ray.wait(list(flying))[0]:
                rank = flying.pop(ref)
                values[rank] = value_of(self._end(ref, f"rank {rank}"))
        return [values[rank] for rank in range(len(refs))]


def run_shard(pickled: bytes, text: str, item: Any, folder: str) -> tuple[float, Told]:
    """Call the pickled function on `item`, and say how long that took. It writes beside `folder`, which appears whole."""
    began = time.monotonic()
    enter_job(text)
    end = shard(text, folder, lambda private: _pickle.loads(pickled)(item, private))
    return time.monotonic() - began, end


class Member:
    """One worker of a gang."""

    def master(self) -> tuple[str, int]:
        """An address and a free port, for the worker of rank 0."""
        address = _ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((address, 0))
            return address, int(probe.getsockname()[1])

    def call(self, pickled: bytes, text: str, rank: int, workers: int, address: str, port: int) -> Told:
        """Call the pickled function as worker `rank` of `workers`."""
        as_torchrun(rank, workers, address, port)
        enter_job(text)
        return told(text, lambda: _pickle.loads(pickled)())


SHARD: Any = ray.remote(num_cpus=1, retry_exceptions=False)(run_shard)
MEMBER: Any = ray.remote(Member)
