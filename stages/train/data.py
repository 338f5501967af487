"""Reads packed tokens from a memory map in an order computed from seed and step alone, so that resuming needs no state."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class PackedTokens:
    """One split of a Tokens folder: `tokens` ids of `bytes` bytes of text. Raises ValueError for a file of another size."""

    def __init__(self, folder: Path, split: str) -> None:
        info = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
        counts = info["splits"][split]
        self.tokens, self.bytes = int(counts["tokens"]), int(counts["bytes"])
        self.vocab_size = int(info["vocab_size"])
        dtype = np.dtype(info["dtype"]).newbyteorder("<")
        path = folder / f"{split}.bin"
        if path.stat().st_size != self.tokens * dtype.itemsize:
            raise ValueError(f"{path.name} is not the size that tokens.json says")
        self.ids: npt.NDArray[np.integer] = (
            np.memmap(path, dtype=dtype, mode="r") if self.tokens else np.empty(0, dtype)
        )

    def rows(self, starts: npt.NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets (next ids), each B × length, of the windows at `starts`."""
        window = torch.from_numpy(np.stack([self.ids[start : start + length + 1].astype(np.int64) for start in starts]))
        return window[:, :-1], window[:, 1:]


def window_starts(tokens: int, length: int, batch: int, seed: int, step: int) -> npt.NDArray[np.int64]:
    """Where the `batch` windows of update `step` begin: a fresh shuffle and offset in every pass over the data.

    Raises ValueError where the split is shorter than one window.
    """
    windows = (tokens - 1) // length
    if windows < 1:
        raise ValueError(f"{tokens} tokens do not fill one window of {length}")
    places = np.arange(step * batch, (step + 1) * batch)
    starts = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(places // windows):
        order, offset = window_order(windows, tokens - 1 - windows * length, seed, int(epoch))
        chosen = places // windows == epoch
        starts[chosen] = order[places[chosen] % windows] * length + offset
    return starts


@lru_cache(maxsize=2)
def window_order(windows: int, slack: int, seed: int, epoch: int) -> tuple[npt.NDArray[np.int64], int]:
    """The order of a pass over `windows` windows, and by how many tokens (at most `slack`) all of them are shifted."""
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    return generator.permutation(windows), int(generator.integers(slack + 1))
