"""Reads a Hugging Face checkpoint folder tensor by tensor, without building the model and without holding it whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import StageFailed

if TYPE_CHECKING:
    import numpy as np


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object at `path`, or an empty one where there is no such file."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def tensor_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors, in order. Raises StageFailed where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StageFailed(f"{folder.name} holds no .safetensors", mend="give a model made by Pretrain, Sft or Dpo")
    return files


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor by its Hugging Face name, as float32, sorted by file and name."""
    from safetensors import safe_open

    for path in tensor_files(folder):
        with safe_open(path, framework="pt") as opened:  # numpy knows no bfloat16
            for name in sorted(opened.keys()):
                yield name, opened.get_tensor(name).float().numpy()


def end_tokens(folder: Path) -> list[int]:
    """The ids that end an answer, those that the chat template writes (the end of a turn) first."""
    from stages.text.tokenizer import chat_template, load_tokenizer

    for name in ("generation_config.json", "config.json"):
        found = read_json(folder / name).get("eos_token_id")
        if found is not None:
            ends = [found] if isinstance(found, int) else list(found)
            tokenizer, template = load_tokenizer(folder), chat_template(folder)
            return sorted(ends, key=lambda end: (tokenizer.id_to_token(end) or "") not in template)
    raise StageFailed(f"{folder.name} names no eos_token_id in generation_config.json or config.json")
