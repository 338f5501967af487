"""Text as single bytes: packs files into tokens and writes the tokenizer that fits, and reads a byte-level tokenizer back into text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

END_OF_TEXT, PAD, END = "<|endoftext|>", "<|pad|>", "<|end|>"
SPECIAL = (END_OF_TEXT, PAD, "<|system|>", "<|user|>", "<|assistant|>", END)
"""Ids 0 to 5, as in a tokenizer of the stage TrainTokenizer."""

SPLITS = ("train", "validation", "test")
VALIDATION = 0.02


def letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be seen, else one above 255."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    found = {byte: chr(byte) for byte in seen}
    found |= {byte: chr(256 + place) for place, byte in enumerate(byte for byte in range(256) if byte not in found)}
    return [found[byte] for byte in range(256)]


def pack(files: Iterable[Path], tokens: Path, tokenizer: Path, most: int = 20_000_000) -> int:
    """Write a Tokens folder of the files' bytes, at most `most`, and its Tokenizer folder; the number of bytes."""
    parts: dict[str, list[bytes]] = {name: [] for name in SPLITS}
    total = 0
    for file in files:
        text = file.read_bytes()[: most - total]
        if text:
            share = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") / 2**64
            parts["validation" if share < VALIDATION else "train"].append(text)
            total += len(text)
        if total >= most:
            break
    if not parts["validation"] and len(parts["train"]) > 1:
        parts["validation"].append(parts["train"].pop())
    if not parts["train"]:
        raise ValueError("there is no text to train on")
    tokens.mkdir(parents=True, exist_ok=True)
    splits = {name: _write(tokens, name, texts) for name, texts in parts.items()}
    vocab_size = len(SPECIAL) + 256
    _json(tokens / "tokens.json", {"boundary": 0, "dtype": "uint16", "splits": splits, "vocab_size": vocab_size})
    _tokenizer(tokenizer)
    return total


def _write(folder: Path, name: str, texts: list[bytes]) -> dict[str, int]:
    lengths = np.array([len(text) + 1 for text in texts], dtype="<u8")
    ids = [np.append(np.frombuffer(text, np.uint8).astype("<u2") + len(SPECIAL), np.uint16(0)) for text in texts]
    np.concatenate([*ids, np.empty(0, "<u2")]).astype("<u2").tofile(folder / f"{name}.bin")
    (np.cumsum(lengths) - lengths).astype("<u8").tofile(folder / f"{name}.idx")
    return {"documents": len(texts), "tokens": int(lengths.sum()), "bytes": sum(map(len, texts))}


def _tokenizer(folder: Path) -> None:
    """tokenizer.json of a byte-level BPE without a single merge, and the file by which transformers loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    vocabulary = {token: place for place, token in enumerate([*SPECIAL, *letters()])}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": place, "content": token, **names} for place, token in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    _json(folder / "tokenizer.json", whole)
    named = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD}
    _json(folder / "tokenizer_config.json", {**named, "tokenizer_class": "PreTrainedTokenizerFast"})


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


class Vocabulary:
    """A byte-level tokenizer.json, read without any library: enough to turn ids into text."""

    def __init__(self, folder: Path, size: int) -> None:
        whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self._places = {**whole["model"]["vocab"], **{one["content"]: one["id"] for one in whole["added_tokens"]}}
        if len(self._places) != size:
            raise ValueError(f"the tokens were made with a vocabulary of {size}, the tokenizer has {len(self._places)}")
        self._special = {one["id"] for one in whole["added_tokens"]}
        self._tokens = {place: token for token, place in self._places.items()}
        self._bytes = {letter: byte for byte, letter in enumerate(letters())}

    def ids(self) -> dict[str, Any]:
        """The ids that end a text and pad one, as a model's shape names them. Raises ValueError where one is missing."""
        missing = [token for token in (END_OF_TEXT, END, PAD) if token not in self._places]
        if missing:
            raise ValueError(f"the tokenizer has no {missing[0]}")
        boundary, end, pad = (self._places[token] for token in (END_OF_TEXT, END, PAD))
        return {"bos": boundary, "eos": (end, boundary), "pad": pad}

    def text(self, ids: Sequence[int]) -> str:
        """What the ids stand for; bytes that are no UTF-8 show as U+FFFD."""
        found = b"".join(
            self._tokens[one].encode()
            if one in self._special
            else bytes(self._bytes[letter] for letter in self._tokens[one])
            for one in ids
        )
        return found.decode("utf-8", errors="replace")
