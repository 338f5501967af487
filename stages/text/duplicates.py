"""Signatures of one shard as arrays on disk, and the judgement over all shards: which documents go, and for which one each goes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from stages.text import clusters, minhash

if TYPE_CHECKING:
    from stages.dedup import Dedup

BATCH = 1_000
"""Documents whose text is hashed at once."""


class Judgement(NamedTuple):
    """What goes: by shard and row (as text) ``[kept id, "exact" or "near", similarity]``; and how many of each, and pairs compared."""

    dropped: dict[int, dict[str, list[Any]]]
    exact: int
    near: int
    pairs: int


def sign(shard: str, stem: Path, *, ngram: int, permutations: int, seed: int) -> int:
    """Write what is to be known of a shard's documents to ``<stem>.*.npy`` (no pickle); return how many there are."""
    a, b = minhash.permutations(permutations, seed)
    parts: list[dict[str, Any]] = []
    for batch in pq.ParquetFile(shard).iter_batches(batch_size=BATCH):
        rows = batch.to_pylist()
        texts = [row["text"] for row in rows]
        found = minhash.shingles(texts, ngram)
        parts.append({
            "ids": [row["id"].encode() for row in rows],
            "digests": [_digest(text) for text in texts],
            "ties": [_digest("\0".join(str(row[name]) for name in ("source", "url", "metadata"))) for row in rows],
            "lengths": np.array([len(text) for text in texts], dtype=np.int64),
            "signatures": minhash.signatures(found, a, b),
            "shingles": found.values,
            "counts": np.diff(found.starts),
        })  # fmt: skip
    _save(stem, parts, permutations)
    return sum(len(part["ids"]) for part in parts)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest().encode()


def _save(stem: Path, parts: list[dict[str, Any]], permutations: int) -> None:
    for name in ("ids", "digests", "ties"):
        _write(stem, name, np.array([value for part in parts for value in part[name]] or [], dtype=np.bytes_))
    _write(
        stem,
        "signatures",
        np.concatenate([np.empty((0, permutations), np.uint32), *(part["signatures"] for part in parts)]),
    )
    for name, kind in (("lengths", np.int64), ("shingles", np.uint64), ("counts", np.int64)):
        _write(stem, name, np.concatenate([np.empty(0, kind), *(part[name] for part in parts)]))


def _write(stem: Path, name: str, array: np.ndarray[Any, Any]) -> None:
    np.save(stem.with_name(f"{stem.name}.{name}.npy"), array, allow_pickle=False)


def _read(stems: Sequence[Path], name: str) -> list[np.ndarray[Any, Any]]:
    return [np.load(stem.with_name(f"{stem.name}.{name}.npy"), mmap_mode="r", allow_pickle=False) for stem in stems]


def judge(stems: Sequence[Path], settings: Dedup) -> Judgement:
    """Exact duplicates by digest, near ones by bands and exact Jaccard. Documents are put in an order of their own first, so
    that neither shards nor their order matter."""
    ids, digests, ties = (np.concatenate(_read(stems, name)) for name in ("ids", "digests", "ties"))
    counts = [len(part) for part in _read(stems, "ids")]
    order = np.lexsort((ties, ids, digests))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = digests[order][1:] != digests[order][:-1]
    first = order[fresh]  # one document of each text: that with the smallest id
    stands = first[np.cumsum(fresh) - 1]
    signatures = np.concatenate(_read(stems, "signatures"))[first]
    similarity = _similarity(stems, first)
    union, pairs = clusters.cluster(
        clusters.buckets(signatures, settings.bands, settings.rows),
        len(first),
        lambda i, j: similarity(i, j) >= settings.threshold,
    )
    names = [value.decode() for value in ids[first]]
    best = clusters.survivors(union, np.concatenate(_read(stems, "lengths"))[first].tolist(), names)
    rank = np.cumsum(fresh) - 1
    fates = {}
    for place, row in enumerate(order.tolist()):
        mine, kept = int(rank[place]), best[int(rank[place])]
        if row != stands[place]:
            fates[row] = [names[kept], "exact" if kept == mine else "near", round(similarity(mine, kept), 6)]
        elif kept != mine:
            fates[row] = [names[kept], "near", round(similarity(mine, kept), 6)]
    exact = int(len(order) - len(first))
    return Judgement(_by_shard(fates, counts), exact, len(fates) - exact, pairs)


def _similarity(stems: Sequence[Path], first: np.ndarray[Any, Any]) -> Any:
    values = _read(stems, "shingles")
    where: list[tuple[int, int, int]] = []
    for shard, counts in enumerate(_read(stems, "counts")):
        ends = np.cumsum(counts)
        where.extend((shard, int(end - count), int(end)) for count, end in zip(counts, ends, strict=True))

    def similarity(left: int, right: int) -> float:
        (one, start, end), (other, begin, close) = where[first[left]], where[first[right]]
        return minhash.jaccard(values[one][start:end], values[other][begin:close])

    return similarity


def _by_shard(fates: dict[int, list[Any]], counts: list[int]) -> dict[int, dict[str, list[Any]]]:
    starts = np.concatenate([[0], np.cumsum(counts)])
    dropped: dict[int, dict[str, list[Any]]] = {}
    for row in sorted(fates):
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        dropped.setdefault(shard, {})[str(row - int(starts[shard]))] = fates[row]
    return dropped
