"""A tokenizer made elsewhere: its files, by name, and whether `tokenizers` reads it and stages find the tokens they need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SourceError, StageFailed

if TYPE_CHECKING:
    import tokenizers

NAMES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "vocab.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
MEND = "save it as a fast tokenizer: AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER)"
LARGEST = 256 << 20
"""Bytes of a JSON file that is read whole."""


def layout(names: Sequence[str]) -> dict[str, str]:
    """The files of a tokenizer. Raises SourceError where tokenizer.json is missing."""
    if "tokenizer.json" not in names:
        raise SourceError("there is no tokenizer.json", mend=MEND)
    return {name: name for name in names if name in NAMES}


def check(folder: Path) -> list[str]:
    """Check that it loads; say what it lacks for stages that need more than a vocabulary."""
    from stages.text.tokenizer import END, PAD, boundary_id

    engine = load(folder)
    try:
        boundary_id(engine, folder)
    except StageFailed:
        raise SourceError(
            "the tokenizer has no token that ends a document: no <|endoftext|>, and no eos_token in tokenizer_config.json",
            mend="name one of its tokens as eos_token in tokenizer_config.json",
        ) from None
    missing = [token for token in (PAD, END) if engine.token_to_id(token) is None]
    return [f"it has no {' and no '.join(missing)}: Encode takes it, Pretrain does not"] if missing else []


def load(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a folder. Raises SourceError, naming the file, for one that cannot be read."""
    import tokenizers

    read_json(folder / "tokenizer.json")
    if (folder / "tokenizer_config.json").exists():
        read_json(folder / "tokenizer_config.json")
    try:
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as fault:  # the package has no exception of its own
        raise SourceError(f"tokenizer.json cannot be read: {fault}", mend=MEND) from None


def read_json(path: Path) -> dict[str, object]:
    """The JSON object at `path`. Raises SourceError for anything else, and for a file of more than LARGEST bytes."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, RecursionError) as fault:
        raise SourceError(f"{path.name} cannot be read: {fault}", mend="fetch it again, whole") from None
    return found
