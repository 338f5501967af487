"""The vectorised n-grams, signatures and comparison against the plain ways of Python and of datasketch."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text import minhash
from tests.stages.text.exact import jaccard, shingle_set

TEXTS = st.lists(st.text(alphabet="ab Éz9'.\n\0", max_size=40), min_size=1, max_size=8)


@settings(max_examples=150)
@given(TEXTS, st.integers(1, 4))
def test_each_text_has_as_many_distinct_shingles_as_counted_plainly(texts: list[str], ngram: int) -> None:
    found = minhash.shingles(texts, ngram)
    assert np.diff(found.starts).tolist() == [max(1, len(shingle_set(text, ngram))) for text in texts]
    for place in range(len(texts)):
        part = found.values[found.starts[place] : found.starts[place + 1]]
        assert (np.diff(part.astype(object)) > 0).all()


@settings(max_examples=150)
@given(TEXTS, st.integers(1, 3))
def test_similarity_is_that_of_the_sets_of_n_grams(texts: list[str], ngram: int) -> None:
    found = minhash.shingles(texts, ngram)
    sets = [found.values[start:end] for start, end in zip(found.starts, found.starts[1:], strict=False)]
    for left, one in zip(texts, sets, strict=True):
        for right, other in zip(texts, sets, strict=True):
            if shingle_set(left, ngram) and shingle_set(right, ngram):
                assert minhash.jaccard(one, other) == jaccard(left, right, ngram)


def test_a_text_has_the_same_shingles_whatever_stands_beside_it() -> None:
    alone = minhash.shingles(["the fox and the hen went out"], 3).values
    beside = minhash.shingles(["A tale.", "the fox and the hen went out", "", "end"], 3)
    assert (beside.values[beside.starts[1] : beside.starts[2]] == alone).all()


def test_signatures_are_those_of_datasketch() -> None:
    texts = ["the fox and the hen went out to the river " * 3, "one two", "", "é è ê " * 9]
    found = minhash.shingles(texts, 2)
    a, b = minhash.permutations(24, seed=5)
    signature = minhash.signatures(found, a, b)
    assert signature.shape == (4, 24) and signature.dtype == np.uint32
    for place in range(4):
        values = found.values[found.starts[place] : found.starts[place + 1]].astype(np.uint32)
        plain = np.array([[(int(h) * int(x) + int(y)) % 2**32 for h in values] for x, y in zip(a, b, strict=True)]).min(
            axis=1
        )
        assert (signature[place] == plain).all()
    theirs = MinHash(num_perm=24, seed=5, scheme="affine32").permutations
    assert (theirs[0] == a).all() and (theirs[1] == b).all()


def test_signatures_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{(n * k) % 97}" for k in range(60)) for n in range(1, 40)]
    found = minhash.shingles(texts, 3)
    a, b = minhash.permutations(12, seed=1)
    whole = minhash.signatures(found, a, b)
    monkeypatch.setattr(minhash, "BLOCK", 64)
    assert (minhash.signatures(found, a, b) == whole).all()


def test_signatures_estimate_similarity() -> None:
    words = [f"w{n}" for n in range(400)]
    left, right = " ".join(words), " ".join(words[:340])
    a, b = minhash.permutations(512, seed=1)
    one, other = minhash.signatures(minhash.shingles([left, right], 5), a, b)
    assert abs((one == other).mean() - jaccard(left, right)) < 0.06  # four standard errors of 512 permutations
