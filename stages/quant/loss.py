"""Measures what rounding loses on a sample, in torch: bits per byte before and after, the mean KL divergence, and agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Window = list[int]
"""Token ids that the model reads in one go."""


def load_reference(folder: Path) -> Any:
    """The checkpoint in `folder` through transformers, in float32 on the CPU, without a word on the terminal."""
    import contextlib
    import io

    import torch
    from transformers import AutoModelForCausalLM

    with contextlib.redirect_stderr(io.StringIO()), torch.inference_mode():  # progress bars
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.eval()
        model(torch.tensor([[0]]))  # int8 weights are unpacked at the first call
    return model


def rounded_copy(model: Any, quantization: str) -> Any:
    """A copy of `model` whose weights went through the format and back."""
    import copy

    import torch

    from stages.quant.rounding import rounded

    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():  # a tied head shows once, as the embedding
            parameter.copy_(torch.from_numpy(rounded(name, parameter.detach().numpy(), quantization)))
    return other


def log_probabilities(model: Any, windows: Sequence[Window]) -> list[torch.Tensor]:
    """For each window, the natural log-probabilities (length, vocabulary) of the token after each position."""
    import torch

    with torch.inference_mode():
        return [model(torch.tensor([window])).logits[0].float().log_softmax(-1) for window in windows]


def compare(
    before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], windows: Sequence[Window], sizes: Sequence[int]
) -> dict[str, float]:
    """Metrics of one against the other on the same windows; `sizes` gives the bytes that each token id stands for.

    kl is the mean over positions of KL(before ‖ after) in nats, agreement the share of positions with one likeliest token.
    """
    import torch

    divergence = agreed = positions = 0.0
    nats_before = nats_after = bytes_read = 0.0
    for first, second, window in zip(before, after, windows, strict=True):
        target = torch.tensor(window[1:]).unsqueeze(1)
        divergence += float((first.exp() * (first - second)).sum(-1).double().sum())
        agreed += float((first.argmax(-1) == second.argmax(-1)).sum())
        positions += len(window)
        nats_before -= float(first[:-1].gather(1, target).double().sum())
        nats_after -= float(second[:-1].gather(1, target).double().sum())
        bytes_read += sum(sizes[token] for token in window[1:])
    scale = math.log(2) * max(bytes_read, 1)
    return {
        "kl": max(divergence / positions, 0.0),
        "agreement": agreed / positions,
        "bits_per_byte_before": nats_before / scale,
        "bits_per_byte": nats_after / scale,
    }
