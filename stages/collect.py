"""Collect: raw files to Documents. The same files give the same bytes, wherever they lie and however many workers read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, field_validator

from pipeline import Context, Field, Stage, StageFailed
from pipeline.errors import SourceError
from pipeline.manifest import SourceRecord
from stages.kinds import Documents
from stages.sources import Source, as_source
from stages.text.extract import Extractor
from stages.text.readers import Format

GROUP_BYTES = 8 << 20
"""Raw bytes of small files that one call reads; a larger file is a group of its own."""


class Collect(Stage[Documents]):
    """Read text, HTML, JSON, JSON lines, parquet or tables into documents (id, text, source, url, metadata with the licence).

    Raises SourceError for a missing file, one that changes while it is read, a pin that does not hold and a row that cannot be
    read, StageFailed when no text is found.
    """

    shows = ("documents",)

    source: Annotated[Source | str, BeforeValidator(as_source)] = Field(
        description="where the raw text comes from: a path, pypi:…, or a Source"
    )
    name: str = Field(
        default="", description="what the column `source` says; by default the package's name, or 'local'"
    )
    format: Format = Field(
        default="auto", description="how the files are read; auto goes by each file's suffix and skips unknown ones"
    )
    extractor: Extractor = Field(default="resiliparse", description="what takes the main text out of HTML")
    text_field: str = Field(
        default="text", description="field or column that holds the text, or a conversation (one line per turn)"
    )
    metadata_fields: tuple[str, ...] = Field(default=(), description="fields kept in the metadata of the document")
    paragraph_mark: str = Field(
        default="", description="what stands for a paragraph break in the source (some tables use two spaces)"
    )
    split: str = Field(default="", description="regular expression at which a text is cut into several documents")
    limit: int = Field(default=0, ge=0, description="stop after so many documents; 0 reads all")

    @field_validator("split")
    @classmethod
    def _compiles(cls, split: str) -> str:
        try:
            re.compile(split)
        except re.error as fault:
            raise ValueError(f"it is not a regular expression: {fault}") from None
        return split

    def run(self, out: Documents, ctx: Context) -> None:
        """Group the files by size, read the groups through `ctx.map`, one or more shards each."""
        from stages.text.origins import from_sources

        with self.origin.reading() as found:
            documents, empty = self._collect(found, ctx)
        ctx.log(documents=documents, empty=empty, **from_sources("documents", [{self.called: documents}]))
        if not documents:
            raise StageFailed(
                f"{self.origin.at}: none of {empty} texts has any content",
                mend="look at text_field, format and extractor",
            )

    def _collect(self, found: dict[str, Path], ctx: Context) -> tuple[int, int]:
        """Write every shard; return how many documents there are, and how many texts were empty."""
        readable = {name: path for name, path in found.items() if self._form(name) is not None}
        ctx.log(files_in=len(found), files_read=len(readable))
        if not readable:
            raise StageFailed(
                f"{self.origin.at} holds no file of a known format",
                mend="set format=… (text, html, json, jsonl, parquet, table)",
            )
        counts = ctx.map(
            self._read, [[number, group] for number, group in enumerate(self._groups(readable))], unit="groups"
        )
        return sum(kept for kept, _ in counts), sum(none for _, none in counts)

    @property
    def origin(self) -> Source:
        """The source as an object, however it was given."""
        return cast(Source, self.source)

    @property
    def called(self) -> str:
        """What the column `source` says."""
        return self.name or self.origin.package or "local"

    def sources(self) -> dict[str, SourceRecord]:
        return {self.called: self.origin.record()}

    def stays(self) -> str:
        return self.origin.stays()

    def _form(self, name: str) -> Format | None:
        from stages.text.readers import format_of

        return format_of(name) if self.format == "auto" else self.format

    def _groups(self, files: dict[str, Path]) -> list[list[list[str]]]:
        groups: list[list[list[str]]] = [[]]
        room = GROUP_BYTES
        for name, path in files.items():
            room -= path.stat().st_size
            if room < 0 and groups[-1] and not self.limit:  # a limit counts over all files, in order: one group
                groups.append([])
                room = GROUP_BYTES - path.stat().st_size
            groups[-1].append([name, str(path)])
        return groups

    def _read(self, item: list[Any], folder: Path) -> list[int]:
        from stages.text.shards import write_documents

        number, group = item
        empty = [0]
        documents = self._documents(group, empty)
        kept = write_documents(folder, f"part-{number:05d}", islice(documents, self.limit) if self.limit else documents)
        return [kept, empty[0]]

    def _documents(self, group: list[list[str]], empty: list[int]) -> Iterator[dict[str, str]]:
        from stages.text.shards import document

        for name, path in group:
            for place, row in enumerate(self._rows(Path(path), name)):
                metadata = {"licence": self.origin.licence, **{field: row.get(field) for field in self.metadata_fields}}
                texts = self._texts(row, name)
                empty[0] += not any(texts)
                for part, text in enumerate(texts):
                    if text:
                        where = f"{name}:{place}" + (f":{part}" if self.split else "")
                        yield document(text, where, source=self.called, url=self.origin.url(name), metadata=metadata)

    def _rows(self, path: Path, name: str) -> Iterator[dict[str, Any]]:
        from stages.text.readers import rows

        form = self._form(name)
        assert form is not None  # run() keeps only files of a known format
        return rows(path, name, form)

    def _texts(self, row: dict[str, Any], name: str) -> list[str]:
        from stages.text.extract import main_text, tidy
        from stages.text.readers import text_of

        if self._form(name) == "html":
            text = main_text(row["text"], self.extractor)
        else:
            field = "text" if self._form(name) == "text" else self.text_field
            if field not in row:
                raise SourceError(
                    f"{name} has no field {field!r}; it has: {', '.join(map(str, row))}",
                    mend="set text_field=… to one of them",
                )
            text = text_of(row[field])
        if self.paragraph_mark:
            text = "\n\n".join(part.strip() for part in text.split(self.paragraph_mark))
        return [tidy(part) for part in re.split(self.split, text) if part] if self.split else [tidy(text)]
