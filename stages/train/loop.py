"""The training loop: the same data, seed, precision and thread count give the same weights on a CPU, interrupted or not."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.model.llama import Llama
from stages.train.data import PackedTokens, window_starts
from stages.train.memory import keep_freed_blocks
from stages.train.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """Told after every update: the number of updates done, the mean loss in nats, the rate, and tokens per second of this process."""

    step: int
    loss: float
    rate: float
    tokens_per_second: float


def train(
    model: Llama,
    data: PackedTokens,
    recipe: Recipe,
    *,
    resume: Path | None = None,
    every: int = 0,
    save: Callable[[int, dict[str, Any]], None] = lambda step, state: None,
    keep: Callable[[int, dict[str, Any]], None] = lambda step, state: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train `model` in place, on its own device, up to `recipe.steps` updates, from the state at `resume` if given.

    `save` gets the whole state after each `every` updates, `report` each update, and `keep` the state after the last update
    that a longer training would have made just so. Raises FloatingPointError when the loss is no longer finite, ValueError
    when the data does not fill a window.
    """
    device = model.embed.weight.device
    if device.type == "cpu":
        keep_freed_blocks()
    optimizer = make_optimizer(model, recipe)
    torch.manual_seed(recipe.seed)
    first = load_state(resume, model, optimizer) if resume is not None else 0
    settled = recipe.settled()
    if first == settled > 0:
        keep(first, state_of(model, optimizer, first))
    began = time.perf_counter()
    model.train()
    for step in range(first, recipe.steps):
        rate = recipe.rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = window_starts(data.tokens, recipe.sequence, recipe.batch, recipe.seed, step)
        inputs, targets = data.rows(starts, recipe.sequence)
        loss = update(model, optimizer, inputs.to(device), targets.to(device), recipe)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step + 1}")
        if step + 1 == settled:
            keep(step + 1, state_of(model, optimizer, step + 1))
        elif every and (step + 1) % every == 0 and step + 1 < recipe.steps:
            save(step + 1, state_of(model, optimizer, step + 1))
        seen = (step + 1 - first) * recipe.batch * recipe.sequence
        report(Progress(step + 1, loss, rate, seen / (time.perf_counter() - began)))
    model.eval()


def update(model: Llama, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, recipe: Recipe) -> float:
    """One optimizer update from B × T inputs and targets, in micro-batches; returns the mean loss in nats."""
    micro = recipe.micro_batch or len(inputs)
    low = torch.autocast(inputs.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    total = 0.0
    for start in range(0, len(inputs), micro):
        some = slice(start, start + micro)
        with low:
            loss = model.loss(inputs[some], targets[some]) * (len(inputs[some]) / len(inputs))
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def make_optimizer(model: Llama, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; only matrices decay, for norms have no reason to shrink."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(recipe.beta1, recipe.beta2), fused=True)


def state_of(model: Llama, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Any]:
    """All that the next update depends on, as tensors, numbers and names."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "rng": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda_rng"] = torch.cuda.get_rng_state()
    return state


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all."""
    partial = path.with_name(path.name + ".tmp")
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path, model: Llama, optimizer: torch.optim.Optimizer) -> int:
    """Put a saved state back, running no code from the file; return its step."""
    state = torch.load(path, map_location=model.embed.weight.device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"].cpu())
    if "cuda_rng" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"].cpu())
    return int(state["step"])


@torch.inference_mode()
def bits_per_byte(
    model: Llama, data: PackedTokens, sequence: int, sizes: Sequence[int], most: int = 0, precision: str = "float32"
) -> float:
    """Bits that the model needs per UTF-8 byte of a split, over its first `most` tokens (0: all), in windows of `sequence`.

    Each of these ids but the first is scored once, boundaries included, and the first counts as their mean. `sizes` gives
    the bytes of text that each id stands for, none for boundaries. Raises ValueError where there is no text to score.
    """
    was_training = model.training
    model.eval()
    device = model.embed.weight.device
    end = min(data.tokens, most or data.tokens)
    nats = 0.0
    starts = range(0, end - 1, sequence)
    for first in range(0, len(starts), 16):
        group = [start for start in starts[first : first + 16] if start + sequence < end]
        odd = [start for start in starts[first : first + 16] if start + sequence >= end]
        for some, length in ((group, sequence), (odd, (end - 1 - odd[0]) if odd else 0)):
            if some and length:
                inputs, targets = data.rows(torch.tensor(some).numpy(), length)
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    nats += model.loss(inputs.to(device), targets.to(device), reduction="sum").item()
    model.train(was_training)
    text = int(np.asarray(sizes, dtype=np.int64)[data.ids[:end]].sum())
    if end < 2 or not text:
        raise ValueError("the split is empty")
    return nats / math.log(2) / (end - 1) * end / text
