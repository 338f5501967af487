"""A job: a stage with a store, as JSON, sent to a worker. `Job.execute` is all that a worker ever calls.

It finds the key once its inputs are known, uses the attempt in force if there is one, and otherwise makes one:
run, seal, publish. Data travels through the store alone.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline import canonical, digest
from pipeline.code import code_of
from pipeline.context import Backend, Context, Serial
from pipeline.errors import CorpusmillError, StageFailed, Stopped, StoreError
from pipeline.extension import States, candidates, find
from pipeline.lease import Busy
from pipeline.limits import Limits
from pipeline.machine import Meter, environment, machine
from pipeline.manifest import CodeRecord, InputRecord, Manifest
from pipeline.named import import_paths, name_of
from pipeline.prices import priced
from pipeline.reasons import differences
from pipeline.resources import Resources
from pipeline.spent import Spent
from pipeline.stage import Stage
from pipeline.store import Attempt, Store
from pipeline.store_faults import explained, of_store
from pipeline.stream import Emitter, LineWriter
from pipeline.wire import named, opened, sent
from pipeline.withheld import masking

ALONE = Serial()


class _Here(NamedTuple):
    """Where a job is executed: by which executor, how it spreads its work, since when it is paid for without working."""

    executor: str
    backend: Backend
    since: float | None

    def idle(self) -> float:
        """Seconds for which this machine was held until now."""
        return 0.0 if self.since is None else max(time.time() - self.since, 0.0)


class Job(BaseModel):
    """One stage to be made. `parents` are labels; `inputs` says for each input place which parent it comes from and its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    store: str
    label: str
    stage: str
    settings: dict[str, Any]
    parents: tuple[str, ...]
    inputs: dict[str, tuple[int, str]]
    resources: dict[str, Any]
    code: str
    path: tuple[str, ...] = ()
    force: bool = False
    flops: float | None = None
    max_cost: float | None = None
    """Dollars that the whole run may spend. The job holds itself to it, for its driver may be gone."""
    planned: dict[str, Any]
    """The settings in stable form when the job was made: what a source held is among them."""

    @classmethod
    def of(
        cls, stage: Stage[Any], parents: Sequence[Stage[Any]], *, run: str, store: str, force: bool = False,
        max_cost: float | None = None,
    ) -> Job:  # fmt: skip
        """The job that makes `stage`, whose inputs come from `parents`."""
        labels = [parent.label for parent in parents]
        makers = {place: artifact.producer.label for place, artifact in stage.inputs().items() if artifact.producer}
        kinds = {place: name_of(type(artifact)) for place, artifact in stage.inputs().items()}
        bare = stage.with_inputs(lambda place, artifact: artifact.at(place))
        return cls(
            run=run,
            store=store,
            label=stage.label,
            stage=name_of(type(stage)),
            settings=sent(bare),
            parents=tuple(labels),
            inputs={place: (labels.index(makers[place]), kinds[place]) for place in makers},
            resources=priced(stage.resources).model_dump(),
            code=code_of(stage).digest,
            path=import_paths(stage),
            force=force,
            flops=stage.flops(),
            max_cost=max_cost,
            planned=canonical.settings(stage),
        )

    def load(self, paths: dict[str, Path]) -> Stage[Any]:
        """The stage itself, with each input place opened at its local path."""
        sys.path.extend(entry for entry in self.path if entry not in sys.path)
        cls = named(self.stage)
        kinds = {place: named(kind) for place, (_, kind) in self.inputs.items()}
        stage: Stage[Any] = cls(**opened(self.settings, {place: kinds[place](paths[place]) for place in kinds}))
        return stage

    def resolve(self, inputs: Sequence[Manifest]) -> Manifest | None:
        """The attempt in force, if this job need not run."""
        if self.force:
            return None
        store, stage = Store(self.store), self._drawn()
        found = store.in_force(stage.stage_name(), self._key(stage, inputs), self._code(stage).digest)
        return None if found is None or store.is_dropped(found) else found

    def goes_on_from(self, inputs: Sequence[Manifest]) -> Manifest | None:
        """The attempt whose state this job would go on from, if its store holds one."""
        store, stage = Store(self.store), self._drawn()
        if not stage.extends or self.force:
            return None
        made, code = store.of_stage(stage.stage_name()), self._code(stage).digest
        return find(stage, canonical.settings(stage), self._digests(inputs), code, made, store)

    def execute(
        self, inputs: Sequence[Manifest], *, executor: str, backend: Backend = ALONE, since: float | None = None
    ) -> Manifest:
        """The attempt in force, or a new one made here. Raises CorpusmillError; a bug in the stage becomes StageFailed.

        Raises Busy where another run makes it and `backend` is not patient. `since` is the time from which on this machine is
        paid for and did not work: what passed until the stage begins enters its cost, and is told as idle.
        """
        store = Store(self.store)
        emit = Emitter(store, self.run, self.label)
        try:
            try:
                return self._execute(store, emit, inputs, _Here(executor, backend, since))
            except OSError as fault:  # of scratch, lease or log; run() has its own
                raise explained(fault, str(store.local)) from fault
        except CorpusmillError as fault:
            with contextlib.suppress(StoreError):  # the fault itself is on its way
                emit("state", state="stopped" if isinstance(fault, Stopped) else "failed", fault=str(fault))
            raise
        finally:
            with contextlib.suppress(StoreError):
                emit.close()

    def _drawn(self) -> Stage[Any]:
        """The stage with its inputs unopened: enough for its key, so that what is cached never asks for their bytes."""
        return self.load({place: Path(place) for place in self.inputs})

    def _key(self, stage: Stage[Any], inputs: Sequence[Manifest]) -> str:
        return canonical.key_of(stage.stage_name(), self._as_planned(stage), self._digests(inputs))

    def _digests(self, inputs: Sequence[Manifest]) -> dict[str, str]:
        return {place: inputs[parent].digest for place, (parent, _) in self.inputs.items()}

    def _as_planned(self, stage: Stage[Any]) -> dict[str, Any]:
        """The planned settings, which must be those that hold now: a source may have been edited since."""
        changed = differences(self.planned, canonical.settings(stage))
        if changed:
            raise StageFailed(
                f"what stage {self.label!r} reads changed while the run was on: {changed[0]}",
                mend="run the same command again",
            )
        return self.planned

    def _code(self, stage: Stage[Any]) -> CodeRecord:
        """The code as it is here. It must be what was planned: a file edited since may or may not be what is imported."""
        code = code_of(stage)
        if code.digest != self.code:
            raise StageFailed(
                f"the code of stage {self.label!r} changed while the run was on", mend="run the same command again"
            )
        return code

    def _execute(self, store: Store, emit: Emitter, inputs: Sequence[Manifest], here: _Here) -> Manifest:
        stage = self._drawn()
        key, code = self._key(stage, inputs), self._code(stage)
        asked = time.time()

        def found() -> Manifest | None:
            manifest = store.in_force(stage.stage_name(), key, code.digest)
            fresh = manifest and (not self.force or manifest.created > asked)
            return manifest if manifest and fresh and not store.is_dropped(manifest) else None

        def waiting() -> None:
            emit("state", state="waiting", key=key)
            if not here.backend.patient:
                raise Busy(f"{stage.stage_name()}/{key}")

        manifest = found()
        if manifest is None:
            limits = Limits(store, self.run, self.label, stage.resources.minutes, self.max_cost, here.backend.look)
            limits.spending.look()
            limits.look()
            with store.attempt(stage.stage_name(), key, code.digest, waiting, f"{self.run}/{self.label}") as attempt:
                manifest = found()
                if manifest is None:
                    return self._make(store, emit, stage, attempt, code, inputs, limits, here)
        emit("state", state="cached", key=key, attempt=manifest.attempt)
        return manifest

    def _make(
        self, store: Store, emit: Emitter, stage: Stage[Any], attempt: Attempt, code: CodeRecord, inputs: Sequence[Manifest],
        limits: Limits, here: _Here,
    ) -> Manifest:  # fmt: skip
        limits.look()
        emit("state", state="resumed" if attempt.resumed else "started", key=attempt.key)
        held = Resources.model_validate(self.resources)
        meter, spending = Meter(held, here.idle(), here.backend.beyond), limits.spending
        spent = Spent(attempt.workspace.folder / "spent", meter, emit, attempt.depot, spending.count)
        states = self._states(store, stage, attempt, code, inputs)
        ctx = Context(attempt.workspace, emit=emit, backend=here.backend, spent=spent, look=limits.look, states=states)

        def pulse() -> None:
            spent.beat()
            spending.look()

        emit.pulse = pulse
        try:
            stage = self.load({place: store.data(inputs[parent]) for place, (parent, _) in self.inputs.items()})
            self._as_planned(stage)  # it may have waited for its lease
            sources = stage.sources()
            with limits.timed(), here.backend.limited(stage.resources.minutes):
                self._run(store, emit, stage, ctx, attempt)
            files = attempt.workspace.seal(stage.makes.rendered)
            if not files:
                raise StageFailed(
                    f"stage {self.label!r} ended without writing a file", mend=f"{self.stage}.run must fill out.path"
                )
            cost, lost, idle = spent.costs()
            manifest = Manifest(
                stage=attempt.stage, label=self.label, key=attempt.key, attempt=attempt.name, kind=stage.makes.kind(), source=self.stage,
                settings=self._as_planned(stage), inputs=self._input_records(inputs), files=files, digest=digest.of_files(files),
                code=code, environment=environment(), machine=machine(held), cost=cost, lost=lost, idle=idle, metrics=ctx.metrics,
                flops=self.flops, run=self.run, executor=here.executor, resources=self.resources, created=time.time(),
                resume=attempt.workspace.seal_kept(), resume_at=attempt.workspace.kept(), extends=stage.extends,
                extended_from=states.extended_from, rendered=stage.makes.rendered, sources=sources,
            )  # fmt: skip
            store.publish(attempt, manifest)
        except BaseException:
            with contextlib.suppress(OSError, StoreError):  # the fault itself is on its way
                spent.tell()
            raise
        spent.published()
        self._render(store, manifest, emit)
        emit("state", state="finished", key=attempt.key, attempt=attempt.name, digest=manifest.digest)
        return manifest

    def _render(self, store: Store, made: Manifest, emit: Emitter) -> None:
        """Write what is rendered from the record, now that there is one."""
        from pipeline.rendering import render

        if warning := render(store, made):
            emit("log", line=warning)

    def _states(
        self, store: Store, stage: Stage[Any], attempt: Attempt, code: CodeRecord, inputs: Sequence[Manifest]
    ) -> States:
        """What this attempt may go on from: nothing of another where it is to be built anew, though it is there."""
        anew = self.force and store.holds(store.attempts(attempt.stage, attempt.key))
        made = store.of_stage(attempt.stage) if stage.extends and not anew else []
        shorter = list(candidates(stage, canonical.settings(stage), self._digests(inputs), code.digest, made, store))
        return States(attempt.workspace, stage.continues_until(), shorter, store.resume)

    def _input_records(self, inputs: Sequence[Manifest]) -> dict[str, InputRecord]:
        return {place: inputs[parent].as_input(self.parents[parent]) for place, (parent, _) in self.inputs.items()}

    def _run(self, store: Store, emit: Emitter, stage: Stage[Any], ctx: Context, attempt: Attempt) -> None:
        writer = LineWriter(emit, store.logs(self.run) / f"{self.label}.txt")
        try:
            with contextlib.redirect_stdout(writer), contextlib.redirect_stderr(writer):
                stage.run(stage.makes(attempt.workspace.data), ctx)
        except CorpusmillError:
            raise
        except Exception as fault:
            with contextlib.suppress(OSError):
                writer.write(traceback.format_exc())
            raise self.told(fault, store) from fault
        finally:
            with contextlib.suppress(OSError, StoreError):  # the fault itself is on its way
                writer.close()
                store.keep_log(self.run, self.label)

    def told(self, fault: Exception, store: Store) -> CorpusmillError:
        """A bug in the stage, or a fault of the disk, as what a person reads; the traceback is in the stage's log."""
        if isinstance(fault, OSError) and of_store(fault, store.local):
            told = explained(fault, str(store.local))
            return StoreError(f"stage {self.label!r}: {told.message}", mend=told.mend)
        frame = traceback.extract_tb(fault.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        log = store.log_place(self.run, self.label)
        first = masking()((str(fault).strip() or repr(fault)).splitlines()[0])
        return StageFailed(
            f"stage {self.label!r}: {type(fault).__name__}: {first} (at {where})", mend=f"read the traceback in {log}"
        )
