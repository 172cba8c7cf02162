"""Each member against its formula in a plain loop, or against scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import text_toys

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import MEMBERS, Batch, Member, MemberEngine, Spot, softmax
from hedgerow.kinds.text_search import Vectors

TREE = Tree(text_toys.LABELS)
K = len(TREE)
RNG = np.random.default_rng(11)
H = RNG.normal(size=(5, 12)).astype(np.float32)
STORED = RNG.normal(size=(30, 12)).astype(np.float32)
OWNERS = RNG.integers(0, K, 30)


def built(member: Member, **spot: Any) -> MemberEngine:
    return MEMBERS[member.type](member.settings, member.arrays, member.tables, Spot(TREE, "member", **spot))


def answer(member: Member, texts: list[str] | None = None, **spot: Any) -> np.ndarray:
    batch = Batch(texts or [f"text {i}" for i in range(len(H))], lambda asked: H[: len(asked)])
    p, answers = built(member, **spot).probabilities(batch)
    assert answers is None
    assert p.dtype == np.float32 and p.shape == (len(batch.texts), K)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    return p


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(float(a @ a)) / math.sqrt(float(b @ b)))


@pytest.mark.parametrize("dtype,tolerance", [(np.float32, 1e-6), (np.float16, 2e-3)])
def test_tfidf_linear_is_the_regression_of_scikit_learn(dtype: type, tolerance: float) -> None:
    both, head = text_toys.fitted()
    asked = [normalise(t) for t in [*text_toys.TEXTS, "rice and bread", "software for cattle farms", "§"]]
    p = answer(text_toys.tfidf_linear(dtype), asked)
    np.testing.assert_allclose(p, head.predict_proba(both.transform(asked)), atol=tolerance)


def test_a_head_for_some_classes_gives_the_others_nothing() -> None:
    member = text_toys.tfidf_linear()
    few = np.array([6, 2, 3])
    arrays = {**member.arrays, "coef": member.arrays["coef"][few], "intercept": member.arrays["intercept"][few]}
    p = answer(Member(member.type, member.settings, {**arrays, "classes": few}, member.tables), ["bread bakery"])
    full = answer(member, ["bread bakery"])
    np.testing.assert_allclose(p[0, few], full[0, few] / full[0, few].sum(), atol=1e-6)
    assert p[0, [0, 1, 4, 5, 7]].tolist() == [0] * 5


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_trunk_linear(unit: bool, scaled: bool) -> None:
    arrays = text_toys.trunk_members()[0].arrays
    arrays = dict(arrays) if scaled else {n: arrays[n] for n in ("W", "b")}
    p = answer(Member("trunk-linear", {"unit": unit}, arrays))
    for row, h in zip(p, H.astype(np.float64)):
        z = h / np.linalg.norm(h) if unit else h
        z = (z - arrays.get("mean", 0)) / arrays.get("scale", 1)
        scores = [float(w @ z) + float(b) for w, b in zip(arrays["W"], arrays["b"])]
        total = sum(math.exp(s) for s in scores)
        np.testing.assert_allclose(row, [math.exp(s) / total for s in scores], atol=1e-5)


@pytest.mark.parametrize("k,tau", [(1, 0.05), (4, 0.1), (30, 1.0), (500, 0.02)])
@pytest.mark.parametrize("own", [True, False])
def test_trunk_knn(k: int, tau: float, own: bool) -> None:
    arrays = {"vectors": STORED, "labels": OWNERS} if own else {}
    p = answer(Member("trunk-knn", {"k": k, "tau": tau}, arrays), examples=Vectors(STORED, OWNERS))
    for row, h in zip(p, H):
        cosines = sorted(((cosine(h, v), int(c)) for v, c in zip(STORED, OWNERS)), reverse=True)[:k]
        weights = [0.0] * K
        for value, label in cosines:
            weights[label] += math.exp(value / tau)
        np.testing.assert_allclose(row, [w / sum(weights) for w in weights], atol=2e-5)


def test_trunk_titles() -> None:
    titles = STORED[:K]
    p = answer(Member("trunk-titles", {"scale": 7.0}, {"vectors": titles}))
    for row, h in zip(p, H):
        weights = [math.exp(7.0 * cosine(h, t)) for t in titles]
        np.testing.assert_allclose(row, [w / sum(weights) for w in weights], atol=1e-5)


def test_exact_answers_what_it_knows_and_passes_on_the_rest() -> None:
    table = {"Growing of rice.": ["0112"], "bread": ["1071", "1075"]}
    texts = ["growing OF rice", "bread", "bread rolls", "BREAD ."]
    p, answers = built(Member("exact", tables={"table": table})).probabilities(Batch(texts))
    assert answers is not None and answers.tolist() == [True, True, False, True]
    assert p[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert p[1].tolist() == p[3].tolist() == [0, 0, 0, 0.5, 0.5, 0, 0, 0]
    assert not p[2].any()


def test_prior_is_the_same_for_all() -> None:
    p = answer(Member("prior", arrays={"p": np.array([3.0, 1, 0, 0, 0, 0, 0, 4])}))
    np.testing.assert_allclose(p, np.tile([0.375, 0.125, 0, 0, 0, 0, 0, 0.5], (len(H), 1)))


def test_only_exact_can_pass() -> None:
    passing = {"exact"}
    for name, make in MEMBERS.items():
        assert vars(make)["passes"] == (name in passing)


def test_softmax_of_large_scores() -> None:
    p = softmax(np.array([[1e4, 1e4 - 1, -1e4]], np.float32))
    np.testing.assert_allclose(p, [[1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0]], atol=1e-6)


def test_the_trunk_is_asked_once_for_all_members() -> None:
    calls: list[int] = []

    def encode(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        return H[: len(texts)]

    batch = Batch(["a", "b"], encode)
    for member in text_toys.trunk_members():
        built(member, examples=Vectors(STORED, OWNERS)).probabilities(batch)
    assert calls == [2]
    with pytest.raises(HedgerowError, match="no trunk"):
        _ = Batch(["a"]).vectors


def changed(number: int, **arrays: Any) -> Member:
    member = [text_toys.tfidf_linear(), *text_toys.trunk_members()][number]
    return Member(member.type, member.settings, {**member.arrays, **arrays}, member.tables)


def nan(shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape)
    out.flat[0] = np.nan
    return out


F = len(text_toys.tfidf_linear().arrays["idf"])
BAD = [
    (changed(0, coef=np.zeros((K, F - 1))), "coef has shape"),
    (changed(0, coef=np.zeros((K - 1, F))), "coef has shape"),
    (changed(0, coef=np.zeros((K, F), np.int32)), "where real numbers are expected"),
    (changed(0, coef=nan((K, F))), "not finite"),
    (changed(0, coef=np.full((K, F), 1e300)), "beyond float32"),
    (changed(0, idf=-np.ones(F)), "idf"),
    (changed(0, idf=np.ones(F + 1)), "idf has shape"),
    (changed(0, classes=np.array([0, 0])), "each once"),
    (changed(0, classes=np.array([0, 8])), "outside the 8 classes"),
    (changed(0, classes=np.array([0.5])), "whole numbers"),
    (changed(0, more=np.zeros(1)), "'more' belongs to no part"),
    (Member("tfidf-linear", text_toys.BLOCKS, {}, {}), "'idf' is missing"),
    (Member("tfidf-linear", {"blocks": []}, {}, {}), "blocks"),
    (Member("tfidf-linear", {**text_toys.BLOCKS, "norn": "l2"}, {}, {}), "did you mean 'norm'"),
    (changed(1, W=np.zeros((K, 11))), "has 11 columns, the trunk gives 12"),
    (changed(1, scale=np.zeros(12)), "not positive"),
    (changed(1, W=np.zeros(12)), "expected rows of trunk vectors"),
    (changed(2, vectors=STORED), "'labels' is missing"),
    (changed(2, vectors=STORED, labels=OWNERS[:-1]), "30 whole numbers"),
    (changed(2, vectors=STORED, labels=OWNERS - 1), "outside the 8 classes"),
    (changed(2), "neither vectors of its own nor examples"),
    (changed(2, vectors=STORED[:0], labels=OWNERS[:0]), "no vectors"),
    (changed(3, vectors=STORED[: K - 1]), "vectors has shape"),
    (Member("trunk-titles", {"scale": 0}, {"vectors": STORED[:K]}), "scale"),
    (Member("trunk-knn", {"tau": float("nan")}, {"vectors": STORED, "labels": OWNERS}), "tau"),
    (Member("prior", arrays={"p": np.zeros(K)}), "not all 0"),
    (Member("prior", arrays={"p": -np.ones(K)}), ">= 0"),
    (Member("exact", tables={"table": {"a": ["0113"]}}), "no class is called '0113'"),
    (Member("exact", tables={"table": {"a": []}}), "at least one code"),
    (Member("exact", tables={"table": ["a"]}), "not text -> codes"),
    (Member("exact", {"x": 1}, tables={"table": {}}), "unknown key 'x'"),
]


@pytest.mark.parametrize("member,message", BAD, ids=[f"{m.type}: {t}" for m, t in BAD])
def test_parts_that_do_not_fit(member: Member, message: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        built(member, dim=12)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "table,message",
    [(["rice", "rice"], "twice"), (["rice", 3], "not a list of terms"), ({"rice": 0}, "not a list of terms")],
)
def test_vocabularies_that_are_none(table: Any, message: str) -> None:
    member = text_toys.tfidf_linear()
    with pytest.raises(HedgerowError, match=message):
        built(Member(member.type, member.settings, member.arrays, {**member.tables, "word": table}))
