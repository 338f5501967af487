"""Packs encoded documents into one stream of ids per split; every document comes back whole, and no layout of shards shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.text.origins import from_sources
from stages.text.tokenizer import boundary_id, load_tokenizer

Ids = npt.NDArray[Any]
Index = npt.NDArray[Any]

ENTRY = np.dtype(
    [
        ("split_hash", "<u8"),
        ("order_hash", "<u8"),
        ("start", "<u8"),
        ("length", "<u8"),
        ("bytes", "<u8"),
        ("source", "<u4"),
        ("part", "<u4"),
    ]
)
"""One document: two halves of its text's hash, its place in its part's ids.bin, its size in UTF-8, its source and its part."""

BATCH = 512


def ids_dtype(vocabulary: int) -> np.dtype[Any]:
    """uint16 where every id fits, uint32 else; little endian."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")


def encode_shard(item: tuple[int, str], folder: Path, *, tokenizer: Path) -> dict[str, Any]:
    """Encode one shard of documents into ``<number>/ids.bin``, index.bin and sources.json; each document ends with its boundary.

    A special token's name inside a text is text: no document can forge a boundary or a role.
    """
    import pyarrow.parquet as pq

    number, shard = item
    engine = load_tokenizer(tokenizer)
    engine.encode_special_tokens = True
    boundary, dtype = boundary_id(engine, tokenizer), ids_dtype(engine.get_vocab_size())
    into = folder / f"{number:05d}"
    into.mkdir()
    entries: list[tuple[int, ...]] = []
    sources: dict[str, int] = {}
    start = 0
    with (into / "ids.bin").open("wb") as file:
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=BATCH, columns=["text", "source"]):
            rows = batch.to_pylist()
            for row, encoded in zip(
                rows, engine.encode_batch_fast([row["text"] for row in rows], add_special_tokens=False), strict=True
            ):
                ids, text = np.array([*encoded.ids, boundary], dtype=dtype), row["text"].encode()
                file.write(ids.tobytes())
                source = sources.setdefault(row["source"] or "", len(sources))
                entries.append((*text_hash(text), start, len(ids), len(text), source, number))
                start += len(ids)
    (into / "index.bin").write_bytes(np.array(entries, dtype=ENTRY).tobytes())
    (into / "sources.json").write_text(json.dumps(list(sources)), encoding="utf-8")
    return {"sources": sorted(sources)}


def text_hash(text: bytes) -> tuple[int, int]:
    """Two independent 64-bit halves of the text's BLAKE2b hash: one says the split, one the order."""
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def read_index(parts: Sequence[Path], sources: Sequence[str]) -> Index:
    """The entries of every part, with each source's place in `sources`."""
    found = []
    for part in parts:
        entries = np.fromfile(part / "index.bin", dtype=ENTRY)
        own = json.loads((part / "sources.json").read_text(encoding="utf-8"))
        places = np.array([sources.index(name) for name in own], dtype="<u4")
        entries["source"] = places[entries["source"]] if len(entries) else entries["source"]
        found.append(entries)
    return np.concatenate(found) if found else np.empty(0, dtype=ENTRY)


def split_index(index: Index, validation: float, test: float) -> dict[str, Index]:
    """Divide documents by their hash alone, so that equal texts, and a text in a later corpus, fall on the same side.

    A split that was asked for and got nothing takes the document of the lowest hash, while train keeps at least one.
    """
    share = index["split_hash"] / float(1 << 64)
    side = np.where(share < validation, 1, np.where(share < validation + test, 2, 0))
    for number, wanted in ((1, validation), (2, test)):
        if wanted and not (side == number).any() and len(set(index["split_hash"][side == 0].tolist())) > 1:
            rest = index["split_hash"][side == 0]
            side[(side == 0) & (index["split_hash"] == rest.min())] = number
    return {name: index[side == number] for number, name in enumerate(("train", "validation", "test"))}


def shuffled(index: Index, times: Sequence[int], seed: int) -> Index:
    """The entries, each `times[source]` times, ordered by a hash of text, repetition and seed: never by position."""
    counts = np.array(times, dtype=np.int64)[index["source"]] if len(index) else np.empty(0, dtype=np.int64)
    many = np.repeat(index, counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    repetition = (np.arange(len(many)) - first).astype(np.uint64)
    order = mix(
        many["order_hash"] ^ mix(repetition * np.uint64(2) + np.uint64(1)) ^ mix(np.full(1, seed, dtype=np.uint64))
    )
    return many[np.lexsort((many["split_hash"], many["order_hash"], order))]


def mix(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection on 64 bits whose every output bit depends on every input bit."""
    values = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def write_split(parts: Mapping[int, Ids], entries: Index, folder: Path, name: str) -> dict[str, int]:
    """Write {name}.bin and {name}.idx; return the counts of documents, tokens and UTF-8 bytes."""
    with (folder / f"{name}.bin").open("wb", buffering=1 << 20) as file:
        for start, length, part in zip(
            entries["start"].tolist(), entries["length"].tolist(), entries["part"].tolist(), strict=True
        ):
            file.write(parts[part][start : start + length].tobytes())
    lengths = entries["length"]
    (folder / f"{name}.idx").write_bytes((np.cumsum(lengths) - lengths).astype("<u8").tobytes())
    return {"documents": len(entries), "tokens": int(lengths.sum()), "bytes": int(entries["bytes"].sum())}


def from_split(entries: Index, sources: Sequence[str]) -> dict[str, float]:
    """Documents and tokens of a split by their source, as metrics; what stands in it twice counts twice."""
    counts = {
        "documents": np.bincount(entries["source"], minlength=len(sources)),
        "tokens": np.bincount(entries["source"], weights=entries["length"], minlength=len(sources)),
    }
    found: dict[str, float] = {}
    for what, of_source in counts.items():
        found |= from_sources(what, [dict(zip(sources, of_source.tolist(), strict=True))])
    return found


def documents_of(folder: Path, name: str, dtype: np.dtype[Any]) -> Iterator[Ids]:
    """The ids of each document of a split, with its final boundary."""
    ids = np.fromfile(folder / f"{name}.bin", dtype=dtype)
    starts = np.fromfile(folder / f"{name}.idx", dtype="<u8")
    yield from np.split(ids, starts[1:].astype(np.int64)) if len(starts) else ()
