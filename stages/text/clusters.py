"""Clusters of near-duplicates: candidate pairs from LSH bands, exact Jaccard on each, and union-find over the pairs that hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.text.minhash import band_keys

if TYPE_CHECKING:
    from stages.text.minhash import I64, U32

CROWD = 256
"""A bucket of more documents is compared with its first one only, band by band: all its pairs would be quadratic."""


class Union:
    """Union-find over the numbers 0…size-1; the root of a set is its least member."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, item: int) -> int:
        """The least member of the set that `item` is in."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, left: int, right: int) -> None:
        """Make one set of the sets of both."""
        low, high = sorted((self.root(left), self.root(right)))
        self._parent[high] = low


def buckets(signatures: U32, bands: int, rows: int) -> Iterator[I64]:
    """Groups of two or more documents that agree on all hash values of a band, band by band, members ascending."""
    for band in range(bands):
        keys = band_keys(signatures, band, rows)
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        starts, ends = np.concatenate([[0], bounds]), np.concatenate([bounds, [len(order)]])
        for place in np.flatnonzero(ends - starts > 1):
            yield order[starts[place] : ends[place]]


def cluster(groups: Iterator[I64], size: int, similar: Callable[[int, int], bool]) -> tuple[Union, int]:
    """Join every candidate pair for which `similar` holds; pairs already joined are not asked again. Also the pairs asked."""
    union, asked = Union(size), set[tuple[int, int]]()
    for group in groups:
        members = [int(member) for member in group]
        for place, left in enumerate(members[:1] if len(members) > CROWD else members):
            for right in members[place + 1 :]:
                if (left, right) not in asked and union.root(left) != union.root(right):
                    asked.add((left, right))
                    if similar(left, right):
                        union.join(left, right)
    return union, len(asked)


def survivors(union: Union, lengths: Sequence[int], ids: Sequence[str]) -> list[int]:
    """For each document the one that stands for its cluster: the longest, of those the one with the smallest id."""
    best: dict[int, int] = {}
    for item in range(len(lengths)):
        root = union.root(item)
        held = best.get(root)
        if held is None or (-lengths[item], ids[item]) < (-lengths[held], ids[held]):
            best[root] = item
    return [best[union.root(item)] for item in range(len(lengths))]
