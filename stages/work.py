"""How much arithmetic a training is, from settings alone: what a plan needs before anything is built. It imports no torch."""

from __future__ import annotations

from pipeline import Artifact


def training_flops(parameters: float, tokens: float) -> float:
    """Six operations for each weight and token: two forward, four backward (arXiv 2001.08361)."""
    return 6.0 * parameters * tokens


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
