"""Asks a model folder: a Hugging Face Llama in plain torch, or a GGUF file by the engine that serves it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import StageFailed
from stages.tuning.conversations import Message


@dataclass(frozen=True)
class Manner:
    """How answers are made: temperature 0 takes the likeliest token; above it they are drawn by `seed`."""

    max_tokens: int = 24
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0
    threads: int = 1


def chat(folder: Path, conversations: Sequence[Sequence[Message]], manner: Manner) -> list[str]:
    """The model's next turn in each conversation. Raises StageFailed for a folder that holds no model known here."""
    if (folder / "model.gguf").exists():
        return _gguf(folder, conversations, manner)
    from stages.text.tokenizer import render_chat

    texts = [render_chat(folder, messages, add_generation_prompt=True) for messages in conversations]
    return [answer.strip() for answer in _generate(folder, texts, manner, completion=False)]


def complete(folder: Path, texts: Sequence[str], manner: Manner) -> list[str]:
    """What a base model writes after each text, up to the end of the line. Raises StageFailed for a GGUF file."""
    if (folder / "model.gguf").exists():
        raise StageFailed(
            "a GGUF file is asked in chat only", mend="set shots=0, or evaluate the model before quantization"
        )
    return [answer.partition("\n")[0].strip() for answer in _generate(folder, texts, manner, completion=True)]


def _gguf(folder: Path, conversations: Sequence[Sequence[Message]], manner: Manner) -> list[str]:
    if manner.temperature > 0:
        raise StageFailed("a GGUF file gives greedy answers here", mend="sample from the model before quantization")
    from stages.service.llama_cpp import answer_all

    return [
        text.strip() for text in answer_all(folder, conversations, max_tokens=manner.max_tokens, threads=manner.threads)
    ]


def _generate(folder: Path, texts: Sequence[str], manner: Manner, *, completion: bool) -> list[str]:
    import torch

    from stages.model import generate
    from stages.text.tokenizer import load_tokenizer

    before = torch.get_num_threads()
    torch.set_num_threads(manner.threads)
    try:
        model, tokenizer = load_llama(folder), load_tokenizer(folder)
        tokenizer.encode_special_tokens = completion  # a base model has read their names as text, as Encode cuts them
        start = [model.config.bos] if completion else []  # a base model has seen every document begin so
        prompts = [start + tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        answers = generate(
            model,
            prompts,
            manner.max_tokens,
            stop_ids(folder),
            manner.temperature,
            top_k=manner.top_k,
            seed=manner.seed,
        )
        return [str(tokenizer.decode(ids)) for ids in answers]
    finally:
        torch.set_num_threads(before)


def load_llama(folder: Path) -> Any:
    """The model at `folder` as a plain torch Llama. Raises StageFailed where it is none."""
    from stages.model import load

    try:
        return load(folder)
    except (ValueError, KeyError, FileNotFoundError) as fault:
        raise StageFailed(
            f"the model cannot be asked: {fault}", mend="give a Llama checkpoint or a folder with model.gguf"
        ) from fault


def stop_ids(folder: Path) -> list[int]:
    """The ids that end an answer: eos_token_id of generation_config.json, else of config.json."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.exists() else None
        if found is not None:
            return [found] if isinstance(found, int) else list(found)
    return []
