"""Packed tokens made elsewhere: the files have the sizes that tokens.json says, and no id or document lies outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError

SPLITS = ("train", "validation", "test")
NAMES = ("tokens.json", *(f"{split}.{suffix}" for split in SPLITS for suffix in ("bin", "idx")))
MEND = "give the folder that Encode made, or write it in that form: see stages/kinds.py"


def layout(names: Sequence[str]) -> dict[str, str]:
    """The seven files of packed tokens. Raises SourceError where one is missing."""
    missing = [name for name in NAMES if name not in names]
    if missing:
        raise SourceError(f"there is no {missing[0]}", mend=MEND)
    return {name: name for name in NAMES}


def check(folder: Path) -> list[str]:
    """Check sizes against tokens.json, ids against the vocabulary and document starts against the tokens."""
    info = _info(folder / "tokens.json")
    for split in SPLITS:
        _check_split(folder, split, info)
    if not info["splits"]["train"]["tokens"]:
        raise SourceError("train.bin holds no token", mend="give tokens to train on")
    return []


def from_tokens(folder: Path, name: str) -> dict[str, float]:
    """The documents and tokens of the training split, as metrics: all of the one source `name`."""
    train = _info(folder / "tokens.json")["splits"]["train"]
    return {f"from.{name}.{what}": float(train[what]) for what in ("documents", "tokens")}


def _info(path: Path) -> dict[str, Any]:
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        counts = [info["splits"][split][what] for split in SPLITS for what in ("documents", "tokens", "bytes")]
        whole = [*counts, info["vocab_size"], info["boundary"]]
        sound = all(type(count) is int and count >= 0 for count in whole) and info["boundary"] < info["vocab_size"]
        if not sound or info["dtype"] not in ("uint16", "uint32"):
            raise ValueError("a count, the vocabulary, the boundary or the dtype makes no sense")
    except (ValueError, KeyError, TypeError) as fault:
        raise SourceError(f"tokens.json does not describe packed tokens: {fault!r}", mend=MEND) from None
    return info


def _check_split(folder: Path, split: str, info: dict[str, Any]) -> None:
    import numpy as np

    count, dtype = info["splits"][split], np.dtype(info["dtype"]).newbyteorder("<")
    for name, size in ((f"{split}.bin", count["tokens"] * dtype.itemsize), (f"{split}.idx", count["documents"] * 8)):
        found = (folder / name).stat().st_size
        if found != size:
            raise SourceError(f"{name} has {found:,} bytes, and tokens.json says {size:,}", mend=MEND)
    starts = np.fromfile(folder / f"{split}.idx", dtype="<u8")
    if len(starts) and (
        starts[0] != 0 or (np.diff(starts.astype(np.int64)) <= 0).any() or starts[-1] >= count["tokens"]
    ):
        raise SourceError(f"{split}.idx does not rise from 0 within the tokens of {split}.bin", mend=MEND)
    ids = np.memmap(folder / f"{split}.bin", dtype=dtype, mode="r") if count["tokens"] else np.empty(0, dtype)
    for start in range(0, len(ids), 1 << 24):
        highest = int(ids[start : start + (1 << 24)].max())
        if highest >= info["vocab_size"]:
            raise SourceError(
                f"{split}.bin has the id {highest}, outside of a vocabulary of {info['vocab_size']}", mend=MEND
            )
