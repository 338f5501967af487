"""Extension: an attempt that asks for more of one setting goes on from the state that a shorter attempt kept, to the same bytes.

`find` is what the plan and the job both ask, so that what is forecast is what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.code import changed_packages
from pipeline.errors import StoreError
from pipeline.manifest import CodeRecord, Manifest
from pipeline.workspace import Workspace, folder_at

if TYPE_CHECKING:
    from pipeline.stage import Stage
    from pipeline.store import Store

EXTENDED = "extended from"


class Earlier(NamedTuple):
    """A state to go on from: the folder that holds what was kept under the name it had, only to be read; how far it had come."""

    path: Path
    at: float


def candidates(
    stage: Stage[Any],
    settings: Mapping[str, Any],
    digests: Mapping[str, str],
    code_digest: str,
    made: Sequence[Manifest],
    store: Store,
) -> Iterator[Manifest]:
    """Those of the attempts `made` at a stage of this kind from whose state `stage` can go on, furthest first.

    They differ in nothing but less of the setting that it extends along, and were made by today's code; what they kept is
    still there, and does not depend on that setting. `settings` are canonical, `digests` are of the inputs, by place.
    """
    name = stage.extends
    if not name:
        return
    wanted, until = {**settings, name: None}, stage.continues_until()
    shorter = [
        (found.resume_at, found)
        for found in made
        if found.resume_at is not None and found.resume_at <= until
        if found.extends == name and found.code.digest == code_digest
        if {**found.settings, name: None} == wanted and found.settings[name] < settings[name]
        if {place: record.digest for place, record in found.inputs.items()} == digests
    ]
    for _, found in sorted(shorter, key=lambda pair: pair[0], reverse=True):
        if store.has_resume(found):
            yield found


def find(
    stage: Stage[Any],
    settings: Mapping[str, Any],
    digests: Mapping[str, str],
    code_digest: str,
    made: Sequence[Manifest],
    store: Store,
) -> Manifest | None:
    """The first of the `candidates`: the attempt that `stage` would go on from."""
    return next(candidates(stage, settings, digests, code_digest, made, store), None)


def share(stage: Stage[Any], earlier: Manifest | None) -> float:
    """The part of the work that is still to be done by a stage that goes on from the state of `earlier`."""
    if earlier is None or earlier.resume_at is None:
        return 1.0
    asked = float(getattr(stage, stage.extends))
    return (asked - earlier.resume_at) / asked


def extends(stage: Stage[Any], earlier: Manifest, code: CodeRecord) -> str:
    """What the plan says of it: ``extend 2,000 → 4,000``, and the libraries whose other versions may show in the bytes."""
    told = f"extend {earlier.settings[stage.extends]:,} → {getattr(stage, stage.extends):,}"
    return told + "".join(f", though {change}" for change in changed_packages(earlier.code, code))


class States:
    """The states that one attempt keeps and may go on from: what it kept itself before it was killed, and those of shorter attempts."""

    def __init__(
        self,
        workspace: Workspace,
        until: float = float("inf"),
        shorter: Sequence[Manifest] = (),
        resume: Callable[[Manifest], Path] | None = None,
    ) -> None:
        """`until` is how far a state depends on nothing that an extension changes; `shorter` are candidates, which `resume` opens."""
        self._workspace, self._until, self._shorter, self._resume = workspace, until, shorter, resume

    def keep(self, path: Path, at: float) -> None:
        """See Context.keep."""
        if not 0 < at <= self._until:
            raise ValueError(
                f"no attempt could go on from a state at {at:,}: it would have to stand at most at {self._until:,}"
            )
        self._workspace.keep(path, at)

    def earlier(self, beyond: float, note: Callable[[str], None]) -> Earlier | None:
        """See Context.earlier; `note` is told of states that cannot be used."""
        own = self._workspace.kept()
        furthest = max(beyond, own or 0)
        for made in self._shorter:
            if made.resume_at is None or made.resume_at <= furthest or self._resume is None:
                break
            try:
                folder = self._resume(made)
            except StoreError as fault:
                note(f"not going on from {made.attempt}: {fault.message}")
                continue
            self._workspace.mark(EXTENDED, made.attempt)
            return Earlier(folder / folder_at(made.resume_at), made.resume_at)
        if own is not None and own > beyond:
            return Earlier(self._workspace.resume / folder_at(own), own)
        if furthest == 0 and self.extended_from:  # what had come of it is lost: it begins anew
            self._workspace.mark(EXTENDED, "")
        return None

    @property
    def extended_from(self) -> str:
        """The shorter attempt that this one went on from, in this session or an earlier one; empty where it began anew."""
        return str(self._workspace.values().get(EXTENDED, ""))
