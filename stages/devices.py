"""Where torch computes: on a GPU for a stage that asks for one, else on the CPU, so that nobody takes a GPU that others hold."""

from __future__ import annotations

from pipeline import Resources, StageFailed


def device(resources: Resources) -> str:
    """``cuda`` or ``cpu``, as torch names them. Raises StageFailed where a GPU is asked for and torch sees none."""
    if not resources.gpus:
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise StageFailed(
            f"it asks for {resources.gpu or 'a GPU'}, but torch {torch.__version__} sees no GPU here",
            mend="`corpusmill doctor` says why; without a GPU among its resources it trains on the CPU",
        )
    return "cuda"
