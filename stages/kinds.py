"""The kinds of artifact that stages exchange, each in a form the ecosystem reads as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

ORIGINAL_CARD = "README.original.md"
"""What the author of an adopted model wrote of it."""

DOCUMENT_COLUMNS = ("id", "text", "source", "url", "metadata")


class _Shards(Artifact):
    """Parquet shards (zstd) named part-00000.parquet, …"""

    __slots__ = ()

    def shards(self) -> list[Path]:
        """The shards, in order."""
        return sorted(self.path.glob("part-*.parquet"))

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every row of every shard, in order."""
        import pyarrow.parquet as pq

        for shard in self.shards():
            for batch in pq.ParquetFile(shard).iter_batches(
                batch_size=4096, columns=list(columns) if columns else None
            ):
                yield from batch.to_pylist()

    def count(self) -> int:
        """The number of rows, from the footers alone."""
        import pyarrow.parquet as pq

        return sum(pq.ParquetFile(shard).metadata.num_rows for shard in self.shards())


class Documents(_Shards):
    """Raw or cleaned text: id, text, source, url and metadata (a JSON object as text) of each document."""

    __slots__ = ()


class Chats(_Shards):
    """Conversations: `messages`, a list of {role, content}, and `metadata` (a JSON object as text)."""

    __slots__ = ()


class Preferences(_Shards):
    """Choices: `prompt`, `chosen` and `rejected`, each a list of {role, content}."""

    __slots__ = ()


class Tokenizer(Artifact):
    """A Hugging Face fast tokenizer: tokenizer.json, tokenizer_config.json and the chat template."""

    __slots__ = ()


class Tokens(Artifact):
    """Packed token ids: {train,validation,test}.bin (uint16 or uint32, little endian), document starts in {split}.idx (uint64),
    and tokens.json with counts of documents, tokens and bytes per split."""

    __slots__ = ()

    def info(self) -> dict[str, Any]:
        """What tokens.json says."""
        info: dict[str, Any] = json.loads((self.path / "tokens.json").read_text(encoding="utf-8"))
        return info


class Model(Artifact):
    """A Hugging Face checkpoint: config.json, model.safetensors, tokenizer, generation_config.json; or a GGUF file beside them.

    Its model card, README.md, is written from the records.
    """

    __slots__ = ()

    rendered = ("README.md",)


class Report(Artifact):
    """A result: report.json for machines, report.html for people."""

    __slots__ = ()

    def read(self) -> dict[str, Any]:
        """What report.json says."""
        report: dict[str, Any] = json.loads((self.path / "report.json").read_text(encoding="utf-8"))
        return report


class Service(Artifact):
    """A folder whose service has answered its smoke test over HTTP: service.json, smoke.json and the model's files."""

    __slots__ = ()


def write_shard(path: Path, table: pa.Table) -> None:
    """Write one parquet shard (zstd, one writer setting for all, so that the same rows give the same bytes)."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=3, row_group_size=16_384)
