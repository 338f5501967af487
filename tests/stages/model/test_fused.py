"""The operations with gradients written out give the values and gradients of plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.model import fused


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def agree(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    found = []
    for function in (ours, plain):
        value = function(*inputs)
        weights = torch.linspace(-1, 2, value.numel()).view(value.shape) if value.dim() else torch.tensor(0.7)
        found.append((value.detach(), *torch.autograd.grad((value * weights).sum(), inputs)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


def test_rms_norm() -> None:
    agree(
        lambda x, w: fused.rms_norm(x, w, 1e-5),
        lambda x, w: F.rms_norm(x, (48,), w, 1e-5),
        draw(3, 5, 48),
        draw(48, seed=1),
    )


def test_swiglu() -> None:
    agree(fused.swiglu, lambda x: F.silu(x[..., :24]) * x[..., 24:], draw(3, 5, 48))


def test_rotation() -> None:
    angles = draw(5, 1, 8, seed=1).detach()
    cosines, sines = angles.cos(), angles.sin()

    def plain(x: Tensor) -> Tensor:
        turned = torch.view_as_complex(torch.stack(x.chunk(2, -1), -1)) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat((turned.real, turned.imag), -1)

    agree(lambda x: fused.rotate(x, cosines, sines), plain, draw(3, 5, 4, 16))


@pytest.mark.parametrize("rows", [7, fused.ROWS, 2 * fused.ROWS + 3])
@pytest.mark.parametrize("mean", [True, False])
def test_cross_entropy(rows: int, mean: bool) -> None:
    targets = torch.randint(0, 60, (rows,), generator=torch.Generator().manual_seed(2))
    agree(
        lambda h, w: fused.linear_cross_entropy(h, w, targets, mean=mean),
        lambda h, w: F.cross_entropy(h @ w.T, targets, reduction="mean" if mean else "sum"),
        draw(rows, 16), draw(60, 16, seed=1),
    )  # fmt: skip


def test_cross_entropy_stays_finite_where_a_chance_underflows() -> None:
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[500.0], [-500.0]])
    assert fused.linear_cross_entropy(hidden, weight, torch.tensor([1]), mean=True).item() == 1000.0


def test_under_autocast_the_plain_forms_answer() -> None:
    hidden, weight = draw(9, 16), draw(60, 16, seed=1)
    targets = torch.arange(9)
    exact = fused.linear_cross_entropy(hidden, weight, targets, mean=True)
    with torch.autocast("cpu", torch.bfloat16):
        rough = fused.linear_cross_entropy(hidden, weight, targets, mean=True)
        assert fused.swiglu(draw(3, 8)).shape == (3, 4)
        assert fused.rms_norm(draw(3, 8), draw(8), 1e-5).shape == (3, 8)
    assert abs(rough.item() - exact.item()) < 0.05
    assert rough.item() != exact.item()
