"""Dedup: one of each cluster stays, whatever the order and the shards; what is removed says for which document."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Context, DagError, StageFailed
from stages.dedup import Dedup
from stages.kinds import Documents
from stages.text.shards import document, write_documents
from tests.stages.text.exact import jaccard, shingle_set

LETTERS = st.sampled_from(["a", "b", "c", "d", "e", "fox", "Hen"])
CORPUS = st.lists(st.lists(LETTERS, max_size=25).map(" ".join), min_size=1, max_size=14)


def corpus(folder: Path, texts: dict[str, str], *, per_shard: int = 1000) -> Documents:
    """A corpus whose ids are the keys of `texts`."""
    rows = [{**document(text, name, source="test", url="", metadata={}), "id": name} for name, text in texts.items()]
    for number, start in enumerate(range(0, len(rows), per_shard)):
        write_documents(folder, f"part-{number:05d}", rows[start : start + per_shard])
    return Documents(folder)


def unique(
    work: Path, documents: Documents | tuple[Documents, ...], **given_settings: Any
) -> tuple[Documents, Context]:
    ctx, out = Context.local(work), Documents(work / "data")
    Dedup(documents=documents, **given_settings).run(out, ctx)
    return out, ctx


def ids(documents: Documents) -> list[str]:
    return [row["id"] for row in documents.rows()]


def prose(seed: int, words: int = 200) -> list[str]:
    source = random.Random(seed)
    return [f"word{source.randrange(5000)}" for _ in range(words)]


def test_a_repeated_document_is_kept_once(tmp_path: Path) -> None:
    given_documents = corpus(
        tmp_path / "in", {"b": "The same tale.", "a": "The same tale.", "c": "Another tale altogether, of a hen."}
    )
    out, ctx = unique(tmp_path / "work", given_documents)
    assert ids(out) == ["a", "c"]
    assert {
        name: ctx.metrics[name] for name in ("documents_in", "exact_duplicates", "near_duplicates", "documents_unique")
    } == {
        "documents_in": 3,
        "exact_duplicates": 1,
        "near_duplicates": 0,
        "documents_unique": 2,
    }


def test_of_near_duplicates_the_longest_stays_and_the_others_name_it(tmp_path: Path) -> None:
    words = prose(1)
    texts = {
        "a": " ".join(words),
        "b": " ".join([*words, "the", "end"]),
        "c": " ".join(words).upper() + "!",
        "d": " ".join(prose(2)),
    }
    out, ctx = unique(tmp_path / "work", corpus(tmp_path / "in", texts))
    assert ids(out) == ["b", "d"]
    dropped = {row["id"]: row for row in Documents(out.path / "dropped").rows()}
    assert {name: (row["kept_id"], row["how"]) for name, row in dropped.items()} == {
        "a": ("b", "near"),
        "c": ("b", "near"),
    }
    assert dropped["a"]["similarity"] == pytest.approx(jaccard(texts["a"], texts["b"]), abs=1e-6)
    assert ctx.metrics["near_duplicates"] == 2


def test_documents_below_the_threshold_both_stay(tmp_path: Path) -> None:
    words = prose(3)
    texts = {"a": " ".join(words), "b": " ".join([*words[:150], *prose(4, 50)])}
    assert 0.4 < jaccard(texts["a"], texts["b"]) < 0.8
    assert ids(unique(tmp_path / "strict", corpus(tmp_path / "in", texts))[0]) == ["a", "b"]
    assert len(ids(unique(tmp_path / "loose", Documents(tmp_path / "in"), threshold=0.4, bands=36, rows=3)[0])) == 1


def test_duplicates_across_inputs_are_found_and_each_shard_keeps_its_own(tmp_path: Path) -> None:
    one = corpus(tmp_path / "one", {"a": "A tale of a fox.", "b": "A tale of a hen."})
    two = corpus(tmp_path / "two", {"c": "A tale of a fox.", "d": "A tale of an owl."})
    out, _ = unique(tmp_path / "work", (one, two))
    assert ids(out) == ["a", "b", "d"]
    assert [path.name for path in out.shards()] == ["part-00000.parquet", "part-00001.parquet"]
    assert sorted(ids(unique(tmp_path / "turned", (two, one))[0])) == ["a", "b", "d"]


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    given_documents = corpus(tmp_path / "in", {str(n): " ".join(prose(n // 2, 40)) for n in range(20)}, per_shard=7)
    runs = [unique(tmp_path / place, given_documents)[0] for place in ("one", "two")]
    files = [{path.relative_to(out.path): path.read_bytes() for path in out.path.rglob("*.parquet")} for out in runs]
    assert files[0] == files[1] and runs[0].count() == 10


def test_planted_near_duplicates_are_found(tmp_path: Path) -> None:
    """Recall at J ≥ 0.85 is 1 - (1 - .85⁶)¹⁸ > .9998 a pair with the default bands."""
    texts: dict[str, str] = {}
    for number in range(150):
        words = prose(100 + number)
        texts[f"{number:03d}-a"] = " ".join(words)
        words[number] = "changed"
        texts[f"{number:03d}-b"] = " ".join(words)
    assert all(jaccard(texts[f"{n:03d}-a"], texts[f"{n:03d}-b"]) > 0.85 for n in range(150))
    out, ctx = unique(tmp_path / "work", corpus(tmp_path / "in", texts, per_shard=64))
    assert out.count() <= 151 and len({name[:3] for name in ids(out)}) == 150
    assert ctx.metrics["near_duplicates"] >= 149


def test_an_empty_corpus_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(StageFailed, match="no documents to deduplicate"):
        unique(tmp_path / "work", Documents(tmp_path / "in"))


def test_a_threshold_of_one_or_more_is_refused_when_the_dag_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(DagError, match="Dedup.threshold"):
        Dedup(documents=Documents(tmp_path), threshold=1.5)


@settings(max_examples=12)
@given(CORPUS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_which_documents_stay_depends_on_neither_order_nor_shards_and_a_second_pass_drops_none(
    texts: list[str], per_shard: int, shuffled: random.Random
) -> None:
    named = {f"{number:02d}": text for number, text in enumerate(texts)}
    turned = list(named.items())
    shuffled.shuffle(turned)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        options = {"ngram": 2, "threshold": 0.5, "bands": 40, "rows": 2}
        out, _ = unique(place / "one", corpus(place / "a", named), **options)
        other, _ = unique(place / "two", corpus(place / "b", dict(turned), per_shard=per_shard), **options)
        again, ctx = unique(place / "three", out, **options)
        assert sorted(ids(out)) == sorted(ids(other))
        assert ids(again) == ids(out) and ctx.metrics["documents_unique"] == ctx.metrics["documents_in"]
        assert len(set(ids(out))) == len(ids(out)) >= 1


@settings(max_examples=25)
@given(CORPUS)
def test_no_pair_that_is_similar_survives_and_nothing_dissimilar_is_dropped(texts: list[str]) -> None:
    named = {f"{number:02d}": text for number, text in enumerate(texts)}
    with TemporaryDirectory() as folder:
        out, _ = unique(
            Path(folder) / "work", corpus(Path(folder) / "in", named), ngram=1, threshold=0.6, bands=60, rows=1
        )
        kept = ids(out)
        worded = [name for name in kept if shingle_set(named[name], 1)]
        for place, left in enumerate(worded):
            for right in worded[place + 1 :]:
                assert (
                    jaccard(named[left], named[right], 1) < 0.6
                )  # 60 bands of one row miss a pair at 0.6 once in 10²³
        for row in Documents(out.path / "dropped").rows():
            mine = named[row["id"]]
            partners = [
                name
                for name, text in named.items()
                if name != row["id"] and (text == mine or jaccard(text, mine, 1) >= 0.6)
            ]
            assert partners and row["kept_id"] in kept


def test_what_stays_is_counted_by_source(tmp_path: Path) -> None:
    rows = [
        document("the same text", str(place), source=source, url="", metadata={}) for place, source in enumerate("aab")
    ]
    rows += [document(" ".join(prose(seed)), "x", source="b", url="", metadata={}) for seed in (1, 2)]
    write_documents(tmp_path / "given", "part-00000", rows)
    _, ctx = unique(tmp_path / "work", Documents(tmp_path / "given"))
    counted = {name: value for name, value in ctx.metrics.items() if name.startswith("from.")}
    assert sum(counted.values()) == ctx.metrics["documents_unique"] == 3 and counted["from.b.documents"] >= 2
