"""How much arithmetic a training is, from settings alone: what a plan needs before anything is built. It imports no torch."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pipeline import Artifact
from stages.model.config import HEAD, matrix_parameters, widths

WIDTH, BEST, SINGLE = 3600, 0.4, 0.2
"""The share of a GPU's peak that an uncompiled training reaches: its width by the first, at most the second; of that, in float32."""
LAUNCHES, OTHERS, LAUNCH = 90, 60, 15e-6
"""Kernels that an update launches for each block, and beside the blocks; seconds of the host for each."""


def training_flops(parameters: float, tokens: float) -> float:
    """Six operations for each weight and token: two forward, four backward (arXiv 2001.08361)."""
    return 6.0 * parameters * tokens


def pretraining_memory(
    depth: int, width: int, vocabulary: int, *, tied: bool, sequence: int, batch: int, micro_batch: int, low: bool
) -> float:
    """Bytes that the GPU holds at most while `stages.train` trains such a Llama; `low` is matrix products in bfloat16.

    Weights, gradients and AdamW's two moments are float32, 16 bytes each together (arXiv 1910.02054, 3.1). To them come, as
    in arXiv 2205.05198, the tensors that autograd saves, counted line by line from `stages.model.llama` off the CPU, and the
    loss, whose logits, their logarithms and both gradients are the peak: gradients of weights come after it, unless there
    are several micro-batches. A reading of the validation split holds logits of 16 windows. Measured: what torch allocates
    for an update of the same operations on a CPU, but for the norms, which a GPU fuses and so does not keep, within 2%.
    """
    width, hidden = widths(depth, width)
    multiplied = matrix_parameters(depth, width, vocabulary)
    weights = multiplied + (0 if tied else vocabulary * width) + (2 * depth + 1) * width
    micro = min(micro_batch or batch, batch)
    block = (24 * width + 8 * hidden if low else 4 * (10 * width + 4 * hidden)) + 4 * width / HEAD
    saved = depth * block + (6 if low else 8) * width + 12 * vocabulary
    resting = 12 * weights + (2 * multiplied if low else 0)
    computing = micro * sequence * saved + (4 * weights if micro < batch else 0)
    return float(resting + max(computing, 4 * weights, 16 * sequence * 8 * vocabulary))


def eager_seconds(flops: float, peak: float, *, depth: int, width: int, low: bool) -> float:
    """Seconds of one update on a GPU with `peak` operations a second in bfloat16, uncompiled as `stages.train` does it.

    What is no product of matrices takes time in proportion to the width, and each launch takes some of the host's. Fitted to
    an H200 with torch 2.11; docs/bare-gpu.md has the figures.
    """
    share = min(width / WIDTH, BEST) * (1.0 if low else SINGLE)
    return max(flops / (peak * share), (LAUNCHES * depth + OTHERS) * LAUNCH)


@runtime_checkable
class Sized(Protocol):
    """A stage whose settings give the size of the model that it makes, and so of each that is tuned from it."""

    def parameters(self) -> int: ...
    def update_memory(self, *, sequence: int, batch: int, low: bool) -> float | None: ...
    def update_seconds(self, peak: float, *, flops: float, low: bool) -> float: ...


def sized(model: Artifact) -> Sized | None:
    """The stage that set the size of a promised model, found by walking up; None where none did, as of an adopted one."""
    producer = model.producer
    while producer is not None and not isinstance(producer, Sized):
        above = getattr(producer, "model", None)
        producer = above.producer if isinstance(above, Artifact) else None
    return producer


def tuning_flops(model: Artifact, examples: int, longest: int) -> float | None:
    """The arithmetic of fine-tuning on so many examples of at most `longest` tokens, as if all were that long."""
    known = sized(model)
    return None if known is None else training_flops(known.parameters(), examples * longest)


def tuning_seconds(model: Artifact, peak: float, updates: int, flops: float | None, *, low: bool) -> float | None:
    """Seconds of so many updates, of `flops` together, on a GPU with `peak` operations a second in bfloat16."""
    known = sized(model)
    return (
        None if known is None or flops is None else updates * known.update_seconds(peak, flops=flops / updates, low=low)
    )


def tuning_memory(model: Artifact, batch: int, longest: int, *, low: bool) -> float | None:
    """Bytes that a GPU holds at most while `batch` examples of `longest` tokens make an update of the model."""
    known = sized(model)
    return None if known is None else known.update_memory(sequence=longest, batch=batch, low=low)
