"""The manifest: the record, written last and never overwritten, that an attempt at an artifact is complete."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.digest import FileRecord

SCHEMA = 4


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The attempt that an input was: enough to find its manifest, and the content digest that entered the key."""

    stage: str
    key: str
    attempt: str
    digest: str
    label: str
    size: int = 0
    """Bytes of the input; 0 where it was not recorded."""


class SourceRecord(_Record):
    """What a stage read from outside the store: where, under which licence, and what fixes its content.

    `at` is the address as the stage names it; `revision` a sha256, a version or a pin.
    """

    at: str
    licence: str = ""
    revision: str = ""


class CodeRecord(_Record):
    """What the stage's code was: one digest, the digest of each top-level definition (``stages/text/rules.py:repeats``)
    and data file it reaches, and the versions of the libraries it imports."""

    digest: str
    definitions: dict[str, str] = {}
    packages: dict[str, str] = {}


class Cost(_Record):
    """What an attempt cost: seconds of wall time and CPU (children included), peak resident memory in bytes, dollars if priced.

    `beyond_cpu_seconds` are those for which its shards held a CPU beyond the stage's own.
    """

    wall_seconds: float = 0
    cpu_seconds: float = 0
    gpu_seconds: float = 0
    beyond_cpu_seconds: float = 0
    peak_bytes: int = 0
    dollars: float | None = None

    def __bool__(self) -> bool:
        """Whether anything was held or used. CPU alone was on a machine that was lost while the stage itself went on elsewhere."""
        return bool(self.wall_seconds or self.cpu_seconds)


class Acceptance(_Record):
    """Somebody's word that an attempt is good for code of another digest than the one that made it."""

    code: str
    who: str
    when: float = Field(description="seconds since 1970")
    why: str = ""


class Dropped(_Record):
    """The data of an attempt was removed to save space; its manifest stays, and it can be built again."""

    who: str
    when: float = Field(description="seconds since 1970")
    size: int = Field(description="bytes that were removed")


class StopRecord(_Record):
    """A run was asked to stop: each stage ends at its next commit, and no other begins."""

    why: str
    who: str
    when: float = Field(description="seconds since 1970")


class Pin(_Record):
    """Somebody's word that an attempt is to be kept (or, `pinned` false, no longer); the last word counts."""

    stage: str
    key: str
    attempt: str
    pinned: bool
    who: str
    when: float = Field(description="seconds since 1970")
    why: str = ""


class Registration(_Record):
    """An attempt was registered as a version of a model: it and all it was made from is kept.

    `when` is the beginning of the last run that ended with it; `alias` is what it became then.
    """

    stage: str
    key: str
    attempt: str
    name: str
    version: str
    alias: str = ""
    when: float = Field(description="seconds since 1970")


class Manifest(_Record):
    """One complete attempt. Its data lies beside it, in data/; `digest` is the content digest of `files`.

    `cost` is all that was spent on this attempt, `lost` the part of it that a failure or a kill made it do again, `idle` the
    part in which a machine was held and did not work yet.
    `flops` is the floating-point work that its settings declared. `resume` are the files in resume/, from which an
    attempt with more of the setting named in `extends` can go on: they hold the state at `resume_at` of it.
    `extended_from` names the attempt that this one went on from; `origin` says where an adopted artifact came from.
    `rendered` are names in data/ that are no content: what lies there is written from records, and may change.
    `sources` is what it read from outside the store, by the name that its documents carry in their column `source`.
    """

    schema_version: int = Field(default=SCHEMA, le=SCHEMA, description="a newer one may mean something else by it")
    stage: str
    label: str
    key: str
    attempt: str
    kind: str
    source: str = Field(description="module and class that made it, as module:Class")
    settings: dict[str, Any]
    inputs: dict[str, InputRecord]
    files: dict[str, FileRecord]
    digest: str
    code: CodeRecord
    environment: dict[str, str]
    machine: dict[str, Any]
    cost: Cost
    lost: Cost = Cost()
    idle: Cost = Cost()
    flops: float | None = None
    metrics: dict[str, float]
    run: str
    executor: str
    resources: dict[str, Any] = {}
    created: float = Field(description="seconds since 1970")
    resume: dict[str, FileRecord] = {}
    resume_at: float | None = None
    extends: str = ""
    extended_from: str = ""
    origin: dict[str, str] = {}
    rendered: tuple[str, ...] = ()
    sources: dict[str, SourceRecord] = {}

    @property
    def size(self) -> int:
        """Bytes of the artifact."""
        return sum(record.size for record in self.files.values())

    def as_input(self, label: str) -> InputRecord:
        """This attempt as an input of another, in whose dag it has that label."""
        return InputRecord(
            stage=self.stage, key=self.key, attempt=self.attempt, digest=self.digest, label=label, size=self.size
        )
