"""Parts and mixtures on vectors that are made up: what is chosen on dev, and what the formulas give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Label, tree_of
from hedgerow.systems.isic import linear, models, parts
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold, Rows

TREE = tree_of([Label(code=f"0{i}11", title=t, group=f"0{i}1", division=f"0{i}") for i, t in enumerate(
    ("growing rice", "raising cattle", "baking bread"), start=1)])  # fmt: skip
WORDS = ("rice", "cattle", "bread", "paddy", "cow", "oven")


def vectors(trunk: str, texts: list[str]) -> np.ndarray:
    """Counts of the six words: what a perfect trunk would be, with synonyms on axes of their own."""
    out = np.array([[float(w in t.lower()) for w in WORDS] for t in texts], np.float32)
    return out + 0.01


def rows(pairs: list[tuple[str, int]]) -> Rows:
    gold = np.zeros((len(pairs), 3), bool)
    gold[np.arange(len(pairs)), [c for _, c in pairs]] = True
    return Rows(tuple(t for t, _ in pairs), gold)


TRAIN = rows(
    [
        ("rice farm", 0),
        ("rice paddy", 0),
        ("cattle farm", 1),
        ("cattle and cow", 1),
        ("bread oven", 2),
        ("bread shop", 2),
    ]
)
DEV = rows([("the paddy", 0), ("a cow", 1), ("an oven", 2)])


@pytest.fixture
def fold() -> Fold:
    return Fold(TREE, TRAIN, DEV, Rows((), np.zeros((0, 3), bool)), vectors)


def test_texts_of_one_class_train_nothing(fold: Fold) -> None:
    with pytest.raises(HedgerowError, match="two classes at least"):
        linear.head(replace(fold, train=rows([("rice farm", 0), ("rice paddy", 0)])), "any", 0)


def test_equal_probabilities_share_the_middle_of_their_ranks() -> None:
    gold = np.array([[False, False, False, True]])
    sure_of_others = np.array([[1.0, 0.0, 0.0, 0.0]])
    assert models.reciprocal_rank(sure_of_others, gold, np.ones(1)) == pytest.approx(1 / 3)  # ranks 2, 3, 4
    assert models.reciprocal_rank(np.full((1, 4), 0.25), gold, np.ones(1)) == pytest.approx(1 / 2.5)


def test_a_group_counts_for_at_most_the_cap_when_something_is_tuned() -> None:
    many = rows([(f"text {i}", 0) for i in range(100)] + [("lone", 1)])
    groups = ("big",) * 100 + ("lone",)
    weight = Fold(TREE, TRAIN, many, DEV, vectors, groups).dev_weight
    assert weight[:100].sum() == pytest.approx(parts.GROUP_CAP)
    assert weight[100] == 1


def test_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    gold = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], bool)
    ones = np.ones(4)
    assert models.threshold(p, gold, 1.0, ones) == pytest.approx(0.8)
    assert models.threshold(p, gold, 0.75, ones) == pytest.approx(0.6)
    assert models.threshold(p, ~gold, 0.9, ones) == 1.0
    tied = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert models.threshold(tied, gold[1:3], 0.9, np.ones(2)) == 1.0  # equal confidences are answered together


def test_temperature_finds_the_one_that_was_put_in() -> None:
    rng = np.random.default_rng(0)
    p = models.sharpen(rng.dirichlet(np.ones(5), 4000).astype(np.float32), 1.0)
    gold = np.eye(5, dtype=bool)[[rng.choice(5, p=row / row.sum()) for row in p.astype(float)]]
    assert models.fit_temperature(models.sharpen(p, 0.5), gold, np.ones(len(p))) == pytest.approx(2.0, rel=0.1)


def test_knn_equals_its_formula(fold: Fold) -> None:
    part = parts.knn(fold, "t", k=2, tau=0.1)
    p, _ = part.answer(["rice in a paddy"], vectors)
    x = vectors("t", ["rice in a paddy"])[0]
    stored = vectors("t", list(TRAIN.texts))
    cosine = stored @ x / np.linalg.norm(stored, axis=1) / np.linalg.norm(x)
    near = np.argsort(-cosine)[:2]
    wanted = np.zeros(3)
    np.add.at(wanted, TRAIN.classes[near], np.exp(cosine[near] / 0.1))
    assert p[0] == pytest.approx(wanted / wanted.sum(), abs=1e-5)


def test_titles_rank_by_cosine(fold: Fold) -> None:
    p, _ = parts.titles(fold, "t").answer(["a bread factory", "cattle"], vectors)
    assert p.argmax(1).tolist() == [2, 1]


def test_exact_match_goes_first_and_misses_fall_back(fold: Fold) -> None:
    model = models.first([parts.exact(fold), parts.prior(fold)], fold)
    p = model.proba(["Bread  SHOP.", "something else"], vectors)
    assert p[0].argmax() == 2
    assert p[0, 2] > 0.99
    assert p[1] == pytest.approx(models.sharpen(np.full((1, 3), 1 / 3), 1.0)[0], abs=1e-6)


def test_tfidf_knows_its_words_and_says_nothing_of_classes_it_never_saw(fold: Fold) -> None:
    some = Fold(TREE, rows([("rice farm", 0), ("rice paddy", 0), ("cattle farm", 1), ("cow", 1)]), DEV, DEV, vectors)
    p, _ = linear.tfidf(some, 0).answer(["rice paddy field", "cow"], vectors)
    assert p.argmax(1).tolist() == [0, 1]
    assert (p[:, 2] == 0).all()


def test_two_classes_give_the_probabilities_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), np.array([0, 2] * 20)
    coef, intercept, classes = linear._regression(x, y, 1.0, 0, 200)
    z = x @ coef.T + intercept
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    wanted = LogisticRegression(C=1.0, tol=1e-3, max_iter=200).fit(x, y).predict_proba(x)
    assert classes.tolist() == [0, 2]
    assert p == pytest.approx(wanted, abs=1e-4)


def test_mix_takes_the_part_that_is_right_on_dev_and_records_it(fold: Fold) -> None:
    wrong = parts.prior(fold)
    right = parts.titles(Fold(TREE, TRAIN, DEV, DEV, lambda n, t: np.eye(3)[: len(t)]), "oracle")

    def both(name: str, texts: list[str]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[: len(texts)] if name == "oracle" else vectors(name, texts)

    model = models.mix([wrong, right], Fold(TREE, TRAIN, DEV, DEV, both))
    assert model.proba(DEV.texts, both).argmax(1).tolist() == [0, 1, 2]
    assert model.tuned["dev_mrr"] == 1.0
    assert set(model.tuned["thresholds"]) == {"0.90", "0.95"}


def test_the_same_mixture_of_fresh_parts_keeps_what_dev_chose(fold: Fold) -> None:
    first = [parts.knn(fold, "t"), parts.titles(fold, "t"), linear.head(fold, "t", 0)]
    model = models.mix(first, fold)
    again = models.same_mix(model, [parts.knn(fold, "t"), parts.titles(fold, "t"), linear.head(fold, "t", 0)])
    texts = ["rice", "an old cow", "oven"]
    assert again.proba(texts, vectors) == pytest.approx(model.proba(texts, vectors), abs=1e-6)
    assert again.temperature == model.temperature


def test_simplex_covers_every_corner() -> None:
    found = list(models.simplex(3, 0.5))
    assert len(found) == 6
    assert all(sum(w) == pytest.approx(1) for w in found)
    assert (0.0, 0.0, 1.0) in found


def test_mixture_is_the_weighted_mean() -> None:
    a, b = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    assert models.combine([(a, None), (b, None)], (3.0, 1.0)) == pytest.approx(np.array([[0.75, 0.25]]))


def test_calibration_does_not_change_the_order(fold: Fold) -> None:
    model = Model((linear.head(fold, "t", 0),), (1.0,), temperature=3.0)
    cool = Model(model.parts, (1.0,), temperature=0.4)
    texts = list(TRAIN.texts)
    assert (model.proba(texts, vectors).argsort(1) == cool.proba(texts, vectors).argsort(1)).all()
