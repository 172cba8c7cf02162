"""Nearest examples: the fast searches give what a comparison with every example gives."""

from __future__ import annotations

import numpy as np
import pytest
import text_toys
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.kinds import text_search
from hedgerow.kinds.text_features import Tfidf, TfidfSettings
from hedgerow.kinds.text_search import Postings, Vectors, largest, unit

SYLLABLES = [
    "ing",
    "man",
    "uf",
    "act",
    "ure",
    "rice",
    "of",
    "and",
    "gro",
    "wing",
    "bak",
    "ery",
    "soft",
    "ware",
    "tile",
    "s",
]
words = st.lists(st.sampled_from(SYLLABLES), min_size=1, max_size=3).map("".join)
phrases = st.lists(words, min_size=1, max_size=8).map(" ".join)


def by_hand(scores: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in scores.tolist()]


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 40), st.integers(1, 12))
def test_largest_is_a_sort_with_ties_in_order(seed: int, n: int, columns: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 6, (n, columns)).astype(np.float32)
    before = scores.copy()
    found, values = largest(scores, k)
    expected = by_hand(scores, k)
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, np.array(expected), 1))
    assert [sorted(row) for row in found.tolist()] == [sorted(set(row)) for row in found.tolist()]
    if k <= 3:
        assert found.tolist() == expected


@pytest.mark.parametrize("block", [3, 7, 10_000])
@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_vectors_by_blocks(monkeypatch: pytest.MonkeyPatch, block: int, k: int) -> None:
    monkeypatch.setattr(text_search, "BLOCK", block)
    rng = np.random.default_rng(3)
    stored, asked = rng.normal(size=(50, 4)), unit(rng.normal(size=(6, 4)).astype(np.float32))
    found, cosines = Vectors(stored, np.zeros(50, np.int64)).nearest(asked, k)
    full = asked.astype(np.float64) @ (stored / np.linalg.norm(stored, axis=1, keepdims=True)).T
    assert found.tolist() == by_hand(full, k)
    np.testing.assert_allclose(cosines, np.take_along_axis(full, found, 1), atol=1e-6)


def test_equal_vectors_come_by_number_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.tile(np.array([[1.0, 2.0]]), (12, 1))
    for block in (2, 5, 100):
        monkeypatch.setattr(text_search, "BLOCK", block)
        found, _ = Vectors(stored, np.zeros(12, np.int64)).nearest(unit(np.ones((1, 2))), 3)
        assert found.tolist() == [[0, 1, 2]]


def test_a_zero_vector_is_near_nothing() -> None:
    assert unit(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def tfidf_of(texts: list[str], norm: str) -> Tfidf:
    from sklearn.feature_extraction.text import TfidfVectorizer

    parts = [
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w\w+\b"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)),
    ]
    for vectoriser in parts:
        vectoriser.fit([*texts, "growing of rice"])
    blocks = TfidfSettings.model_validate({**text_toys.BLOCKS, "norm": norm})
    return Tfidf(blocks, [list(v.get_feature_names_out()) for v in parts], np.concatenate([v.idf_ for v in parts]))


@given(
    st.lists(phrases, min_size=1, max_size=60),
    st.lists(phrases, min_size=1, max_size=40),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    st.sampled_from([0.0, 0.1, 3.0, 1e9]),
    st.sampled_from(["block", "union", "none"]),
)
@settings(max_examples=60, deadline=None)
def test_postings_give_the_exact_cosines(
    stored: list[str], asked: list[str], k: int, rare: float, cost: float, norm: str
) -> None:
    tfidf = tfidf_of(stored, norm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_search, "_RARE", rare)
        patch.setattr(text_search, "_PAIR_COST", cost)
        postings = Postings(tfidf, stored)
        found, cosines = postings.nearest(tfidf.rows(asked), k)
    full = unit(tfidf.rows(asked).dense()).astype(np.float64) @ unit(tfidf.rows(stored).dense()).T
    k = min(k, len(stored))
    assert found.shape == (len(asked), k)
    np.testing.assert_allclose(cosines, -np.sort(-full, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(full, found, 1), cosines, atol=2e-6)
    assert all(len(set(row)) == k for row in found.tolist())


def test_a_text_without_a_known_ngram_has_no_likeness() -> None:
    tfidf = tfidf_of(text_toys.TEXTS, "block")
    _, cosines = Postings(tfidf, text_toys.TEXTS).nearest(tfidf.rows(["§§§", "ééé"]), 3)
    assert cosines.tolist() == [[0, 0, 0], [0, 0, 0]]
