"""The peers, all in one shape: parts fitted on train, combined and tuned on dev, asked for probabilities [n, K].

A model is a few parts with weights and one temperature. Tuned numbers (temperature, k, tau, weights) come from dev
alone; nothing here sees test before it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from hedgerow.kinds.text_search import largest
from hedgerow.systems.isic.parts import Fold, Part, Piece, Vectors


@dataclass(frozen=True)
class Model:
    """Parts, how they are combined, and one temperature: what is saved as a Pack and what the table scores."""

    parts: tuple[Part, ...]
    weights: tuple[float, ...]
    rule: str = "mean"  # 'mean' of probabilities, or 'first': the first part that answers at all
    temperature: float = 1.0
    tuned: Mapping[str, Any] = field(default_factory=dict)  # what dev chose, for the record

    def proba(self, texts: Sequence[str], vectors: Vectors) -> np.ndarray:
        """float32 [n, K]: softmax(log(mixture) / temperature)."""
        each = [part.answer(texts, vectors) for part in self.parts]
        return sharpen(combine(each, self.weights, self.rule), self.temperature)


def combine(
    each: Sequence[tuple[np.ndarray, np.ndarray | None]], weights: Sequence[float], rule: str = "mean"
) -> np.ndarray:
    """Mixture [n, K] of the parts' probabilities."""
    if rule == "mean":
        total = sum(weights)
        return np.asarray(sum(np.float32(w / total) * p for w, (p, _) in zip(weights, each)), np.float32)
    out = each[-1][0].copy()
    for p, hit in reversed(each[:-1]):
        out[hit] = p[hit]
    return out


def sharpen(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(p) / temperature): above 1 it takes confidence back, below 1 it adds some; the order stays."""
    z = np.log(np.maximum(p, 1e-12)) / temperature
    z = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(z / z.sum(1, keepdims=True), np.float32)


def fit_temperature(p: np.ndarray, gold: np.ndarray, weight: np.ndarray) -> float:
    """The temperature in 0.2..5 under which the acceptable classes of dev are most likely."""

    def loss(t: float) -> float:
        return float(-weight @ np.log(np.maximum((sharpen(p, t) * gold).sum(1), 1e-12)))

    return float(min(np.geomspace(0.2, 5.0, 65), key=loss)) if len(p) else 1.0


def calibrated(model: Model, fold: Fold) -> Model:
    """The model with its temperature from dev, and the confidences at which dev is right 90 and 95 times in 100."""
    p = replace(model, temperature=1.0).proba(fold.dev.texts, fold.vectors)
    temperature = fit_temperature(p, fold.dev.gold, fold.dev_weight)
    thresholds = {
        f"{t:.2f}": threshold(sharpen(p, temperature), fold.dev.gold, t, fold.dev_weight) for t in (0.90, 0.95)
    }
    return replace(model, temperature=temperature, tuned={**model.tuned, "thresholds": thresholds})


def threshold(p: np.ndarray, gold: np.ndarray, precision: float, weight: np.ndarray) -> float:
    """The lowest confidence above which answers reach ``precision``; 1 where none does."""
    if not len(p):
        return 1.0
    confidence, hit = p.max(1), np.take_along_axis(gold, ranked(p, 1), 1)[:, 0]
    order = np.argsort(-confidence, kind="stable")
    right, all_ = np.cumsum((weight * hit)[order]), np.cumsum(weight[order])
    last = np.append(np.diff(confidence[order]) != 0, True)  # equal confidences are answered together
    reached = np.flatnonzero(last & (right >= precision * all_ - 1e-6))
    return min(1.0, float(confidence[order][reached[-1]])) if len(reached) else 1.0


def same_mix(like: Model, parts: Sequence[Piece]) -> Model:
    """Fresh parts in the mixture, with the settings, temperature and thresholds that ``like`` was given by dev."""
    fresh = {part.member.type: part for part in parts}
    old = [part for part in like.parts if isinstance(part, Piece)]
    made = tuple(fresh[p.member.type].set(**p.member.settings) for p in old)
    return replace(like, parts=made)


def single(part: Part, fold: Fold) -> Model:
    """One part alone."""
    return calibrated(Model((part,), (1.0,)), fold)


def first(parts: Sequence[Part], fold: Fold) -> Model:
    """The first part that answers."""
    return calibrated(Model(tuple(parts), (1.0,) * len(parts), "first"), fold)


def simplex(parts: int, step: float = 0.2) -> Iterable[tuple[float, ...]]:
    """All weightings in steps of ``step`` that sum to one."""
    n = round(1 / step)
    return (tuple(s / n for s in shares) for shares in product(range(n + 1), repeat=parts) if sum(shares) == n)


KNN_GRID = tuple(product((5, 20, 60), (0.02, 0.05, 0.1)))  # (k, tau)


def is_knn(part: Part) -> bool:
    """Whether k and tau are to be tuned."""
    return isinstance(part, Piece) and part.member.type == "trunk-knn"


def mix(parts: Sequence[Part], fold: Fold, step: float = 0.2) -> Model:
    """The weights, k and tau of the mixture that rank dev's acceptable classes best (mean reciprocal rank).

    A weight of zero drops a part; the plain mean of both regressions is about one of the choices.
    """
    texts, gold = fold.dev.texts, fold.dev.gold
    fixed = {i: part.answer(texts, fold.vectors) for i, part in enumerate(parts) if not is_knn(part)}
    best: tuple[float, tuple[float, ...], tuple[int, float], list[Part]] | None = None
    for k, tau in KNN_GRID if len(fixed) < len(parts) else ((0, 0.0),):
        tuned = [part.set(k=k, tau=tau) if isinstance(part, Piece) and is_knn(part) else part for part in parts]
        each = [fixed[i] if i in fixed else part.answer(texts, fold.vectors) for i, part in enumerate(tuned)]
        for weights in simplex(len(parts), step):
            score = reciprocal_rank(combine(each, weights), gold, fold.dev_weight)
            if best is None or score > best[0]:
                best = score, weights, (k, tau), tuned
    assert best is not None
    score, weights, (k, tau), tuned = best
    kept = [(part, w) for part, w in zip(tuned, weights) if w > 0]
    record = {"weights": list(weights), "k": k, "tau": tau, "dev_mrr": round(score, 4)}
    return calibrated(Model(tuple(p for p, _ in kept), tuple(w for _, w in kept), tuned=record), fold)


def reciprocal_rank(p: np.ndarray, gold: np.ndarray, weight: np.ndarray) -> float:
    """Mean of 1 / rank of the best acceptable class: smoother than accuracy where dev is small.

    Equal probabilities share the middle of their ranks: else a model that gives most classes exactly nothing, as a few
    neighbours do, would rank all of them right behind those few.
    """
    best = np.where(gold, p, -1).max(1, keepdims=True)
    above, equal = (p > best).sum(1), (p == best).sum(1)
    return float(weight @ (1 / (1 + above + (equal - 1) / 2)) / weight.sum())


def ranked(p: np.ndarray, k: int) -> np.ndarray:
    """int64 [n, k]: the most probable classes, best first."""
    return largest(p, k)[0]
