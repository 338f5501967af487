"""Batched generation with a key/value cache: prompts are padded on the left, and answered sequences leave the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from stages.model.llama import Cache, Llama


@torch.inference_mode()
def generate(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    temperature: float = 0.0,
    *,
    top_k: int = 0,
    seed: int = 0,
    batch: int = 128,
) -> list[list[int]]:
    """Continue every prompt; return the new ids in the order of `prompts`, without the stop id that ended them.

    Temperature 0 takes the likeliest token; above it, tokens are drawn (among the `top_k` likeliest, if given).
    Prompts of like length share a batch. Raises ValueError for an empty prompt.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt needs at least one token")
    device = model.embed.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        produced = _continue(
            model, [prompts[place] for place in places], max_new_tokens, stops, temperature, top_k, generator
        )
        for place, answer in zip(places, produced, strict=True):
            answers[place] = answer
    return answers


def _continue(
    model: Llama,
    prompts: list[Sequence[int]],
    limit: int,
    stops: Tensor,
    temperature: float,
    top_k: int,
    generator: torch.Generator,
) -> list[list[int]]:
    device = model.embed.weight.device
    longest = max(map(len, prompts))
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    tokens = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    cache = Cache(model.config, len(prompts), longest + limit, model.embed.weight)
    answers: list[list[int]] = [[] for _ in prompts]
    active = torch.arange(len(prompts), device=device)
    for _ in range(limit):
        logits = _next_logits(model, tokens, padding, cache)
        chosen = _choose(logits, temperature, top_k, generator)
        going = ~torch.isin(chosen, stops)
        if not going.all():
            kept = going.nonzero().squeeze(1)
            active, padding, chosen = active[kept], padding[kept], chosen[kept]
            cache.keep(kept)
        if not len(active):
            break
        for row, token in zip(active.tolist(), chosen.tolist(), strict=True):
            answers[row].append(token)
        tokens = chosen.unsqueeze(1)
    return answers


def _next_logits(model: Llama, tokens: Tensor, padding: Tensor, cache: Cache) -> Tensor:
    """Logits after the last of `tokens` (B × T), B × V; the first `padding` places of each sequence are never seen."""
    place = torch.arange(cache.length, cache.length + tokens.shape[1], device=tokens.device)
    positions = (place.unsqueeze(0) - padding.unsqueeze(1)).clamp(min=0)
    keys = torch.arange(cache.length + tokens.shape[1], device=tokens.device)
    # A padded query sees itself, for a softmax over nothing is NaN; its own key stays hidden from every real query.
    seen = (keys >= padding[:, None, None]) & (keys <= place[None, :, None]) | (keys == place[None, :, None])
    hidden = model.hidden(tokens, positions=positions, mask=seen.unsqueeze(1), cache=cache)
    logits: Tensor = model.head(hidden[:, -1])
    return logits


def _choose(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator) -> Tensor:
    if temperature <= 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(1)
