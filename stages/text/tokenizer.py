"""A tokenizer folder without transformers: `tokenizers` for the ids, jinja2 in a sandbox for the chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import StageFailed
from stages.text.plain import plain_messages

if TYPE_CHECKING:
    import jinja2
    import tokenizers

END_OF_TEXT, PAD, SYSTEM, USER, ASSISTANT, END = (
    "<|endoftext|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where text is cut before BPE: each digit alone, so that sums can be learnt by rule. llama.cpp knows this pattern as qwen2."""

SPECIAL = (END_OF_TEXT, PAD, SYSTEM, USER, ASSISTANT, END)
"""Ids 0 to 5, in this order: document boundary (bos and eos of the base model), padding, the three roles, end of a turn."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('unknown role ' + message['role']) -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- message['content'] + '<|end|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""A turn is its role's token, its text and <|end|>, with no blank between; the assistant's part is marked for TRL's loss mask."""

_MARKS = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


def load_tokenizer(folder: Path | str) -> tokenizers.Tokenizer:
    """The tokenizer of a Tokenizer or Model folder. Raises StageFailed where tokenizer.json is missing."""
    import tokenizers

    path = Path(folder) / "tokenizer.json"
    if not path.exists():
        raise StageFailed(
            f"no tokenizer.json in {folder}", mend="give the folder of a TrainTokenizer or of a whole checkpoint"
        )
    return tokenizers.Tokenizer.from_file(str(path))


def token_id(tokenizer: tokenizers.Tokenizer, token: str) -> int:
    """The id of a token that must be there. Raises StageFailed where it is not."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise StageFailed(
            f"the tokenizer has no {token}", mend="train it with TrainTokenizer, or add the token to tokenizer.json"
        )
    return found


def boundary_id(tokenizer: tokenizers.Tokenizer, folder: Path | str) -> int:
    """The id that ends a document: <|endoftext|>, or in a tokenizer made elsewhere its eos_token. Raises StageFailed without one."""
    known = tokenizer.token_to_id(END_OF_TEXT) is not None
    return token_id(tokenizer, END_OF_TEXT if known else _special(Path(folder)).get("eos_token", END_OF_TEXT))


def chat_template(folder: Path | str) -> str:
    """The chat template of a folder: chat_template.jinja, else the entry in tokenizer_config.json. Raises StageFailed without one."""
    folder = Path(folder)
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    template = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.exists() else None
    if not isinstance(template, str):
        raise StageFailed(
            f"no chat template in {folder}",
            mend="put a chat_template.jinja beside tokenizer.json; a model made elsewhere is adopted again with it",
        )
    return template


def special_tokens(folder: Path | str) -> list[str]:
    """The tokens that tokenizer.json marks as special; none where the folder has no tokenizer."""
    path = Path(folder) / "tokenizer.json"
    added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", ()) if path.exists() else ()
    return [token["content"] for token in added if token["special"]]


def token_bytes(folder: Path | str) -> list[int]:
    """The bytes of text that each id of a byte-level BPE stands for; special tokens stand for none."""
    tokenizer = load_tokenizer(folder)
    sizes = [len(tokenizer.id_to_token(index) or "") for index in range(tokenizer.get_vocab_size())]  # a letter a byte
    for index, token in tokenizer.get_added_tokens_decoder().items():
        sizes[index] = 0 if token.special else len(token.content.encode())
    return sizes


def unmarked(template: str) -> str:
    """The template without `{% generation %}` marks, which only transformers knows; other engines (GGUF) read this one."""
    return _MARKS.sub(r"{#\1 \2#}", template)


def render_chat(folder: Path | str, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False) -> str:
    """The text of a conversation as the folder's template writes it, to be cut with its special tokens.

    A special token inside of a message is parted, so that it stays text. Raises StageFailed for what the template refuses.
    """
    import jinja2

    special, plain = _special(Path(folder)), plain_messages(messages, special_tokens(folder))
    try:
        return _compiled(chat_template(folder)).render(
            messages=plain, add_generation_prompt=add_generation_prompt, **special
        )
    except jinja2.TemplateError as fault:
        raise StageFailed(
            f"the chat template refuses these messages: {fault}", mend="give messages of roles the template knows"
        ) from None


def _special(folder: Path) -> dict[str, str]:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    named = {name: config.get(name) for name in ("bos_token", "eos_token", "pad_token")}
    return {name: value["content"] if isinstance(value, dict) else value for name, value in named.items() if value}


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> str:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    return environment.from_string(unmarked(template))
