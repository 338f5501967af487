"""Word n-grams, MinHash signatures and LSH bands of many documents at once, vectorised over the bytes of their text.

Permutations are datasketch's ``affine32`` scheme (seeded a, b; h → a·h + b mod 2³²), so that a signature estimates Jaccard
as its library's does. An n-gram is the 64-bit hash of n words; two sets of n-grams are compared exactly on those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U32 = NDArray[np.uint32]
    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]

BLOCK = 1 << 15
"""n-grams that go through all permutations while they lie in the processor's cache (128 KiB of 32-bit hashes)."""

BASE = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that it has an inverse modulo 2⁶⁴: the base of the polynomial that hashes a word."""
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))


class Shingles(NamedTuple):
    """The distinct n-grams of documents: `values` sorted within each document, document i at ``starts[i]:starts[i + 1]``."""

    values: U64
    starts: I64


def shingles(texts: Sequence[str], ngram: int) -> Shingles:
    """The distinct word n-grams of each text, case folded. A text of fewer words is one n-gram, one without words its bytes."""
    encoded = [text.lower().encode("utf-8", "replace") for text in texts]
    sizes = np.array([len(data) + 1 for data in encoded], dtype=np.int64)
    data = np.frombuffer(b"\n".join([*encoded, b""]), dtype=np.uint8)
    ends = np.cumsum(sizes)
    hashes, begins = _words(data)
    first = np.searchsorted(begins, ends - sizes)
    last = np.searchsorted(begins, ends)
    counts = last - first
    grams = _mix(_grams(hashes, ngram))
    owner = np.repeat(np.arange(len(texts)), counts)
    position = np.arange(len(hashes)) - first[owner]
    whole = position + ngram <= counts[owner]
    values, owners = grams[np.flatnonzero(whole)], owner[whole]
    short = np.flatnonzero(counts < ngram)
    extra = np.array([_single(hashes[first[i] : last[i]], encoded[i]) for i in short], dtype=np.uint64)
    return _distinct(np.concatenate([values, extra]), np.concatenate([owners, short]), len(texts))


def _words(data: NDArray[np.uint8]) -> tuple[U64, I64]:
    inside = _IS_WORD[data]
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    begins, ends = edges[::2], edges[1::2]
    powers, inverses = _powers(len(data))
    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_LETTERS[data] * powers, dtype=np.uint64)])
    return _mix((prefix[ends] - prefix[begins]) * inverses[begins]), begins


def _powers(size: int) -> tuple[U64, U64]:
    steps = np.full((2, size), 1, dtype=np.uint64)
    steps[0, 1:], steps[1, 1:] = BASE, INVERSE
    both = np.cumprod(steps, axis=1, dtype=np.uint64)
    return both[0], both[1]


def _grams(words: U64, ngram: int) -> U64:
    size = max(0, len(words) - ngram + 1)
    total = np.zeros(size, dtype=np.uint64)
    for place in range(ngram):
        total *= BASE
        total += words[place : place + size]
    return total


def _single(words: U64, data: bytes) -> int:
    """One n-gram for a text of fewer words than n; for a text of none, of its bytes."""
    if not len(words):
        words = np.frombuffer(data.strip() or b"\0", dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    return int(_mix(_grams(words, len(words)) + np.uint64(len(words)))[0])


def _mix(hashes: U64) -> U64:
    """MurmurHash3's 64-bit finalizer: a bijection in which every bit depends on every other."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ (hashes >> np.uint64(33))


def _distinct(values: U64, owners: I64, documents: int) -> Shingles:
    order = np.lexsort((values, owners))
    values, owners = values[order], owners[order]
    fresh = np.ones(len(values), dtype=bool)
    fresh[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    counts = np.bincount(owners[fresh], minlength=documents)
    return Shingles(values[fresh], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def permutations(count: int, seed: int) -> tuple[U32, U32]:
    """datasketch's own a and b for `count` permutations and `seed`."""
    from datasketch import MinHash

    a, b = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return np.asarray(a, dtype=np.uint32), np.asarray(b, dtype=np.uint32)


def signatures(found: Shingles, a: U32, b: U32) -> U32:
    """MinHash signatures, uint32[documents, permutations]. Every document has at least one n-gram."""
    documents = len(found.starts) - 1
    out = np.full((len(a), documents), np.iinfo(np.uint32).max, dtype=np.uint32)
    low = found.values.astype(np.uint32)  # the low half of a mixed hash is as good as a 32-bit hash
    first = 0
    while first < documents:
        last = max(first + 1, int(np.searchsorted(found.starts, found.starts[first] + BLOCK, side="right")) - 1)
        start = found.starts[first]
        block, offsets = low[start : found.starts[last]], found.starts[first:last] - start
        room = np.empty_like(block)
        for row in range(len(a)):
            np.multiply(block, a[row], out=room)
            np.add(room, b[row], out=room)
            np.minimum.reduceat(room, offsets, out=out[row, first:last])
        first = last
    return np.ascontiguousarray(out.T)


def band_keys(signature: U32, band: int, rows: int) -> U64:
    """One 64-bit key per document for a band of `rows` hash values; equal keys make candidates."""
    part = signature[:, band * rows : (band + 1) * rows].astype(np.uint64)
    keys = np.full(len(part), band + 1, dtype=np.uint64)
    for column in range(part.shape[1]):
        keys = _mix(keys * BASE + part[:, column])
    return keys


def jaccard(left: U64, right: U64) -> float:
    """Exact Jaccard similarity of two sorted arrays of distinct values."""
    if len(left) > len(right):
        left, right = right, left
    place = np.searchsorted(right, left)
    shared = int(np.count_nonzero(right[np.minimum(place, len(right) - 1)] == left))
    return shared / (len(left) + len(right) - shared)


def _letters() -> tuple[NDArray[np.bool_], Any]:
    inside = np.array([chr(byte).isalnum() if byte < 128 else True for byte in range(256)])
    inside[ord("'")] = False
    return inside, _mix(np.arange(1, 257, dtype=np.uint64) * BASE)


with np.errstate(over="ignore"):
    _IS_WORD, _LETTERS = _letters()
