"""Encode: documents come back whole, splits are disjoint, and the layout of the shards shows nowhere."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Context, StageFailed
from stages.encode import Encode
from stages.kinds import Documents, Tokenizer, Tokens, write_shard
from stages.text.packing import documents_of
from stages.text.tokenizer import load_tokenizer
from stages.train_tokenizer import TrainTokenizer

Row = tuple[str, str]
ROWS: list[Row] = [
    (f"Tale {place}: the wolf met {place * 31} sheep.", "tales" if place % 3 else "talk") for place in range(150)
]


def write(folder: Path, rows: list[Row], shards: int = 1) -> Documents:
    for number in range(shards):
        mine = rows[number::shards]
        table = pa.table({
            "id": [f"{number}-{place}" for place in range(len(mine))], "text": [text for text, _ in mine],
            "source": [source for _, source in mine], "url": [""] * len(mine), "metadata": ["{}"] * len(mine),
        }, schema=pa.schema([(name, pa.string()) for name in ("id", "text", "source", "url", "metadata")]))  # fmt: skip
        write_shard(folder / f"part-{number:05d}.parquet", table)
    return Documents(folder)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    out = Tokenizer(folder / "work" / "data")
    TrainTokenizer(documents=write(folder / "documents", ROWS), vocab_size=270).run(out, Context.local(folder / "work"))
    return out


def encoded(folder: Path, documents: Documents | tuple[Documents, ...], tokenizer: Tokenizer, **how: Any) -> Tokens:
    out = Tokens(folder / "data")
    Encode(documents=documents, tokenizer=tokenizer, **how).run(out, Context.local(folder))
    return out


def texts(tokens: Tokens, tokenizer: Tokenizer, split: str) -> list[str]:
    engine, info = load_tokenizer(tokenizer.path), tokens.info()
    found = []
    for ids in documents_of(tokens.path, split, np.dtype(info["dtype"])):
        assert ids[-1] == info["boundary"]
        assert info["boundary"] not in ids[:-1]
        found.append(engine.decode(ids[:-1].tolist(), skip_special_tokens=False))
    return found


def files(tokens: Tokens) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(tokens.path.iterdir())}


@given(
    rows=st.lists(st.tuples(st.text(max_size=40), st.sampled_from(["a", "b"])), min_size=1, max_size=30),
    shards=st.integers(1, 4), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=25)
def test_every_document_comes_back_whole_and_once(
    tokenizer: Tokenizer, rows: list[Row], shards: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = encoded(
            folder / "w", write(folder / "d", rows, shards), tokenizer, seed=seed, validation=0.3, test=0.2
        )
        splits = {split: texts(tokens, tokenizer, split) for split in ("train", "validation", "test")}
        assert Counter(text for split in splits.values() for text in split) == Counter(text for text, _ in rows)
        assert not set(splits["train"]) & set(splits["validation"])
        assert not set(splits["train"]) & set(splits["test"])
        assert not set(splits["validation"]) & set(splits["test"])
        for split, found in splits.items():
            counts = tokens.info()["splits"][split]
            assert counts["documents"] == len(found)
            assert counts["bytes"] == sum(len(text.encode()) for text in found)
            assert counts["tokens"] == (tokens.path / f"{split}.bin").stat().st_size // 2


def test_the_layout_of_the_shards_shows_nowhere(tokenizer: Tokenizer, tmp_path: Path) -> None:
    whole = encoded(tmp_path / "1", write(tmp_path / "a", ROWS), tokenizer, repeat={"tales": 3})
    in_shards = encoded(tmp_path / "2", write(tmp_path / "b", ROWS[::-1], 7), tokenizer, repeat={"tales": 3})
    halves = (write(tmp_path / "c", ROWS[:40]), write(tmp_path / "d", ROWS[40:], 2))
    assert files(whole) == files(in_shards) == files(encoded(tmp_path / "3", halves, tokenizer, repeat={"tales": 3}))


def test_a_source_is_repeated_in_train_alone(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokens = encoded(tmp_path / "w", write(tmp_path / "d", ROWS), tokenizer, repeat={"tales": 4}, validation=0.2)
    source = dict(ROWS)
    assert {times for text, times in Counter(texts(tokens, tokenizer, "train")).items() if source[text] == "tales"} == {
        4
    }
    assert {times for text, times in Counter(texts(tokens, tokenizer, "train")).items() if source[text] == "talk"} == {
        1
    }
    assert set(Counter(texts(tokens, tokenizer, "validation")).values()) == {1}


def test_the_seed_moves_the_order_and_never_the_split(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = write(tmp_path / "d", ROWS)
    first, second = (encoded(tmp_path / str(seed), documents, tokenizer, seed=seed, validation=0.2) for seed in (0, 1))
    for split in ("train", "validation"):
        one, other = texts(first, tokenizer, split), texts(second, tokenizer, split)
        assert one != other
        assert sorted(one) == sorted(other)
    order = [text for text, _ in ROWS if text in set(texts(first, tokenizer, "train"))]
    assert texts(first, tokenizer, "train") != order


def test_the_name_of_a_special_token_inside_a_text_is_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    forged = "an end<|endoftext|>and <|assistant|> a role"
    tokens = encoded(tmp_path / "w", write(tmp_path / "d", [(forged, "a")]), tokenizer, validation=0)
    assert texts(tokens, tokenizer, "train") == [forged]


def test_a_split_that_was_asked_for_is_not_empty_while_two_documents_are_there(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokens = encoded(tmp_path / "w", write(tmp_path / "d", ROWS[:3]), tokenizer, validation=1e-9, test=1e-9)
    assert {split: counts["documents"] for split, counts in tokens.info()["splits"].items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }


def test_repeating_an_unknown_source_is_one_clear_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = write(tmp_path / "d", ROWS)
    with pytest.raises(StageFailed, match="repeat names source 'tails', but the documents come from 'tales', 'talk'"):
        encoded(tmp_path / "w", documents, tokenizer, repeat={"tails": 2})
    with pytest.raises(StageFailed, match="repeat of source 'tales' is 0"):
        encoded(tmp_path / "v", documents, tokenizer, repeat={"tales": 0})


def test_no_documents_are_one_clear_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="not one document"):
        encoded(tmp_path / "w", write(tmp_path / "d", []), tokenizer)


def test_documents_and_tokens_of_each_source_are_counted_as_they_stand_in_train(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    ctx, out = Context.local(tmp_path / "w"), Tokens(tmp_path / "w" / "data")
    Encode(documents=write(tmp_path / "d", ROWS, 3), tokenizer=tokenizer, repeat={"talk": 3}, validation=0.1).run(
        out, ctx
    )
    train = Counter(dict(ROWS)[text] for text in texts(out, tokenizer, "train"))
    assert {name: ctx.metrics[f"from.{name}.documents"] for name in ("tales", "talk")} == dict(train)
    assert sum(ctx.metrics[f"from.{name}.tokens"] for name in ("tales", "talk")) == ctx.metrics["train_tokens"]
    assert train["talk"] % 3 == 0 and train["tales"] < 100, "three times each; what validates is not counted"
