"""The store: the root of all artifacts. A manifest, written last and never overwritten, makes an attempt exist.

::

    <root>/<stage>/<key>/<attempt>/{data/, manifest.json}   artifacts; beside them resume/, accepted/ and dropped.json
    <root>/.partial/<stage>/<key>/{lease, <attempt>/}       scratch of attempts that are not complete
    <root>/.runs/<run>/{run.json, sessions/, events/, logs/, stop.json, end.json} what happened
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline import lease
from pipeline.digest import FileRecord
from pipeline.errors import StoreError
from pipeline.files import LocalFiles, open_root
from pipeline.manifest import Acceptance, InputRecord, Manifest, Pin, Registration, StopRecord
from pipeline.store_faults import Unsound, unreadable
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.depot import Depot

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")


class Attempt:
    """One making of a key, in progress: where it works, and whether it goes on from an earlier, killed one."""

    def __init__(
        self, stage: str, key: str, name: str, workspace: Workspace, resumed: bool, depot: Depot | None = None
    ) -> None:
        self.stage, self.key, self.name, self.workspace, self.resumed = stage, key, name, workspace, resumed
        self.depot = depot


class Store:
    """Opens the store at `root`. Raises StoreError where it cannot be reached or written."""

    def __init__(self, root: str) -> None:
        self.files = open_root(root)
        self.url, self.local = self.files.url, self.files.local

    def attempts(self, stage: str, key: str) -> list[Manifest]:
        """The complete attempts at `key`, newest first."""
        found = [self.manifest(f"{stage}/{key}/{name}") for name in self.files.children(f"{stage}/{key}")]
        return sorted((manifest for manifest in found if manifest), key=lambda manifest: manifest.created, reverse=True)

    def in_force(self, stage: str, key: str, code_digest: str) -> Manifest | None:
        """The attempt at `key` that counts for code of this digest."""
        return self.choose(self.attempts(stage, key), code_digest)

    def choose(self, made: Sequence[Manifest], code_digest: str) -> Manifest | None:
        """Of attempts at one key, newest first: made by this code or adopted, else accepted for it; one with data comes first."""
        ours = [found for found in made if found.code.digest == code_digest or found.origin]
        ours = ours or [found for found in made if self.acceptance(found, code_digest)]
        return next((found for found in ours if not self.is_dropped(found)), ours[0] if ours else None)

    def acceptance(self, manifest: Manifest, code_digest: str) -> Acceptance | None:
        """Who declared the attempt good for code of this digest, if anybody did."""
        try:
            return self.read(Acceptance, f"{place_of(manifest)}/accepted/{code_digest[:16]}.json")
        except FileNotFoundError:
            return None

    def accept(self, manifest: Manifest, acceptance: Acceptance) -> None:
        """Declare an attempt good for the code that `acceptance` names. The first word stands."""
        self.files.create(
            f"{place_of(manifest)}/accepted/{acceptance.code[:16]}.json", acceptance.model_dump_json(indent=1).encode()
        )

    def is_dropped(self, manifest: Manifest) -> bool:
        """Whether the data of the attempt was removed to save space."""
        return self._is_there(f"{place_of(manifest)}/dropped.json")

    def _is_there(self, name: str) -> bool:
        """Whether there is a record `name`: of an object store, one request instead of three."""
        try:
            self.files.read(name)
        except FileNotFoundError:
            return False
        return True

    def of_stage(self, stage: str) -> list[Manifest]:
        """Every complete attempt of a stage, whatever its key, newest first."""

        def made(key: str) -> list[Manifest]:
            with contextlib.suppress(StoreError):  # history only: who needs that key is told
                return self.attempts(stage, key)
            return []

        found = [manifest for manifests in self._each(made, self.files.children(stage)) for manifest in manifests]
        return sorted(found, key=lambda manifest: manifest.created, reverse=True)

    def _each(self, work: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """`work` of every name, in order; several at once where each asks a server."""
        if not self.files.remote:
            return [work(name) for name in names]
        from pipeline.object_files import together

        return together(work, names)

    def stages(self) -> list[str]:
        """The names of all stages that have something here."""
        return [name for name in self.files.children("") if not name.startswith(".")]

    def data(self, manifest: Manifest) -> Path:
        """The local directory of an artifact, verified. Raises StoreError where its data has gone or is not as recorded."""
        return self._opened(manifest, "data", manifest.files, manifest.rendered)

    def resume(self, manifest: Manifest) -> Path:
        """The local directory with the state that an attempt kept, verified. Raises StoreError as `data` does."""
        return self._opened(manifest, "resume", manifest.resume)

    def has_resume(self, manifest: Manifest) -> bool:
        """Whether the state that an attempt kept is still there."""
        return self.files.exists(f"{place_of(manifest)}/resume") and not self.is_dropped(manifest)

    def holds(self, made: Sequence[Manifest]) -> bool:
        """Whether the data of any of these attempts is still there."""
        return not all(map(self.is_dropped, made))

    def _opened(
        self, manifest: Manifest, tree: str, files: Mapping[str, FileRecord], rendered: Sequence[str] = ()
    ) -> Path:
        name = f"{place_of(manifest)}/{tree}"
        again = f"build it again with --rebuild {manifest.label}"
        if manifest.origin:
            again = f"adopt it again: corpusmill adopt {manifest.kind.lower()} {manifest.origin.get('from', 'PATH')}"
        mend = f"see what else is wrong with corpusmill verify; {again}"
        try:
            return self.files.open(name, files, rendered)
        except FileNotFoundError:
            raise StoreError(f"the {tree} of {manifest.label} is missing: {self.url}/{name}", mend=mend) from None
        except Unsound as fault:
            raise StoreError(f"{fault} is not what its manifest says", mend=mend) from None

    def manifest(self, attempt: str) -> Manifest | None:
        """The manifest of the attempt at this place, None where it is not complete. Raises StoreError for one that cannot be read."""
        name = f"{attempt}/manifest.json"
        try:
            text = self.files.read(name)
        except FileNotFoundError:
            return None
        if text.startswith(b'{"void"'):  # a tombstone: see `depot`
            return None
        try:
            return Manifest.model_validate_json(text)
        except ValidationError:
            raise unreadable(f"{self.url}/{name}", text) from None

    @contextmanager
    def attempt(
        self, stage: str, key: str, code_digest: str, on_wait: Callable[[], None], of: str = ""
    ) -> Iterator[Attempt]:
        """Hold the key's lease and open the scratch of an attempt: the last one that this code left, else a fresh one.

        `of` names what is tried but once at a time (pipeline.object_lease.Lease): a job, on whatever machine.
        """
        folder = self.local / ".partial" / stage / key
        if not isinstance(self.files, LocalFiles):
            with self._attempt_elsewhere(stage, key, code_digest[:12], on_wait, of) as attempt:
                yield attempt
            return
        with lease.held(folder / "lease", on_wait):
            left = [name for name in self._left(folder, stage, key) if name.endswith(f"-{code_digest[:12]}")]
            name = left[-1] if left else f"{_now()}-{uuid.uuid4().hex[:6]}-{code_digest[:12]}"
            yield Attempt(stage, key, name, Workspace(folder / name), resumed=bool(left))

    @contextmanager
    def _attempt_elsewhere(
        self, stage: str, key: str, code: str, on_wait: Callable[[], None], of: str
    ) -> Iterator[Attempt]:
        """The same in an object store, with scratch on this machine: always a fresh attempt, which goes on from the last."""
        from pipeline.depot import Depot
        from pipeline.object_files import ObjectFiles
        from pipeline.object_lease import kept

        assert isinstance(self.files, ObjectFiles)
        with kept(self.files, f".partial/{stage}/{key}/lease", on_wait, of) as claim:
            depot = Depot(self.files, f"{stage}/{key}", code, claim.check)
            folder = self.local / ".partial" / stage / key / depot.name
            depot.take_scratch(folder)
            yield Attempt(stage, key, depot.name, Workspace(folder, depot), depot.resumed, depot)

    def _left(self, folder: Path, stage: str, key: str) -> list[str]:
        """Attempts that were cut short, oldest first. A kill in the middle of publishing is undone, or finished, here."""
        assert isinstance(self.files, LocalFiles)
        names = sorted(path.name for path in folder.iterdir() if path.name != "lease")
        complete = {name for name in names if self.files.exists(f"{_place(stage, key, name)}/manifest.json")}
        for name in names:
            if name in complete:
                shutil.rmtree(folder / name)
            else:
                for tree in ("data", "resume"):
                    self.files.withdraw(f"{_place(stage, key, name)}/{tree}", folder / name / tree)
        return [name for name in names if name not in complete]

    def publish(self, attempt: Attempt, manifest: Manifest) -> None:
        """Put the data into its place, then write the manifest: from that moment the attempt exists."""
        place = _place(attempt.stage, attempt.key, attempt.name)
        if attempt.depot:
            attempt.depot.publish(attempt.workspace.folder, {"data": manifest.files, "resume": manifest.resume})
            self._create(f"{place}/manifest.json", manifest)
            with contextlib.suppress(StoreError):  # it is complete without a copy here
                self._keep_here(attempt, manifest)
            attempt.depot.clear()
        else:
            self._keep_here(attempt, manifest)
            self._create(f"{place}/manifest.json", manifest)
        shutil.rmtree(attempt.workspace.folder, ignore_errors=True)

    def _keep_here(self, attempt: Attempt, manifest: Manifest) -> None:
        """Move what was made to its place on this machine: in the store itself, or in the copy of a store elsewhere."""
        here, place = LocalFiles(self.local), place_of(manifest)
        if manifest.resume:
            here.publish(attempt.workspace.resume, f"{place}/resume", {})
        here.publish(attempt.workspace.data, f"{place}/data", attempt.workspace.stamps)

    def _create(self, name: str, record: BaseModel) -> None:
        if not self.files.create(name, record.model_dump_json(indent=1).encode()):
            raise StoreError(f"{self.url}/{name} exists already", mend="run again: a record is never overwritten")

    def record(self, run: str, name: str, record: BaseModel) -> None:
        """Write one record of a run, once."""
        self._create(f".runs/{run}/{name}", record)

    def ask_stop(self, run: str, why: str, who: str) -> None:
        """Ask every stage of a run to stop at its next commit. The first word stands."""
        record = StopRecord(why=why, who=who, when=time.time())
        self.files.create(f".runs/{run}/stop.json", record.model_dump_json(indent=1).encode())

    def stop_asked(self, run: str) -> str:
        """Why a run was asked to stop; empty while nobody did."""
        try:
            return self.read(StopRecord, f".runs/{run}/stop.json").why
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def register(self, registration: Registration) -> None:
        """Note that an attempt is a version of a registered model; of the words on one attempt the last `when` stands."""
        name = f".registered/{registration.name}-{registration.version}.json"
        text = registration.model_dump_json(indent=1).encode()
        if not self.files.create(name, text):
            known = self.read(Registration, name)
            if known.attempt == registration.attempt and known.when < registration.when:
                self.files.replace(name, text)

    def registered(self) -> list[Registration]:
        """Every version of every registered model. Raises StoreError for a record that cannot be read."""
        names = [f".registered/{name}" for name in self.files.children(".registered") if not name.startswith(".")]
        return [self.read(Registration, name) for name in names]

    def read(self, kind: type[R], name: str) -> R:
        """The record `name`. Raises FileNotFoundError, or StoreError for one that cannot be read."""
        try:
            return kind.model_validate_json(self.files.read(name))
        except ValidationError:
            raise StoreError(
                f"{self.url}/{name} cannot be read: truncated, or written by a newer version",
                mend="upgrade corpusmill, or move that file away",
            ) from None

    def logs(self, run: str) -> Path:
        """Where the logs of a run's stages lie on this machine."""
        return self.local / ".runs" / run / "logs"

    def log_place(self, run: str, label: str) -> str:
        """Where a person finds the log of a stage."""
        return f"{self.url}/.runs/{run}/logs/{label}.txt"

    def keep_log(self, run: str, label: str) -> None:
        """Put the log of a stage that has ended here to where `log_place` says."""
        if self.files.remote:
            self.files.replace(f".runs/{run}/logs/{label}.txt", (self.logs(run) / f"{label}.txt").read_bytes())


def place_of(record: Manifest | InputRecord | Pin | Registration) -> str:
    """The directory of the attempt that a record is of, relative to the root."""
    return _place(record.stage, record.key, record.attempt)


def _place(stage: str, key: str, attempt: str) -> str:
    return f"{stage}/{key}/{attempt}"


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime())
