"""CollectPydoc: the documentation of Python's own library, rendered to HTML pages and read back as Documents, on any machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import field_validator

from pipeline import Context, Field, Stage, StageFailed
from pipeline.manifest import SourceRecord
from stages.kinds import Documents
from stages.text.extract import Extractor
from stages.text.pydoc_modules import MODULES

BATCH = 12
"""Modules rendered in one process: which other modules are loaded shows in lists of subclasses, so it must not vary."""


def this_python() -> str:
    """The version of the Python that runs, as in 3.11.9."""
    return ".".join(map(str, sys.version_info[:3]))


class CollectPydoc(Stage[Documents]):
    """Render pydoc's pages of `modules` by ``python -I`` in an empty environment, and take their main text as Collect does.

    Real pages, with navigation and much inherited repetition; no path, address or value of the machine enters them. Modules that
    this Python lacks are noted and left out. Raises StageFailed on another Python than `python`, or when no page can be rendered.
    """

    shows = ("documents",)

    modules: tuple[str, ...] = Field(default=MODULES, description="importable names, each a page")
    classes: bool = Field(
        default=True, description="also a page for each public class of a module, as pydoc serves them"
    )
    python: str = Field(default_factory=this_python, description="the Python that renders; another one has other pages")
    name: str = Field(default="pydoc", description="what the column `source` says")
    licence: str = Field(default="PSF-2.0", description="SPDX name of the licence, kept with every document")
    extractor: Extractor = Field(default="resiliparse", description="what takes the main text out of HTML")

    @field_validator("modules")
    @classmethod
    def _names(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in modules if not all(part.isidentifier() for part in name.split("."))]
        if wrong or not modules or len(set(modules)) < len(modules):
            raise ValueError(f"give names of modules, each once; not {wrong or list(modules)}")
        return modules

    def sources(self) -> dict[str, SourceRecord]:
        return {self.name: SourceRecord(at="pydoc", licence=self.licence, revision=f"Python {self.python}")}

    def stays(self) -> str:
        return "it reads the Python of this machine"

    def run(self, out: Documents, ctx: Context) -> None:
        """Render in batches into scratch, then one shard of documents per batch."""
        from stages.text.origins import from_sources

        if self.python != this_python():
            raise StageFailed(
                f"the pages are wanted of Python {self.python}, but {this_python()} runs",
                mend="leave out python=…, or run that Python",
            )
        batches = [list(self.modules[start : start + BATCH]) for start in range(0, len(self.modules), BATCH)]
        folder = ctx.scratch / "pages"
        pages = ctx.map(self._render, batches, into=folder, name="render")
        missing = sorted(set(self.modules).difference(*pages))
        if missing:
            ctx.note(f"this Python has no {', '.join(missing)}")
        groups = [[number, str(folder), names] for number, names in enumerate(pages)]
        counts = ctx.map(self._read, groups, name="read")
        ctx.log(pages=sum(map(len, pages)), missing=len(missing), documents=sum(counts))
        ctx.log(**from_sources("documents", [{self.name: sum(counts)}]))
        if not sum(counts):
            raise StageFailed(
                f"no page of {len(self.modules)} modules has any text", mend="name modules that this Python has"
            )

    def _render(self, batch: list[str], folder: Path) -> list[str]:
        import subprocess

        from stages.text import pydoc_pages

        names = [f"{name}+" if self.classes else name for name in batch]
        command = [sys.executable, "-I", str(Path(pydoc_pages.__file__).resolve()), str(folder), *names]
        done = subprocess.run(command, env={}, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise StageFailed(
                f"the pages of {', '.join(batch)} could not be rendered: {last}", mend="leave out the module that fails"
            )
        return sorted(path.stem for path in folder.glob("*.html"))

    def _read(self, item: list[Any], folder: Path) -> int:
        from stages.text.extract import main_text
        from stages.text.shards import document, write_documents

        number, pages, names = item
        metadata = {"licence": self.licence, "python": self.python}
        texts = ((name, main_text((Path(pages) / f"{name}.html").read_bytes(), self.extractor)) for name in names)
        rows = (
            document(text, name, source=self.name, url=f"pydoc:{name}", metadata=metadata)
            for name, text in texts
            if text
        )
        return write_documents(folder, f"part-{number:05d}", rows)
