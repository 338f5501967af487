"""How much arithmetic a training is, from settings alone: what a plan needs before anything is built. It imports no torch."""

from __future__ import annotations

from pipeline import Artifact
from stages.model.config import HEAD, matrix_parameters, widths


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


def parameters_of(model: Artifact) -> float | None:
    """The multiplied weights of a promised model, found by walking up to the stage that set its size; None where none did."""
    producer = model.producer
    while producer is not None:
        sized = getattr(producer, "parameters", None)
        if callable(sized):
            return float(sized())
        above = getattr(producer, "model", None)
        producer = above.producer if isinstance(above, Artifact) else None
    return None


def tuning_flops(model: Artifact, examples: int, longest: int) -> float | None:
    """The arithmetic of fine-tuning on so many examples of at most `longest` tokens, as if all were that long."""
    parameters = parameters_of(model)
    return None if parameters is None else training_flops(parameters, examples * longest)
