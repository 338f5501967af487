"""Four operations of the Llama with their gradients written out, for a CPU, where each pass over memory costs as much as a matmul.

Each falls back on plain torch off the CPU or under autocast. Same values as the plain form to float32 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

ROWS = 256
"""Rows of logits held at once by the loss: at a vocabulary of 4096, 4 MiB, which stays in a core's cache."""


def _plain(x: Tensor) -> bool:
    return x.device.type != "cpu" or torch.is_autocast_enabled("cpu")


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / √(mean x² + eps) · weight over the last dimension (arXiv 1910.07467)."""
    if _plain(x):
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    normed: Tensor = _RmsNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return normed


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, where the last dimension holds gate, then up (arXiv 2002.05202)."""
    if _plain(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    fed: Tensor = _SwiGlu.apply(gate_up)  # type: ignore[no-untyped-call]
    return fed


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the halves of the last dimension against each other, as Hugging Face orders them (arXiv 2104.09864)."""
    if _plain(x):
        return _turn(x, cosines, sines)
    turned: Tensor = _Rotate.apply(x, cosines, sines)  # type: ignore[no-untyped-call]
    return turned


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, mean: bool) -> Tensor:
    """Cross-entropy in nats of `targets` (N) under logits hidden (N × W) · weightᵀ (V × W), which never stand whole in memory."""
    scale = 1.0 / len(targets) if mean else 1.0
    if _plain(hidden):
        return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="sum") * scale
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, scale, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return loss


def _turn(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    turned = torch.empty_like(x, memory_format=torch.contiguous_format) if not torch.is_grad_enabled() else None
    if turned is None:
        return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    left, right = turned.chunk(2, dim=-1)
    torch.mul(first, cosines, out=left).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=right).addcmul_(first, sines)
    return turned


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turn(x, cosines, sines)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turn(grad, cosines, -sines), None, None  # turning back is the transpose


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        normed: Tensor = unit * weight
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, weight = ctx.saved_tensors
        product = grad * unit
        width = unit.shape[-1]
        along = (product.view(-1, width) @ weight).view(inverse.shape).div_(-width)
        by_weight = product.view(-1, width).sum(0)
        return torch.mul(grad, weight, out=product).addcmul_(unit, along).mul_(inverse), by_weight, None


class _SwiGlu(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        ctx.save_for_backward(gate_up)
        fed: Tensor = F.silu(gate).mul_(up)
        return fed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        by_gate, by_up = out.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=by_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=by_gate)
        return out


class _LinearCrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scale: float, wanted: bool) -> Tensor:
        by_hidden, by_weight = (torch.empty_like(hidden), torch.zeros_like(weight)) if wanted else (None, None)
        total = hidden.new_zeros((), dtype=torch.float64)
        for start in range(0, len(targets), ROWS):
            rows, aims = hidden[start : start + ROWS], targets[start : start + ROWS].unsqueeze(1)
            logits = rows @ weight.T
            aimed, highest = logits.gather(1, aims), logits.amax(1)
            chances = logits.softmax(dim=1)
            total += (highest - chances.amax(1).log_() - aimed.squeeze(1)).sum(
                dtype=torch.float64
            )  # log Σ exp, less the aim
            if by_hidden is not None and by_weight is not None:
                chances.scatter_add_(1, aims, torch.full_like(aimed, -1.0))
                torch.mm(chances, weight, out=by_hidden[start : start + ROWS])
                by_weight.addmm_(chances.T, rows)
        ctx.save_for_backward(by_hidden, by_weight)
        ctx.scale = scale
        return (total * scale).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        by_hidden, by_weight = ctx.saved_tensors
        factor = grad * ctx.scale
        return by_hidden.mul_(factor), by_weight.mul_(factor), None, None, None
