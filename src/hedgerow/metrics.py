"""Scores with intervals. numpy only: a device scores a Pack without scikit-learn or scipy.

A **statistic** is a function ``(values [n, …], weights [R, n]) -> [R]``: it scores R weightings of the same n rows at
once. Ones give the plain score; the counts of a bootstrap give its resamples, so one definition serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hedgerow.errors import HedgerowError

Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[Any], Floats], Floats]


class Interval(NamedTuple):
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float

    def score(self, n: int) -> dict[str, float]:
        """``{value, low, high, n}``: how a score line and a Task's ``score`` write it."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": n}


class Coverage(NamedTuple):
    """The share of rows that is answered when everything below ``threshold`` is left to a person."""

    coverage: float
    accuracy: float  # among the answered rows
    threshold: float | None  # answer where confidence >= threshold; None: no threshold reaches the target


class Curve(NamedTuple):
    """Coverage against accuracy, one point per distinct confidence, from the most confident on; each [m]."""

    threshold: Floats
    coverage: Floats
    accuracy: Floats


# ---- from answers to numbers per row -------------------------------------------------------------------------------


def topk_hits(ranked: Sequence[Sequence[str]], gold: Sequence[Collection[str]], k: int) -> Floats:
    """[n] of 1.0 where one of the first ``k`` ranked labels is acceptable (in the row's gold set), else 0.0."""
    _same_length(ranked, gold)
    return np.array([float(any(label in answers for label in row[:k])) for row, answers in zip(ranked, gold)])


def chosen_gold(predicted: Sequence[str], gold: Sequence[Collection[str]]) -> list[str]:
    """One gold label per row, for scores that need one: the predicted label where it is acceptable, else the first."""
    _same_length(predicted, gold)
    return [label if label in answers else min(answers) for label, answers in zip(predicted, gold)]


def label_pairs(gold: Sequence[str], predicted: Sequence[str]) -> NDArray[np.int64]:
    """[n, 2] of (gold, predicted) as numbers: the values that :func:`macro_f1_of` scores."""
    _same_length(gold, predicted)
    _, codes = np.unique(np.array([*gold, *predicted], dtype=str), return_inverse=True)
    return codes.reshape(2, -1).T.astype(np.int64)


def ancestor_overlap(
    predicted: Sequence[str], gold: Sequence[Collection[str]], ancestors: Callable[[str], Collection[str]]
) -> Floats:
    """[n, 2] of (2·|P∩G|, |P|+|G|), the values that :func:`ratio` turns into the hierarchical F1.

    P and G are the ancestor sets (the label among them, the root not) of the predicted and of a gold label; of several
    acceptable labels, the one that overlaps best counts. ``ancestors("")`` should be empty: nothing was answered.
    """
    _same_length(predicted, gold)
    known: dict[str, frozenset[str]] = {}

    def above(label: str) -> frozenset[str]:
        if label not in known:
            known[label] = frozenset(ancestors(label))
        return known[label]

    rows = np.zeros((len(predicted), 2))
    for row, (label, answers) in enumerate(zip(predicted, gold)):
        guess = above(label)
        pairs = [(2.0 * len(guess & above(answer)), float(len(guess) + len(above(answer)))) for answer in answers]
        rows[row] = max(pairs, key=lambda pair: (pair[0] / pair[1] if pair[1] else 0.0, -pair[1]), default=(0.0, 0.0))
    return rows


# ---- statistics: (values, weights [R, n]) -> [R] -------------------------------------------------------------------


def mean(values: NDArray[Any], weights: Floats) -> Floats:
    """Weighted mean of ``values`` [n]; with hits it is the accuracy."""
    return _divide(weights @ np.asarray(values, float), weights.sum(1))


def ratio(values: NDArray[Any], weights: Floats) -> Floats:
    """Sum of the first column of ``values`` [n, 2] over the sum of the second: a micro average."""
    sums = weights @ np.asarray(values, float)
    return _divide(sums[:, 0], sums[:, 1])


def macro_f1_of(values: NDArray[Any], weights: Floats) -> Floats:
    """Mean F1 over the labels that occur as gold with positive weight; ``values`` [n, 2] as :func:`label_pairs` gives.

    F1 of a label = 2·TP / (gold + predicted); a label that is only ever predicted has no F1 of its own, but its false
    positives lower nobody else's.
    """
    gold, predicted = values[:, 0], values[:, 1]
    labels = np.unique(gold)
    truth = _sums_by(gold, weights, labels)
    guesses = _sums_by(predicted, weights, labels)
    hits = _sums_by(gold, weights * (gold == predicted), labels)
    f1 = _divide(2 * hits, truth + guesses)
    return _divide((f1 * (truth > 0)).sum(1), (truth > 0).sum(1).astype(float))


def ece_of(bins: int = 15) -> Statistic:
    """Expected calibration error over equal-mass bins (Naeini et al. 2015; equal mass as in Nguyen & O'Connor 2015).

    The statistic's ``values`` are [n, 2] of (confidence, hit). Rows of equal confidence share their mean hit, so the
    error does not depend on the order of the rows.
    """

    def statistic(values: NDArray[Any], weights: Floats) -> Floats:
        confidence, hit, weight, starts = _by_confidence(values, weights)
        runs = np.diff([*starts, len(confidence)])
        tied = _divide(np.add.reduceat(weight * hit, starts, axis=1), np.add.reduceat(weight, starts, axis=1))
        middle = np.cumsum(weight, axis=1) - weight / 2
        bin_ = np.minimum((middle / weight.sum(1, keepdims=True) * bins).astype(np.int64), bins - 1)
        gap = weight * (np.repeat(tied, runs, axis=1) - confidence)
        flat = (np.arange(len(weight))[:, None] * bins + bin_).ravel()
        sums = np.bincount(flat, gap.ravel(), minlength=len(weight) * bins).reshape(-1, bins)
        return _divide(np.abs(sums).sum(1), weight.sum(1))

    return statistic


def coverage_of(target: float) -> Statistic:
    """The largest coverage whose answered rows reach ``target`` accuracy; values [n, 2] of (confidence, hit)."""

    def statistic(values: NDArray[Any], weights: Floats) -> Floats:
        _, hit, weight, starts = _by_confidence(values, weights)
        ends = np.append(starts[1:], weight.shape[1]) - 1
        answered = np.cumsum(weight, axis=1)[:, ends]
        right = np.cumsum(weight * hit, axis=1)[:, ends]
        reached = right >= target * answered - 1e-9
        share: Floats = np.where(reached, answered, 0.0).max(1) / weight.sum(1)
        return share

    return statistic


# ---- plain scores --------------------------------------------------------------------------------------------------


def accuracy(hits: ArrayLike) -> float:
    """Mean of ``hits`` [n]."""
    return _plain(mean, np.asarray(hits))


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Macro F1 over the labels that are present in ``gold`` (the test), unlike a mean over every known label."""
    return _plain(macro_f1_of, label_pairs(gold, predicted))


def hierarchical_f1(overlap: ArrayLike) -> float:
    """Micro F1 over ancestor sets (Kiritchenko et al. 2005); ``overlap`` [n, 2] from :func:`ancestor_overlap`."""
    return _plain(ratio, np.asarray(overlap))


def ece(confidence: ArrayLike, hits: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of ``confidence`` [n] against ``hits`` [n]; see :func:`ece_of`."""
    return _plain(ece_of(bins), confident_hits(confidence, hits))


def confident_hits(confidence: ArrayLike, hits: ArrayLike) -> Floats:
    """[n, 2] of (confidence, hit): the values of :func:`ece_of` and :func:`coverage_of`."""
    return np.stack([np.asarray(confidence, float), np.asarray(hits, float)], axis=1)


def coverage_curve(confidence: ArrayLike, hits: ArrayLike) -> Curve:
    """Accuracy of the answered rows at every possible threshold. Raises HedgerowError when there is no row."""
    values = _some(confident_hits(confidence, hits))
    confidence, hit, _, starts = _by_confidence(values, np.ones((1, len(values))))
    ends = np.append(starts[1:], len(hit)) - 1
    answered = ends + 1.0
    return Curve(confidence[ends], answered / len(hit), np.cumsum(hit)[ends] / answered)


def coverage_at(confidence: ArrayLike, hits: ArrayLike, target: float) -> Coverage:
    """The threshold with the largest coverage whose answered rows reach ``target`` accuracy (or precision)."""
    curve = coverage_curve(confidence, hits)
    reached = np.flatnonzero(curve.accuracy >= target - 1e-12)
    if len(reached) == 0:
        return Coverage(0.0, 0.0, None)
    best = reached[-1]
    return Coverage(float(curve.coverage[best]), float(curve.accuracy[best]), float(curve.threshold[best]))


# ---- intervals -----------------------------------------------------------------------------------------------------


def group_bootstrap(
    values: ArrayLike,
    groups: Sequence[Hashable],
    statistic: Statistic = mean,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A score with its 95 % percentile interval, resampling whole groups with replacement (a cluster bootstrap).

    ``values`` [n, …] holds what the statistic scores, ``groups`` [n] the group of each row. One group alone says
    nothing about other groups: its interval has no width. Raises HedgerowError when there is no row.
    """
    rows = _some(np.asarray(values))
    return _interval(*_resampled([rows], groups, statistic, resamples, seed)[0])


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Hashable],
    statistic: Statistic = mean,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """``statistic(first) - statistic(second)`` with its 95 % interval, both on the same resampled groups.

    The two hold the same rows in the same order: two models asked the same questions. An interval that excludes 0
    means that they differ.
    """
    one, two = _some(np.asarray(first)), _some(np.asarray(second))
    _same_length(one, two)
    (value_1, draws_1), (value_2, draws_2) = _resampled([one, two], groups, statistic, resamples, seed)
    return _interval(value_1 - value_2, draws_1 - draws_2)


def _interval(value: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _resampled(
    values: Sequence[NDArray[Any]], groups: Sequence[Hashable], statistic: Statistic, resamples: int, seed: int
) -> list[tuple[float, Floats]]:
    """The plain score and [resamples] scores of each of ``values``, all on the same draws of groups."""
    _same_length(values[0], groups)
    _, group = np.unique(np.array([str(g) for g in groups]), return_inverse=True)
    count = int(group.max()) + 1
    rng = np.random.default_rng(seed)
    draws: list[list[Floats]] = [[] for _ in values]
    chunk = max(1, 2_000_000 // len(group))  # 16 MB of weights at a time
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)[:, group].astype(float)
        for held, rows in zip(draws, values):
            held.append(statistic(rows, weights))
    return [(_plain(statistic, rows), np.concatenate(held)) for rows, held in zip(values, draws)]


# ---- small parts ---------------------------------------------------------------------------------------------------


def _plain(statistic: Statistic, values: NDArray[Any]) -> float:
    return float(statistic(_some(values), np.ones((1, len(values))))[0])


def _by_confidence(values: NDArray[Any], weights: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Confidence [n], hit [n] and weights [R, n] from the most confident on, and where runs of equal ones start."""
    order = np.argsort(-values[:, 0], kind="stable")
    confidence, hit = values[order, 0], values[order, 1]
    starts = np.flatnonzero(np.append(True, np.diff(confidence) != 0))
    return confidence, hit, weights[:, order], starts


def _sums_by(labels: NDArray[Any], weights: Floats, wanted: NDArray[Any]) -> Floats:
    """[R, len(wanted)]: the weight of every wanted label; ``wanted`` is sorted."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums = np.add.reduceat(weights[:, order], starts, axis=1)
    out = np.zeros((len(weights), len(wanted)))
    place = np.searchsorted(wanted, present)
    inside = (place < len(wanted)) & (wanted[np.minimum(place, len(wanted) - 1)] == present)
    out[:, place[inside]] = sums[:, inside]
    return out


def _divide(above: Floats, below: Floats) -> Floats:
    """Elementwise; 0 where there is nothing to divide by."""
    quotient: Floats = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below != 0)
    return quotient


def _some(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) == 0:
        raise HedgerowError("nothing to score: there is no row")
    return values


def _same_length(one: Collection[Any] | NDArray[Any], two: Collection[Any] | NDArray[Any]) -> None:
    if len(one) != len(two):
        raise HedgerowError(f"cannot score {len(one)} rows against {len(two)}: they must be the same rows")
