"""The stages that stand for artifacts made elsewhere, one for each kind that `corpusmill adopt KIND PATH|URL` brings in.

Such a stage has the content digest as its only setting and makes nothing itself: it is cached once the content was adopted.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator

from pipeline import Context, Field, Stage, StageFailed
from pipeline.adopt import Kind
from stages.checks import checkpoint, tables, tokenizer, tokens
from stages.kinds import Chats, Documents, Model, Preferences, Tokenizer, Tokens


def _content_digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("it is no content digest: give the 64 hex digits that `corpusmill adopt` printed")
    return text


Digest = Annotated[
    str, AfterValidator(_content_digest), Field(description="what `corpusmill adopt` printed: the content")
]


def _absent(stage: Stage[Any]) -> StageFailed:
    kind = next(word for word, kind in KINDS.items() if isinstance(stage, kind.stage))
    return StageFailed(
        f"stage {stage.label!r} stands for what was made elsewhere (digest {stage.digest[:12]}…), and makes nothing itself",  # type: ignore[attr-defined]
        mend=f"adopt it first: corpusmill adopt {kind} PATH",
    )


class AdoptDocuments(Stage[Documents]):
    """Texts made elsewhere: parquet files with id, text, source, url and metadata."""

    digest: Digest

    def run(self, out: Documents, ctx: Context) -> None:
        raise _absent(self)


class AdoptChats(Stage[Chats]):
    """Conversations made elsewhere: parquet files with `messages`."""

    digest: Digest

    def run(self, out: Chats, ctx: Context) -> None:
        raise _absent(self)


class AdoptPreferences(Stage[Preferences]):
    """Choices made elsewhere: parquet files with `prompt`, `chosen` and `rejected`."""

    digest: Digest

    def run(self, out: Preferences, ctx: Context) -> None:
        raise _absent(self)


class AdoptTokenizer(Stage[Tokenizer]):
    """A Hugging Face fast tokenizer made elsewhere."""

    digest: Digest

    def run(self, out: Tokenizer, ctx: Context) -> None:
        raise _absent(self)


class AdoptTokens(Stage[Tokens]):
    """Packed tokens made elsewhere, in the form that Encode writes."""

    digest: Digest

    def run(self, out: Tokens, ctx: Context) -> None:
        raise _absent(self)


class AdoptModel(Stage[Model]):
    """A model made elsewhere: a Hugging Face checkpoint in safetensors, or a GGUF file."""

    digest: Digest

    def run(self, out: Model, ctx: Context) -> None:
        raise _absent(self)


KINDS = {
    "documents": Kind(AdoptDocuments, partial(tables.layout, "documents"), tables.documents, tables.from_documents),
    "chats": Kind(AdoptChats, partial(tables.layout, "chats"), tables.chats, tables.from_chats),
    "preferences": Kind(AdoptPreferences, partial(tables.layout, "preferences"), tables.preferences),
    "tokenizer": Kind(AdoptTokenizer, tokenizer.layout, tokenizer.check),
    "tokens": Kind(AdoptTokens, tokens.layout, tokens.check, tokens.from_tokens),
    "model": Kind(AdoptModel, checkpoint.layout, checkpoint.check),
}
