"""The header of a safetensors file that nobody vouches for: every number in it is held against the file before it is used.

The format is 8 bytes of header length, a JSON header (name → dtype, shape, place) and the tensors, which tile the rest.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError

LARGEST = 100_000_000
"""Bytes of a header at most; the reference implementation has the same bound."""

SIDES = 16
"""Sides of a tensor at most."""

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16,
    "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip


def tensors(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor. Raises SourceError for a header that is no header, or that does not fit the file."""
    try:
        return _tensors(path)
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise SourceError(f"{path.name} is no sound safetensors file: {fault}", mend="fetch it again, whole") from None


def _tensors(path: Path) -> dict[str, list[int]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size or length > LARGEST:
            raise ValueError("its header does not fit")
        header = json.loads(file.read(length), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    shapes, places = {}, []
    for name, entry in header.items():
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        if len(shape) > SIDES or not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError(f"{name} has a shape or a place that is no whole number")
        if entry["dtype"] not in BITS:
            raise ValueError(f"{name} is of the unknown dtype {entry['dtype']!r}")
        if (end - start) * 8 != math.prod(shape) * BITS[entry["dtype"]]:
            raise ValueError(f"{name} has {end - start:,} bytes, which do not fit its shape {shape}")
        shapes[name] = shape
        places.append((start, end))
    reached = 0
    for start, end in sorted(places):
        if start != reached:
            raise ValueError("its tensors overlap, or leave gaps")
        reached = end
    if reached != size - 8 - length:
        raise ValueError(f"its tensors take {reached:,} bytes, and the file holds {size - 8 - length:,}")
    return shapes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in its header twice")
    return found
