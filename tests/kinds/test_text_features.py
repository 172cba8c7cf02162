"""TF-IDF rows in numpy are scikit-learn's; text forms are stable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import text_toys
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from hedgerow.errors import HedgerowError
from hedgerow.kinds.text_features import Rows, Tfidf, TfidfSettings, chunks, exact_key, normalise

WORDS = ["rice", "rice", "RICE", "of", "a", "growing", "n.e.c.", "Straße", "Öl", "σς", "İstanbul", "農業", "x" * 60]
SPACES = [" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\x1f", "-", "_", "/", ""]
any_text = st.one_of(
    st.text(max_size=60),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), max_size=20).map(
        lambda pairs: "".join(word + space for word, space in pairs)
    ),
)
CORPUS = [*text_toys.TEXTS, *(" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS)))]


def ours(vectorisers: list[TfidfVectorizer], norm: str) -> Tfidf:
    blocks = [{"name": f"b{i}", "analyser": v.analyzer, "ngrams": v.ngram_range} for i, v in enumerate(vectorisers)]
    settings = TfidfSettings.model_validate(
        {
            "blocks": blocks,
            "norm": norm,
            "sublinear": vectorisers[0].sublinear_tf,
            "lowercase": vectorisers[0].lowercase,
        }
    )
    vocabularies = [list(v.get_feature_names_out()) for v in vectorisers]
    return Tfidf(settings, vocabularies, np.concatenate([v.idf_ for v in vectorisers]))


def pair(norm: str, **more: Any) -> list[TfidfVectorizer]:
    their_norm = "l2" if norm == "block" else None
    return [
        TfidfVectorizer(ngram_range=(1, 2), norm=their_norm, **more).fit(CORPUS),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), norm=their_norm, **more).fit(CORPUS),
    ]


def theirs(vectorisers: list[TfidfVectorizer], norm: str, texts: list[str]) -> np.ndarray:
    parts = np.hstack([v.transform(texts).toarray() for v in vectorisers])
    return normalize(parts) if norm == "union" else parts


CASES = [
    (norm, options, pair(norm, **options))
    for norm in ("block", "union", "none")
    for options in ({"sublinear_tf": True}, {"sublinear_tf": False, "lowercase": False})
]


@given(st.lists(any_text, max_size=6))
@settings(max_examples=150, deadline=None)
def test_rows_are_those_of_scikit_learn(texts: list[str]) -> None:
    for norm, _, vectorisers in CASES:
        rows = ours(vectorisers, norm).rows(texts)
        assert len(rows) == len(texts)
        np.testing.assert_allclose(rows.dense(), theirs(vectorisers, norm, texts) if texts else rows.dense(), atol=1e-6)


@pytest.mark.parametrize(
    "analyser,ngrams", [("word", (1, 1)), ("word", (2, 3)), ("char_wb", (1, 4)), ("char_wb", (6, 7))]
)
def test_other_ngram_ranges(analyser: str, ngrams: tuple[int, int]) -> None:
    vectoriser = TfidfVectorizer(analyzer=analyser, ngram_range=ngrams, sublinear_tf=True).fit(CORPUS)
    asked = [*CORPUS, "growing of wheat wheat wheat", "zzz", "", "ab"]
    np.testing.assert_allclose(
        ours([vectoriser], "block").rows(asked).dense(), vectoriser.transform(asked).toarray(), atol=1e-6
    )


def test_a_word_seen_before_gives_the_same_rows() -> None:
    tfidf = ours(CASES[0][2], "block")
    first = tfidf.rows(["growing of rice"]).dense()
    tfidf.rows(CORPUS)
    np.testing.assert_array_equal(first, tfidf.rows(["growing of rice"]).dense())


def test_a_long_word_does_not_fill_the_memory() -> None:
    tfidf = ours(CASES[0][2], "block")
    rows = tfidf.rows(["x" * 10_000, *(f"word{i}" * 20 for i in range(50))])
    assert len(rows) == 51
    assert all(len(word) <= 40 for a in tfidf._analysers for word in getattr(a, "_memo", {}))


def test_products_and_parts_of_rows() -> None:
    rows = ours(CASES[0][2], "block").rows(CORPUS)
    matrix = np.random.default_rng(0).normal(size=(rows.width, 5)).astype(np.float32)
    np.testing.assert_allclose(rows.times(matrix), rows.dense() @ matrix, atol=1e-5)
    np.testing.assert_array_equal(rows.part(slice(3, 7)).dense(), rows.dense()[3:7])
    empty = Rows(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), rows.width)
    assert empty.times(matrix).shape == (0, 5)


def test_idf_must_fit_the_vocabularies() -> None:
    with pytest.raises(HedgerowError, match="idf"):
        Tfidf(TfidfSettings.model_validate(text_toys.BLOCKS), [["a"], ["b"]], np.ones(3))


@pytest.mark.parametrize("ngrams", [(0, 1), (2, 1), (1, 13)])
def test_ngrams_out_of_range(ngrams: tuple[int, int]) -> None:
    block = {"name": "x", "analyser": "word"}
    with pytest.raises(ValueError, match=r"rising pair within 1\.\.12"):
        TfidfSettings.model_validate({"blocks": [{**block, "ngrams": ngrams}]})
    TfidfSettings.model_validate({"blocks": [{**block, "ngrams": (1, 12)}]})


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40) | st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    for form in ("NFKC", "NFC", "none"):
        once = normalise(text, form)
        assert normalise(once, form) == once
        assert once == once.strip() and "  " not in once
        once.encode()  # no lone surrogate is left


@pytest.mark.parametrize(
    "given_text,expected",
    [
        ("  growing\tof \n rice ", "growing of rice"),
        ("ﬁnishing № １２", "finishing No 12"),
        ("cafe\u0301", "café"),
        ("bad \ud800 half", "bad \ufffd half"),
        ("\ud83d\ude00", "😀"),
        ("\u200b \u00a0", "\u200b"),
    ],
)
def test_normalise(given_text: str, expected: str) -> None:
    assert normalise(given_text) == expected


def test_exact_key_forgets_case_and_the_final_stop() -> None:
    assert exact_key("Growing of  RICE.") == exact_key("growing of rice")
    assert exact_key("growing of rice") != exact_key("growing of rices")


@given(st.lists(st.text(max_size=30), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_chunks_cover_all_in_order_within_bounds(texts: list[str], size: int, characters: int) -> None:
    parts = list(chunks(texts, size, characters))
    assert [t for part in parts for t in texts[part]] == texts
    for part in parts:
        inside = texts[part]
        assert 1 <= len(inside) <= size
        assert len(inside) == 1 or sum(map(len, inside)) <= characters
