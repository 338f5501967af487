"""Turns documents into packed token ids, split by a hash of each text; the bytes depend on no shard, worker or position."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Documents, Tokenizer, Tokens

SPLITS = ("train", "validation", "test")


class Encode(Stage[Tokens]):
    """Encode, shuffle and pack documents, each ended by <|endoftext|>; repeat chosen sources in the training split alone.

    A tokenizer made elsewhere that has no <|endoftext|> ends a document with its eos_token.
    """

    shows = ("tokens", "train_documents", "validation_documents")

    documents: Documents | tuple[Documents, ...]
    tokenizer: Tokenizer
    validation: float = Field(
        default=0.02, ge=0, lt=0.5, description="share of documents kept for validation, by hash of the text"
    )
    test: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of documents kept for the test split, by hash of the text"
    )
    repeat: dict[str, int] = Field(
        default={}, description="times that each document of a source stands in train; others stand once"
    )
    seed: int = Field(default=0, ge=0, lt=1 << 63, description="order of the documents")

    def run(self, out: Tokens, ctx: Context) -> None:
        from stages.text.packing import encode_shard, read_index

        given = self.documents if isinstance(self.documents, tuple) else (self.documents,)
        shards = [str(shard) for documents in given for shard in documents.shards()]
        encoded = ctx.scratch / "encoded"
        call = partial(encode_shard, tokenizer=self.tokenizer.path)
        found = ctx.map(call, list(enumerate(shards)), into=encoded)
        sources = sorted({source for shard in found for source in shard["sources"]})
        parts = [encoded / f"{number:05d}" for number in range(len(shards))]
        index = read_index(parts, sources)
        if not len(index):
            raise StageFailed("there is not one document to encode", mend="loosen the filter, or collect more")
        self._check(sources)
        ctx.log(step=None, **self._pack(parts, index, sources, out.path))

    def _pack(self, parts: list[Path], index: Any, sources: list[str], folder: Path) -> dict[str, float]:
        import numpy as np

        from stages.text.packing import from_split, ids_dtype, shuffled, split_index, write_split
        from stages.text.tokenizer import boundary_id, load_tokenizer

        engine = load_tokenizer(self.tokenizer.path)
        dtype = ids_dtype(engine.get_vocab_size())
        ids = {
            number: np.memmap(part / "ids.bin", dtype=dtype, mode="r")
            for number, part in enumerate(parts)
            if (part / "ids.bin").stat().st_size
        }
        folder.mkdir(parents=True, exist_ok=True)
        splits, origins = {}, dict[str, float]()
        for name, entries in split_index(index, self.validation, self.test).items():
            times = [self.repeat.get(source, 1) if name == "train" else 1 for source in sources]
            entries = shuffled(entries, times, self.seed)
            splits[name] = write_split(ids, entries, folder, name)
            if name == "train":
                origins = from_split(entries, sources)
        info = {
            "boundary": boundary_id(engine, self.tokenizer.path),
            "dtype": "uint16" if dtype.itemsize == 2 else "uint32",
            "splits": splits,
            "vocab_size": engine.get_vocab_size(),
        }
        (folder / "tokens.json").write_text(json.dumps(info, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        counts = {f"{name}_{what}": float(splits[name][what]) for name in SPLITS for what in ("documents", "tokens")}
        return counts | {"tokens": float(sum(splits[name]["tokens"] for name in SPLITS))} | origins

    def _check(self, sources: list[str]) -> None:
        """Refuse to repeat what is not there: a misspelt source would silently weigh nothing."""
        for name, times in sorted(self.repeat.items()):
            if name not in sources:
                raise StageFailed(
                    f"repeat names source {name!r}, but the documents come from {', '.join(map(repr, sources))}",
                    mend="name a source that the documents have",
                )
            if times < 1:
                raise StageFailed(f"repeat of source {name!r} is {times}", mend="set it to 1 or more")
