"""How much arithmetic, memory and time a training takes, from settings alone: what a plan needs before anything is built. No torch."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from pipeline import Artifact
from stages.model.config import HEAD, matrix_parameters, widths

PRODUCTS, REST, LAUNCHES = (20.0, 1.45), (5400.0, 2700.0), (90, 130)
"""Of an uncompiled update, in float32 and in bfloat16: how many times what the peak promises its products of matrices take; the
width at which all else takes as long as that peak; kernels launched for a block."""
OTHERS, LAUNCH, TRANSFORMERS = 80, 18e-6, 2
"""Kernels launched beside the blocks; seconds of the host for each; how many times those of ours transformers' Llama launches."""
TILE, WORKSPACE = 4096 * 32_768, 64 * 2**20
"""Logits that TRL holds at once whatever the vocabulary; bytes that CUDA's libraries take for themselves."""


class Size(NamedTuple):
    """What the size of a Llama follows from. The vocabulary is 0 where nobody knows it yet."""

    depth: int
    width: int
    vocabulary: int
    tied: bool = True

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with; those of the output only where the vocabulary is known."""
        return matrix_parameters(self.depth, self.width, self.vocabulary)

    @property
    def weights(self) -> int:
        """All weights."""
        width, _ = widths(self.depth, self.width)
        return self.multiplied + (0 if self.tied else self.vocabulary * width) + (2 * self.depth + 1) * width

    def flops(self, tokens: float) -> float:
        """Six operations for each weight and token: two forward, four backward (arXiv 2001.08361)."""
        return 6.0 * self.multiplied * tokens

    def seconds(self, tokens: float, peak: float, *, low: bool, launches: float = 1) -> float:
        """Of one update of so many tokens on a GPU with `peak` operations a second in bfloat16; `low` is products in bfloat16.

        Uncompiled, what is no product of matrices takes time in proportion to the width, and each launch takes some of the
        host's; `launches` is how many there are for one of `stages.train`. Fitted to an H200: docs/bare-gpu.md has the figures.
        """
        arithmetic = self.flops(tokens) / peak * (PRODUCTS[low] + REST[low] / widths(self.depth, self.width)[0])
        return max(arithmetic, launches * (LAUNCHES[low] * self.depth + OTHERS) * LAUNCH)


def pretraining_memory(size: Size, *, sequence: int, batch: int, micro_batch: int, low: bool) -> float:
    """Bytes that the GPU holds at most while `stages.train` trains such a Llama; `low` is matrix products in bfloat16.

    Weights, gradients and AdamW's two moments are float32, 16 bytes each together (arXiv 1910.02054, 3.1). To them come, as
    in arXiv 2205.05198, the tensors that autograd saves, counted line by line from `stages.model.llama` off the CPU, and the
    loss, whose logits, their logarithms and both gradients are the peak: gradients of weights come after it, unless there
    are several micro-batches. A reading of the validation split holds logits of 16 windows. Measured on an H200: within 2%,
    but for models so small that the libraries' own 60 MB count.
    """
    width, _ = widths(size.depth, size.width)
    micro = min(micro_batch or batch, batch)
    saved = size.depth * _block(size, low) + (6 if low else 8) * width + 12 * size.vocabulary
    computing = micro * sequence * saved + (4 * size.weights if micro < batch else 0)
    return _resting(size, low) + max(computing, 4 * size.weights, 16 * sequence * 8 * size.vocabulary)


def _resting(size: Size, low: bool) -> float:
    """Bytes of weights and moments, and of the products' operands in bfloat16, which autocast keeps."""
    return 12.0 * size.weights + (2 * size.multiplied if low else 0)


def _block(size: Size, low: bool) -> float:
    """Bytes that autograd saves of one token in one block."""
    width, hidden = widths(size.depth, size.width)
    return (24 * width + 8 * hidden if low else 4 * (10 * width + 4 * hidden)) + 4 * width / HEAD


@runtime_checkable
class Sized(Protocol):
    """A stage whose settings give the size of the model that it makes, and so of each that is tuned from it."""

    def size(self) -> Size: ...


def size_of(model: Artifact) -> Size | None:
    """The size of a promised model, found by walking up to the stage that set it; None where none did, as of an adopted one."""
    producer = model.producer
    while producer is not None:
        if isinstance(producer, Sized):
            return producer.size()
        above = getattr(producer, "model", None)
        producer = above.producer if isinstance(above, Artifact) else None
    return None


class Tuning(NamedTuple):
    """Fine-tuning of `model` by TRL: updates of `examples` sequences of at most `longest` tokens, as if all were that long."""

    model: Artifact
    updates: int
    examples: int
    longest: int
    low: bool

    @property
    def tokens(self) -> int:
        """Of one update."""
        return self.examples * self.longest

    def flops(self) -> float | None:
        """The arithmetic of all updates."""
        size = size_of(self.model)
        return None if size is None else size.flops(self.updates * self.tokens)

    def seconds(self, peak: float) -> float | None:
        """Of all updates, on a GPU with `peak` operations a second in bfloat16."""
        size = size_of(self.model)
        if size is None:
            return None
        return self.updates * size.seconds(self.tokens, peak, low=self.low, launches=TRANSFORMERS)

    def memory(self) -> float | None:
        """Bytes that the GPU holds at most: as in pretraining, but that transformers' norms keep a float32 copy each beside the
        bfloat16, and that TRL makes the loss in tiles of one size. Measured on an H200 with TRL 1.16: within 3%."""
        size = size_of(self.model)
        if size is None or not size.vocabulary:
            return None
        width, _ = widths(size.depth, size.width)
        saved = size.depth * (_block(size, self.low) + (10 * width if self.low else 0)) + (6 if self.low else 8) * width
        tile = min(1.0, self.tokens / 4096) * TILE * (2 if self.low else 4)
        return _resting(size, self.low) + max(self.tokens * saved + tile, 4 * size.weights) + WORKSPACE


class Tuned:
    """A stage that fine-tunes, as a plan sees it."""

    def tuning(self) -> Tuning:
        """What is tuned, and how much."""
        raise NotImplementedError

    def flops(self) -> float | None:
        return self.tuning().flops()

    def gpu_seconds(self, peak: float) -> float | None:
        return self.tuning().seconds(peak)

    def gpu_memory(self) -> float | None:
        return self.tuning().memory()
