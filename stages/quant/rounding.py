"""Rounds weights to fewer bits and back: what a format loses, apart from any engine that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEVELS = 127
"""int8 is symmetric: from -127 to 127 times the scale of an output channel."""


def int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` (out, in) as int8 (out, in) and the float32 scale (out, 1) of each output channel."""
    import numpy as np

    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True) / LEVELS, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(values / scale).clip(-LEVELS, LEVELS).astype(np.int8), scale


def is_linear(name: str) -> bool:
    """Whether int8 counts this tensor: the projections of attention and feed-forward; not embeddings, head and norms."""
    return name.endswith("_proj.weight")


def rounded(name: str, values: np.ndarray, quantization: str) -> np.ndarray:
    """The tensor as an engine sees it after quantization, back in float32."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    from stages.quant.gguf_export import FORMATS

    if quantization == "int8":
        if not is_linear(name):
            return values
        whole, scale = int8(values)
        return whole.astype("float32") * scale
    if values.ndim < 2:
        return values
    kind = GGMLQuantizationType[FORMATS[quantization]]
    back: np.ndarray = dequantize(quantize(values, kind), kind)  # blocks lie within a row: its place does not count
    return back
