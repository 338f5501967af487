"""The manifest: the record, written last and never overwritten, that an attempt at an artifact is complete."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.digest import FileRecord

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The attempt that an input was: enough to find its manifest, and the content digest that entered the key."""

    stage: str
    key: str
    attempt: str
    digest: str
    label: str


class CodeRecord(_Record):
    """What the stage's code was: one digest, the digest of each top-level definition (``stages/text/rules.py:repeats``)
    and data file it reaches, and the versions of the libraries it imports."""

    digest: str
    definitions: dict[str, str] = {}
    packages: dict[str, str] = {}


class Cost(_Record):
    """What an attempt cost: seconds of wall time and CPU (children included), peak resident memory in bytes, dollars if priced."""

    wall_seconds: float = 0
    cpu_seconds: float = 0
    gpu_seconds: float = 0
    peak_bytes: int = 0
    dollars: float | None = None


class Manifest(_Record):
    """One complete attempt. Its data lies beside it, in data/; `digest` is the content digest of `files`."""

    schema_version: int = SCHEMA
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
    metrics: dict[str, float]
    run: str
    executor: str
    resources: dict[str, Any] = {}
    created: float = Field(description="seconds since 1970")

    @property
    def size(self) -> int:
        """Bytes of the artifact."""
        return sum(record.size for record in self.files.values())
