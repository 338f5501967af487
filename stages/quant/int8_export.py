"""Writes a checkpoint with int8 weights, one scale per output channel, in the compressed-tensors form ("pack-quantized")
that transformers and vLLM load as it is; activations stay as they are (W8A16)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stages.quant.checkpoint import read_json, tensors
from stages.quant.rounding import int8, is_linear

if TYPE_CHECKING:
    import numpy as np


def export(folder: Path, target: Path) -> None:
    """Write config.json and model.safetensors into the directory `target`."""
    from safetensors.numpy import save_file

    found: dict[str, np.ndarray] = {}
    for name, values in tensors(folder):
        found |= _packed(name, values) if is_linear(name) else {name: values}
    save_file(found, target / "model.safetensors", metadata={"format": "pt"})
    config = read_json(folder / "config.json") | {"quantization_config": _scheme()}
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _packed(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Four weights in each int32, the first lowest, each with 128 added: (out, in) → (out, ⌈in / 4⌉)."""
    import numpy as np

    whole, scale = int8(values)
    shifted = (whole.astype(np.int16) + 128).astype(np.uint8)
    filled = np.pad(shifted, ((0, 0), (0, -shifted.shape[1] % 4)))
    stem = name.removesuffix("weight")
    return {
        f"{stem}weight_packed": np.ascontiguousarray(filled).view("<u4").astype("<i4"),
        f"{stem}weight_scale": scale,
        f"{stem}weight_shape": np.array(values.shape, dtype=np.int64),
    }


def _scheme() -> dict[str, object]:
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }
