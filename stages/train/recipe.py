"""How a model is trained: every number that changes its weights, and the learning rate they give at each step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """AdamW with a warm-up–stable–decay rate (arXiv 2405.18392). `batch` counts sequences of `sequence` tokens per update.

    `micro_batch` (0: all at once) only bounds memory; it changes sums in their last bits, so bit-exact work pins it.
    """

    steps: int
    batch: int
    sequence: int
    rate: float
    warmup: int
    decay: float
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    seed: int = 0
    precision: str = "float32"
    micro_batch: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of update `step` (from 0): linear up over `warmup`, flat, linear down over the last `decay` share."""
        up = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = self.decay * self.steps
        down = min(1.0, (self.steps - step) / (falling + 1)) if falling else 1.0
        return self.rate * min(up, down)
