"""Metrics against scikit-learn, scipy and brute force; intervals that resample groups, not rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score

from hedgerow import metrics as m
from hedgerow.errors import HedgerowError

labels = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30)
pairs = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcdx")), min_size=1, max_size=40)
confident = st.lists(
    st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40
)


@given(pairs)
def test_macro_f1_and_accuracy_are_scikit_learns(rows: list[tuple[str, str]]) -> None:
    gold, predicted = [g for g, _ in rows], [p for _, p in rows]
    expected = f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)
    assert m.macro_f1(gold, predicted) == pytest.approx(expected)
    hits = m.topk_hits([[p] for p in predicted], [{g} for g in gold], 1)
    assert m.accuracy(hits) == pytest.approx(accuracy_score(gold, predicted))


@settings(deadline=None)
@given(pairs, st.integers(0, 1000))
def test_weighted_statistics_are_those_of_the_repeated_rows(rows: list[tuple[str, str]], seed: int) -> None:
    """A resample given as counts scores like the rows written out that many times."""
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(rows)))
    counts[:, 0] += 1
    gold, predicted = np.array([g for g, _ in rows]), np.array([p for _, p in rows])
    scores = m.macro_f1_of(m.label_pairs(list(gold), list(predicted)), counts.astype(float))
    for row, score in zip(counts, scores, strict=True):
        truth, guess = np.repeat(gold, row), np.repeat(predicted, row)
        expected = f1_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0)
        assert score == pytest.approx(expected)


@given(st.lists(st.tuples(labels, st.sets(st.sampled_from("abcdef"))), min_size=1, max_size=10), st.integers(1, 6))
def test_topk_hits_by_hand(rows: list[tuple[list[str], set[str]]], k: int) -> None:
    hits = m.topk_hits([r for r, _ in rows], [g for _, g in rows], k)
    assert hits.tolist() == [float(bool(set(ranked[:k]) & gold)) for ranked, gold in rows]


def test_of_several_acceptable_labels_the_predicted_one_is_chosen() -> None:
    assert m.chosen_gold(["b", "x"], [{"a", "b"}, {"c", "b"}]) == ["b", "b"]


def above(code: str) -> set[str]:
    """'0112' lies under '011', '01' and the section 'A'; nothing lies under an empty answer."""
    return {code[:2], code[:3], code, "A" if code < "05" else "B"} if code else set()


CODES = ["0111", "0112", "0121", "0510", "0520", ""]


@given(
    st.lists(
        st.tuples(st.sampled_from(CODES), st.sets(st.sampled_from(CODES[:-1]), min_size=1)), min_size=1, max_size=12
    )
)
def test_hierarchical_f1_by_brute_force(rows: list[tuple[str, set[str]]]) -> None:
    def f1(label: str, answer: str) -> float:
        return 2 * len(above(label) & above(answer)) / (len(above(label)) + len(above(answer)))

    shared = guessed = true = 0
    for label, gold in rows:
        best = max(sorted(gold), key=lambda answer: f1(label, answer))
        shared += len([node for node in above(label) if node in above(best)])
        guessed, true = guessed + len(above(label)), true + len(above(best))
    precision, recall = shared / guessed if guessed else 0, shared / true
    expected = 2 * precision * recall / (precision + recall) if shared else 0.0
    overlap = m.ancestor_overlap([p for p, _ in rows], [g for _, g in rows], above)
    assert m.hierarchical_f1(overlap) == pytest.approx(expected)


def ece_by_hand(confidence: list[float], hits: list[bool], bins: int) -> float:
    """One row after the other, each with its expected hit among equal confidences, into its bin."""
    order = sorted(range(len(hits)), key=lambda i: -confidence[i])
    sums = [[0.0, 0.0] for _ in range(bins)]
    for place, i in enumerate(order):
        tied = [j for j in order if confidence[j] == confidence[i]]
        box = sums[int((place + 0.5) / len(order) * bins)]
        box[0] += confidence[i]
        box[1] += sum(hits[j] for j in tied) / len(tied)
    return sum(abs(c - h) for c, h in sums) / len(order)


@given(confident, st.integers(1, 20), st.randoms())
def test_ece_by_hand_in_any_order(rows: list[tuple[float, bool]], bins: int, random: object) -> None:
    value = m.ece([c for c, _ in rows], [h for _, h in rows], bins)
    assert value == pytest.approx(ece_by_hand([c for c, _ in rows], [h for _, h in rows], bins), abs=1e-12)
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert m.ece([c for c, _ in rows], [h for _, h in rows], bins) == pytest.approx(value, abs=1e-12)


def test_ece_of_a_calibrated_and_of_a_boastful_model() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(size=20_000)
    hits = random.uniform(size=20_000) < p
    assert m.ece(p, hits) < 0.02
    assert m.ece(np.ones(20_000), hits) == pytest.approx(1 - hits.mean())


@given(confident, st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]))
def test_coverage_at_is_the_best_of_all_thresholds(rows: list[tuple[float, bool]], target: float) -> None:
    confidence, hits = np.array([c for c, _ in rows]), np.array([h for _, h in rows])
    best = m.Coverage(0.0, 0.0, None)
    for threshold in sorted(set(confidence), reverse=True):
        kept = confidence >= threshold
        if hits[kept].mean() >= target:
            best = m.Coverage(kept.mean(), hits[kept].mean(), threshold)
    assert m.coverage_at(confidence, hits, target) == pytest.approx(best)
    share = m.coverage_of(target)(m.confident_hits(confidence, hits), np.ones((1, len(rows))))
    assert share[0] == pytest.approx(best.coverage)


@given(confident)
def test_the_curve_ends_with_everything_answered(rows: list[tuple[float, bool]]) -> None:
    curve = m.coverage_curve([c for c, _ in rows], [h for _, h in rows])
    assert curve.coverage[-1] == 1 and curve.accuracy[-1] == pytest.approx(np.mean([h for _, h in rows]))
    assert (np.diff(curve.threshold) < 0).all() and (np.diff(curve.coverage) > 0).all()


# ---- intervals -----------------------------------------------------------------------------------------------------


def grouped(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """300 rows in 60 groups of uneven size whose rows resemble one another."""
    random = np.random.default_rng(seed)
    groups = random.integers(0, 60, 300)
    return (random.uniform(size=300) < random.uniform(size=60)[groups]).astype(float), groups


def test_interval_is_close_to_scipys() -> None:
    values, groups = grouped()
    sums = np.array([values[groups == g].sum() for g in np.unique(groups)])
    sizes = np.array([(groups == g).sum() for g in np.unique(groups)])
    theirs = bootstrap(
        (sums, sizes),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = m.group_bootstrap(values, groups, resamples=20_000, seed=2)
    assert ours.value == pytest.approx(values.mean())
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_rows_of_one_group_are_not_independent() -> None:
    """Repeating every row ten times within its group must not make the interval narrower."""
    values, groups = grouped()
    once = m.group_bootstrap(values, groups)
    often = m.group_bootstrap(np.repeat(values, 10), np.repeat(groups, 10))
    assert often == pytest.approx(once)
    rows = m.group_bootstrap(np.repeat(values, 10), range(3000))
    assert rows.high - rows.low < 0.5 * (once.high - once.low)


def test_paired_difference_uses_the_same_resamples() -> None:
    values, groups = grouped()
    constant = m.paired_bootstrap(values + 0.25, values, groups)
    assert constant == pytest.approx((0.25, 0.25, 0.25))
    other = np.roll(values, 1)
    one, two = m.group_bootstrap(values, groups, seed=5), m.group_bootstrap(other, groups, seed=5)
    both = m.paired_bootstrap(values, other, groups, seed=5)
    assert both.value == pytest.approx(one.value - two.value)
    reverse = m.paired_bootstrap(other, values, groups, seed=5)
    assert (both.low, both.high) == pytest.approx((-reverse.high, -reverse.low))


@settings(deadline=None, max_examples=25)
@given(arrays(float, st.integers(1, 20), elements=st.floats(0, 1)), st.integers(0, 10_000))
def test_an_interval_stays_within_the_values_and_is_the_same_again(values: np.ndarray, seed: int) -> None:
    groups = [f"g{i % 4}" for i in range(len(values))]
    first = m.group_bootstrap(values, groups, resamples=100, seed=seed)
    assert values.min() - 1e-9 <= first.low <= first.high <= values.max() + 1e-9
    assert first == m.group_bootstrap(values, groups, resamples=100, seed=seed)
    assert first.score(7) == {"value": first.value, "low": first.low, "high": first.high, "n": 7}


@pytest.mark.parametrize("name", ["macro_f1", "ratio", "ece", "coverage"])
def test_every_statistic_can_be_resampled(name: str) -> None:
    hits, groups = grouped()
    confidence = np.random.default_rng(3).uniform(size=300)
    values, statistic = {
        "macro_f1": (m.label_pairs(["a", "b", "c"] * 100, ["a", "b", "b"] * 100), m.macro_f1_of),
        "ratio": (np.stack([hits, np.ones(300)], 1), m.ratio),
        "ece": (m.confident_hits(confidence, hits), m.ece_of()),
        "coverage": (m.confident_hits(confidence, hits), m.coverage_of(0.6)),
    }[name]
    interval = m.group_bootstrap(values, groups, statistic, resamples=200)
    assert 0 <= interval.low <= interval.high <= 1
    plain = statistic(values, np.ones((1, 300)))[0]
    assert interval.value == pytest.approx(plain)


def test_chunks_do_not_change_the_scores_of_a_large_test() -> None:
    """419 classes, 6000 rows, 2000 resamples: the size that results are made with, in parts that fit in memory."""
    random = np.random.default_rng(0)
    gold = random.integers(0, 419, 6000)
    predicted = np.where(random.uniform(size=6000) < 0.6, gold, random.integers(0, 419, 6000))
    values = m.label_pairs([str(g) for g in gold], [str(p) for p in predicted])
    interval = m.group_bootstrap(values, random.integers(0, 2000, 6000), m.macro_f1_of)
    assert interval.low < interval.value < interval.high


def test_nothing_to_score_is_one_line() -> None:
    for call in (
        lambda: m.accuracy([]),
        lambda: m.macro_f1([], []),
        lambda: m.ece([], []),
        lambda: m.coverage_at([], [], 0.9),
        lambda: m.group_bootstrap([], []),
        lambda: m.paired_bootstrap([], [], []),
    ):
        with pytest.raises(HedgerowError, match="nothing to score"):
            call()
    with pytest.raises(HedgerowError, match="2 rows against 1"):
        m.macro_f1(["a", "b"], ["a"])
