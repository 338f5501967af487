"""Turns a byte-level BPE tokenizer.json into the vocabulary that llama.cpp reads from a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pipeline import StageFailed
from stages.quant.checkpoint import read_json
from stages.text.tokenizer import SPLIT

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Token types of llama.cpp: control tokens are never shown, user-defined ones are matched whole in the text."""

SPLITS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt-2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
    SPLIT: "qwen2",
}
"""llama.cpp's names for the regular expressions that cut text into words before BPE: it knows these by name alone."""


class Vocabulary(NamedTuple):
    """What GGUF keeps of a tokenizer: `tokens` and `types` by id, and the merges as ``left right``, best first."""

    split: str
    tokens: list[str]
    types: list[int]
    merges: list[str]


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of the tokenizer in `folder`, filled up to `size` rows of the embedding with unused tokens.

    Raises StageFailed for anything but a byte-level BPE whose words llama.cpp can cut in the same way.
    """
    found = read_json(folder / "tokenizer.json")
    model = found.get("model", {})
    if model.get("type") != "BPE" or found.get("normalizer") is not None:
        raise StageFailed(
            f"GGUF export reads byte-level BPE without a normalizer, not {model.get('type') or 'this tokenizer'}"
        )
    added = {token["id"]: token for token in found.get("added_tokens", [])}
    by_id = {index: text for text, index in model["vocab"].items()} | {
        index: token["content"] for index, token in added.items()
    }
    if max(by_id) >= size:
        raise StageFailed(f"the tokenizer has ids up to {max(by_id)}, but the model's embedding has {size} rows")
    tokens = [by_id.get(index, f"[UNUSED{index}]") for index in range(size)]
    types = [_type(index in by_id, added.get(index)) for index in range(size)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary(_split(found.get("pre_tokenizer") or {}), tokens, types, merges)


def _type(known: bool, added: dict[str, Any] | None) -> int:
    if added is not None:
        return CONTROL if added["special"] else USER_DEFINED
    return NORMAL if known else UNUSED


def _split(pre_tokenizer: dict[str, Any]) -> str:
    parts = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    byte_level = next((part for part in parts if part.get("type") == "ByteLevel"), None)
    if byte_level is None or byte_level.get("add_prefix_space"):
        raise StageFailed("GGUF export needs a ByteLevel pre-tokenizer with add_prefix_space=False")
    if len(parts) == 1 and byte_level.get("use_regex", True):
        return "gpt-2"
    patterns = [part.get("pattern", {}).get("Regex", "") for part in parts if part.get("type") == "Split"]
    if len(parts) == 2 and len(patterns) == 1 and patterns[0] in SPLITS:
        return SPLITS[patterns[0]]
    raise StageFailed(
        "llama.cpp knows no rule that cuts words as this tokenizer does",
        mend="use GPT-2's split, ByteLevel(use_regex=True)",
    )
