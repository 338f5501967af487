"""How a stage that has a machine to itself spreads its work there: shards over processes, a gang as torchrun would start it.

Each process is started afresh, never forked: what runs beside the stage (clients, threads) is none of its business.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from infra.told import Told, as_torchrun, shard, told, value_of
from pipeline.errors import AGAIN, StageFailed
from pipeline.job import Job
from pipeline.limits import HandedOver
from pipeline.machine import Beyond

FRESH = multiprocessing.get_context("spawn")


class OneMachine:
    """Spreads the work of `job` over the cores here. At the time `until` (monotonic) it is handed over at the next commit."""

    patient = False

    def __init__(self, job: Job, until: float = float("inf")) -> None:
        self._job, self._until = job, until
        self._workers = max(1, int(float(job.resources.get("cpus", 1))))
        self._retries = int(job.resources.get("retries", 0))

    def map(
        self, function: Callable[[Any, Path], Any], calls: Sequence[tuple[int, Any, Path]]
    ) -> Generator[tuple[int, Any]]:
        """Yield ``(index, value)`` as the shards end: here where there is one core, else in as many processes as there are."""
        workers, left, tries = min(self._workers, len(calls)), {call[0]: call for call in calls}, 0
        if workers <= 1:
            for index, item, folder in calls:
                yield index, function(item, folder)
            return
        while left:
            try:
                for index, end in self._spread(function, list(left.values()), workers):
                    del left[index]
                    yield index, value_of(end)
            except BrokenProcessPool:
                tries += 1
                if tries > self._retries:
                    message = f"stage {self._job.label!r}: the worker of a shard died each time it was tried"
                    raise StageFailed(message, mend=AGAIN) from None

    def _spread(
        self, function: Callable[[Any, Path], Any], calls: Sequence[tuple[int, Any, Path]], workers: int
    ) -> Iterator[tuple[int, Told]]:
        waiting, flying, text = list(reversed(calls)), dict[Future[Told], int](), self._job.model_dump_json()
        with _no_main():
            pool = ProcessPoolExecutor(workers, mp_context=FRESH, initializer=_enter, initargs=[sys.path])
            try:
                while waiting or flying:
                    while waiting and len(flying) < 2 * workers:
                        index, item, folder = waiting.pop()
                        flying[pool.submit(_shard, function, text, item, str(folder))] = index
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        yield flying.pop(future), future.result()
            finally:
                for process in list((pool._processes or {}).values()):
                    process.kill()  # it may be stuck in C code
                pool.shutdown(cancel_futures=True)

    def gang(self, function: Callable[[], Any], workers: int) -> list[Any]:
        """Call `function` in `workers` processes that start together, each with torchrun's environment; values by rank."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        text, pipes, processes = self._job.model_dump_json(), dict[Connection, int](), []
        values: dict[int, Any] = {}
        try:
            with _no_main():
                for rank in range(workers):
                    mine, theirs = FRESH.Pipe(duplex=False)
                    words = (theirs, sys.path, function, text, rank, workers, port)
                    process = FRESH.Process(target=_member, args=words, daemon=True)
                    process.start()
                    theirs.close()
                    processes.append(process)
                    pipes[mine] = rank
            while pipes:
                for pipe in wait_for(list(pipes)):
                    assert isinstance(pipe, Connection)
                    rank = pipes.pop(pipe)
                    values[rank] = value_of(self._received(pipe, rank))
        finally:
            for process in processes:  # those that ended have ended; the others wait for one that failed
                process.kill()
                process.join()
        return [values[rank] for rank in range(workers)]

    def _received(self, pipe: Connection, rank: int) -> Told:
        try:
            end: Told = pipe.recv()
            return end
        except EOFError:
            raise StageFailed(f"stage {self._job.label!r}: the worker of rank {rank} died", mend=AGAIN) from None

    def limited(self, minutes: float) -> AbstractContextManager[None]:
        """Nothing: what gave this machine takes it back after that time."""
        return nullcontext()

    def look(self) -> None:
        """Raise HandedOver once the time of this machine is up."""
        if time.monotonic() > self._until:
            raise HandedOver(f"stage {self._job.label!r} goes on at another machine", mend=AGAIN)

    def beyond(self) -> Beyond:
        """Nothing: there are as many processes as the stage has cores."""
        return Beyond()


@contextmanager
def _no_main() -> Iterator[None]:
    """Let fresh processes not import what this one was started as: that belongs to who rents the machine out."""
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__dict__.update({"__spec__": None})
    main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        main.__dict__.update(kept)


def _enter(path: list[str]) -> None:
    sys.path[:] = path


def _shard(function: Callable[[Any, Path], Any], text: str, item: Any, folder: str) -> Told:
    """Call `function` on `item`. It writes beside `folder`, which appears whole."""
    return shard(text, folder, lambda private: function(item, private))


def _member(
    pipe: Connection, path: list[str], function: Callable[[], Any], text: str, rank: int, workers: int, port: int
) -> None:
    _enter(path)
    as_torchrun(rank, workers, "127.0.0.1", port)
    pipe.send(told(text, function))
