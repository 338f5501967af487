"""How fast a training is, and which part of the GPU's arithmetic it uses; the machine that it ran on."""

from __future__ import annotations

import platform
import re
import time
from typing import Any

import torch

from stages.model.config import LlamaConfig, matrix_parameters
from stages.train.loop import Progress

PEAKS = {
    "T4": 65e12, "L4": 121e12, "A10": 125e12, "A10G": 125e12, "L40S": 362e12, "A100": 312e12, "H100": 989e12, "H200": 989e12,
    "B200": 2250e12,
}  # fmt: skip
"""Floating-point operations a second at best, by a word of the device's name: bfloat16, dense, of NVIDIA's data sheets."""

WARM = 10
"""Updates that do not count: kernels are chosen and memory is asked for."""
EVERY = 5.0


class Stopwatch:
    """Told of every update: prints a line every few seconds, and measures those that come after the first few."""

    def __init__(self, config: LlamaConfig, tokens: int, steps: int) -> None:
        self.config, self.tokens, self.steps = config, tokens, steps
        self.first = self.last = self.counted = 0
        self.began = self.ended = self.told = time.perf_counter()
        self.loss = float("nan")

    def __call__(self, now: Progress) -> None:
        clock = time.perf_counter()
        self.last, self.ended, self.loss = now.step, clock, now.loss
        if not self.first:
            self.first = now.step
        if now.step - self.first <= min(WARM, self.steps // 4):
            self.began, self.counted = clock, now.step
        if clock - self.told >= EVERY or now.step == self.steps:
            self.told = clock
            print(
                f"step {now.step}/{self.steps}  loss {now.loss:.4f}  {now.tokens_per_second:,.0f} tokens/s", flush=True
            )

    def figures(self, device: torch.device) -> dict[str, Any]:
        """Steps of this process, loss of the last, tokens a second and the share of the device's peak, where that is known."""
        found: dict[str, Any] = {"steps": self.last - self.first + 1 if self.first else 0, "loss": round(self.loss, 4)}
        if self.first and self.last > self.counted:
            speed = (self.last - self.counted) * self.tokens / (self.ended - self.began)
            found["tokens_per_second"] = round(speed)
            peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
            if peak:
                found["mfu"] = round(speed * flops_per_token(self.config) / peak, 4)
        if device.type == "cuda":
            found["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
        return found


def flops_per_token(config: LlamaConfig) -> float:
    """Six for each weight of a matrix, and those of causal attention: 6 · layers · width · sequence (arXiv 2204.02311, halved)."""
    matrices = matrix_parameters(config.layers, config.width, config.vocab_size)
    return 6.0 * matrices + 6.0 * config.layers * config.width * config.sequence


def peak_of(device: str) -> float | None:
    """The peak of a GPU by its name, as in ``NVIDIA H100 80GB HBM3``; None for one that is not listed."""
    words = re.split(r"[^A-Za-z0-9]+", device)
    return next((PEAKS[word] for word in words if word in PEAKS), None)


def about(device: torch.device) -> dict[str, Any]:
    """Versions, and the device by name and memory."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {"device": card.name, "memory_gib": round(card.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    else:
        found["threads"] = torch.get_num_threads()
    return found
