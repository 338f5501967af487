"""All that a running stage may ask of the world: metrics, progress, parallel shards, scratch and commits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline import events
from pipeline.extension import Earlier, States
from pipeline.machine import Beyond, Metered
from pipeline.spent import Spent
from pipeline.workspace import Workspace

T = TypeVar("T")


class Backend(Protocol):
    """How an executor spreads the work of one stage, and holds it to its limit. Nothing is committed here.

    Where it is not `patient`, a job that would wait for another run gives its machine back (`pipeline.lease.Busy`).
    """

    patient: bool

    def map(
        self, function: Callable[[Any, Path], Any], calls: Sequence[tuple[int, Any, Path]]
    ) -> Generator[tuple[int, Any]]:
        """Call ``function(item, folder)`` for each ``(index, item, folder)``; yield ``(index, value)`` as each ends."""
        ...

    def gang(self, function: Callable[[], Any], workers: int) -> list[Any]:
        """Call `function` on `workers` co-scheduled workers under torchrun's environment contract; values by rank."""
        ...

    def limited(self, minutes: float) -> AbstractContextManager[None]:
        """End this process from outside, where what is inside goes on well beyond `minutes` (0: no limit)."""
        ...

    def look(self) -> None:
        """Called after each commit; raises `pipeline.limits.HandedOver` where another machine is to go on from it."""
        ...

    def beyond(self) -> Beyond:
        """What the workers have held until now beyond what the stage itself holds; asked at any time, from any thread."""
        ...


class Serial:
    """The backend of one process: shards one after the other, a gang of one."""

    patient = True

    def map(
        self, function: Callable[[Any, Path], Any], calls: Sequence[tuple[int, Any, Path]]
    ) -> Generator[tuple[int, Any]]:
        for index, item, folder in calls:
            yield index, function(item, folder)

    def gang(self, function: Callable[[], Any], workers: int) -> list[Any]:
        if workers != 1:
            raise ValueError("this executor runs one worker; use the ray executor for a gang")
        return [function()]

    def limited(self, minutes: float) -> AbstractContextManager[None]:
        return nullcontext()  # nobody is outside

    def look(self) -> None:
        pass

    def beyond(self) -> Beyond:
        return Beyond()


class Context:
    """Given to `Stage.run`. `scratch` is a local directory of the stage's own that survives a crash where committed."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        emit: events.Sink = events.nowhere,
        backend: Backend | None = None,
        spent: Spent | None = None,
        look: Callable[[], None] = lambda: None,
        states: States | None = None,
    ) -> None:
        """`look` is called after each commit, and raises where the stage is to stop."""
        self._workspace = workspace
        self._spent = spent or Spent(workspace.folder / "spent")
        self._emit = emit
        self._backend = backend or Serial()
        self._look = look
        self._states = states or States(workspace)
        self.scratch = workspace.scratch
        self.metrics: dict[str, float] = {}

    @classmethod
    def local(cls, folder: Path | str) -> Context:
        """A context that works in `folder`, alone and in this process: how a test calls a stage."""
        return cls(Workspace(Path(folder)))

    def log(self, *, step: int | None = None, **metrics: float) -> None:
        """Record finite metrics, at a training step where `step` is given; the last value of each enters the manifest."""
        values = {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name} is {value}")
        self.metrics.update(values)
        self._emit("metrics", step=step, values=values)

    def progress(self, done: int, total: int = 0, unit: str = "") -> None:
        """Say how far the stage is: `done` of `total` (0: unknown) shards, steps, documents…"""
        self._emit("progress", done=done, total=total, unit=unit)

    def note(self, line: str) -> None:
        """Write one line into the stage's log."""
        self._emit("log", line=line)

    def map(
        self,
        function: Callable[[T, Path], Any],
        items: Sequence[T],
        *,
        into: Path | None = None,
        name: str = "",
        unit: str = "shards",
    ) -> list[Any]:
        """Call ``function(item, folder)`` for every item, in parallel, and return its JSON values in the order of `items`.

        What a call writes in its own empty `folder` moves to the same names below `into` (the artifact's data by default)
        and is committed with the value, so that a killed stage repeats only calls that had not ended. The function must
        be importable or a bound method of the stage; a second map over the same function needs a `name`.
        """
        name = name or _name(function)
        into = into if into is not None else self._workspace.data
        known = self._workspace.values()
        tags = [f"map:{name}:{index}/{len(items)}" for index in range(len(items))]
        values = {index: known[tag] for index, tag in enumerate(tags) if tag in known}
        calls = [
            (index, item, self._workspace.part(f"{name}-{index:05d}"))
            for index, item in enumerate(items)
            if index not in values
        ]
        folders = {index: folder for index, _, folder in calls}
        self.progress(len(values), len(items), unit)
        with closing(self._backend.map(Metered(function), calls)) as ended:
            for index, (value, share) in ended:
                self._spent.add(share)
                json.dumps(value, allow_nan=False)
                self._workspace.adopt(folders[index], into, tags[index], value)
                self._spent.commit()
                values[index] = value
                self.progress(len(values), len(items), unit)
                self._look()
        return [values[index] for index in range(len(items))]

    def commit(self, path: Path) -> None:
        """Make the file or directory at `path`, in scratch or in the artifact, survive a kill at any later moment."""
        self._workspace.commit(path)
        self._spent.commit()
        self._look()

    def keep(self, path: Path, *, at: float) -> None:
        """Keep the file or directory at `path`, below scratch: the state once `at` of the setting named in `Stage.extends` is done.

        It moves there, survives a kill from now on, takes the place of what was kept before, and will stand beside the
        artifact, outside of its content digest. Raises ValueError where `at` lies beyond `Stage.continues_until`.
        """
        self._states.keep(path, at)
        self._spent.commit()
        self._look()

    def earlier(self, *, beyond: float = 0) -> Earlier | None:
        """The furthest state, further than `beyond`, that this attempt kept before it was killed, or that a shorter one kept.

        Ask with what the stage's own commits have reached, and go on from what is returned. A state that is not what it was
        is told in the log and passed over.
        """
        return self._states.earlier(beyond, self.note)

    def gang(self, function: Callable[[], Any], workers: int = 1) -> list[Any]:
        """Call `function` on `workers` co-scheduled workers under torchrun's environment contract; values by rank."""
        if workers == 1:
            return [function()]
        values = []
        for value, share in self._backend.gang(Metered(function), workers):
            self._spent.add(share)
            values.append(value)
        return values


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
