"""Trains a byte-level BPE on documents and saves it as a Hugging Face tokenizer with a chat template; every text round-trips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Documents, Tokenizer

if TYPE_CHECKING:
    import tokenizers


class TrainTokenizer(Stage[Tokenizer]):
    """Learn the merges of a byte-level BPE (words cut by Qwen2's pattern, each digit alone; llama.cpp knows it)."""

    shows = ("vocab_size", "bytes_per_token")

    documents: Documents | tuple[Documents, ...]
    vocab_size: int = Field(default=4096, ge=264, description="tokens in all: special tokens, 256 bytes and merges")
    min_frequency: int = Field(default=2, ge=1, description="times that a pair must be seen to become a token")

    def run(self, out: Tokenizer, ctx: Context) -> None:
        from stages.text.tokenizer import CHAT_TEMPLATE

        given = self.documents if isinstance(self.documents, tuple) else (self.documents,)
        total = sum(documents.count() for documents in given)
        if not total:
            raise StageFailed(
                "there is not one document to train a tokenizer on", mend="loosen the filter, or collect more"
            )
        tokenizer = self._train(given, total, ctx)
        size = tokenizer.get_vocab_size()
        if size < self.vocab_size:
            raise StageFailed(
                f"vocab_size {self.vocab_size} is more than {total} documents allow: the largest possible is {size}",
                mend=f"set vocab_size to {size} or less, or train on more text",
            )
        out.path.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(out.path / "tokenizer.json"))
        _write_config(out.path)
        (out.path / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
        ctx.log(vocab_size=size, documents=total, bytes_per_token=_bytes_per_token(tokenizer, _texts(given)))

    def _train(self, given: tuple[Documents, ...], total: int, ctx: Context) -> tokenizers.Tokenizer:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        from stages.text.tokenizer import SPECIAL, SPLIT

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # all bytes, so that no text is unknown
            show_progress=False,
        )
        tokenizer.train_from_iterator(_counted(_texts(given), total, ctx), trainer, length=total)
        return tokenizer


def _texts(given: tuple[Documents, ...]) -> Iterator[str]:
    return (row["text"] for documents in given for row in documents.rows(["text"]))


def _counted(texts: Iterator[str], total: int, ctx: Context) -> Iterator[str]:
    for done, text in enumerate(texts):
        if done % 1000 == 0:
            ctx.progress(done, total, "documents")
        yield text
    ctx.progress(total, total, "documents")


def _bytes_per_token(tokenizer: tokenizers.Tokenizer, texts: Iterator[str], enough: int = 2_000_000) -> float:
    """UTF-8 bytes per token over the first `enough` bytes of `texts`."""
    read = tokens = 0
    for text in texts:
        read += len(text.encode())
        tokens += len(tokenizer.encode(text).ids)
        if read >= enough:
            break
    return read / max(1, tokens)


def _write_config(folder: Path) -> None:
    """tokenizer_config.json, by which AutoTokenizer builds a fast tokenizer of no particular family."""
    from stages.text.tokenizer import END_OF_TEXT, PAD

    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_max_length": 1_000_000_000,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
