"""How a model is trained: every number that changes its weights, and the learning rate they give at each step."""

from __future__ import annotations

from bisect import bisect_left
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
        return self.rate * min(self._up(step), self._down(step))

    def settled(self) -> int:
        """How many updates come before the first whose rate depends on `steps`: the fall has begun, or outweighs the climb.

        A longer recipe that differs in nothing else gives each of these the same rate.
        """
        return bisect_left(range(self.steps), True, key=lambda step: self._down(step) < self._up(step))

    def _up(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0

    def _down(self, step: int) -> float:
        falling = self.decay * self.steps
        return min(1.0, (self.steps - step) / (falling + 1)) if falling else 1.0
