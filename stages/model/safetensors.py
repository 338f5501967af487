"""Reads and writes safetensors (8 bytes of header length, a JSON header, raw little-endian tensors) without the package.

The same tensors give the same bytes: names are sorted, the header is compact and padded to 8 bytes with spaces.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` to `path`, whole or not at all. Raises KeyError for a dtype outside the format."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    partial = path.with_name(path.name + ".tmp")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in sorted(tensors):
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    os.replace(partial, path)


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor of `path`, in memory. Raises ValueError for a file that is cut short or not safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise ValueError(f"{path.name} is not a whole safetensors file")
        header = json.loads(file.read(length))
        body = np.fromfile(file, dtype=np.uint8)
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if end > len(body):
            raise ValueError(f"{path.name} is cut short at {name}")
        raw = torch.from_numpy(body[start:end].copy())
        tensors[name] = raw.view(_TORCH[entry["dtype"]]).reshape(entry["shape"])
    return tensors
