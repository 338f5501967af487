"""The Llama itself: query, key and value in one matrix, gate and up in another, since few large matmuls beat many small ones.

Shapes: B sequences, T tokens, H query heads, K key/value heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.model.config import LlamaConfig
from stages.model.fused import linear_cross_entropy, rms_norm, rotate, swiglu


class Cache:
    """Keys and values of the tokens seen so far: per layer B × K × capacity × D."""

    def __init__(self, config: LlamaConfig, batch: int, capacity: int, like: Tensor) -> None:
        shape = (config.layers, batch, config.kv_heads, capacity, config.head_width)
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append T new keys and values of a layer; return all of that layer."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop every sequence but those at `rows`."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class Norm(nn.Module):
    """RMSNorm over the last dimension."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(config.width)), config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_width, bias=False)
        self.out = nn.Linear(config.heads * config.head_width, config.width, bias=False)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, self.heads + 2 * self.kv_heads, self.head_width)
        turning, values = torch.split(qkv, [self.heads + self.kv_heads, self.kv_heads], dim=2)
        turned = rotate(turning, *rope).transpose(1, 2)
        queries, keys = torch.split(turned, [self.heads, self.kv_heads], dim=1)
        values = values.transpose(1, 2)
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and length > 1,
            enable_gqa=self.heads != self.kv_heads,
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class Block(nn.Module):
    """Attention, then SwiGLU, each on the normalised residual stream."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.feed_norm = Norm(config)
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask, cache)
        fed: Tensor = self.down(swiglu(self.gate_up(self.feed_norm(x))))
        return x + fed


class Llama(nn.Module):
    """Token ids B × T to logits B × T × V."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = Norm(config)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embed.weight

    def initialise(self, seed: int) -> Llama:
        """Draw every matrix from N(0, 0.02²), those that write to the residual stream smaller by √(2 · layers) (GPT-2)."""
        generator = torch.Generator().manual_seed(seed)
        small = 0.02 / (2 * self.config.layers) ** 0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() < 2:
                    parameter.fill_(1.0)
                else:
                    scale = small if name.endswith(("out.weight", "down.weight")) else 0.02
                    drawn = torch.empty(parameter.shape).normal_(0.0, scale, generator=generator)
                    parameter.copy_(drawn)
        return self

    def parameter_count(self) -> int:
        """Parameters, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def hidden(
        self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """The normalised residual stream B × T × width. `mask` (B × 1 × T × keys, true: may see) defaults to causal."""
        if positions is None:
            start = cache.length if cache is not None else 0
            positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x = self.embed(tokens)
        rope = rotary(positions, self.config.head_width, self.config.rope_theta, x.dtype)
        for block in self.blocks:
            x = block(x, rope, mask, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        normed: Tensor = self.norm(x)
        return normed

    def forward(
        self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """The logits B × T × V of the next token after each of `tokens`."""
        logits: Tensor = self.head(self.hidden(tokens, positions=positions, mask=mask, cache=cache))
        return logits

    def loss(self, tokens: Tensor, targets: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (B × T), computed in float32."""
        hidden = self.hidden(tokens).flatten(0, 1)
        return linear_cross_entropy(hidden, self.head.weight, targets.flatten(), mean=reduction == "mean")


def rotary(positions: Tensor, head_width: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, shaped to broadcast over B × T × heads × D/2 (arXiv 2104.09864)."""
    frequencies = theta ** -(torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32) / head_width)
    angles = (positions.float().unsqueeze(-1) * frequencies).unsqueeze(-2)
    return angles.cos().to(dtype), angles.sin().to(dtype)
