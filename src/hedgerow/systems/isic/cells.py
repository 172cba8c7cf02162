"""Finished cells of the grid as the summaries read them: in order, by name, and the best of a side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import run
from hedgerow.run import Result

LANGUAGE_MODELS = ("lm-head", "smollm2-head", "smollm2-nn", "lora")
RERANKED = ("rerank",)  # a cheap model with a language model's say on top: a member of neither side
TRAINED_TRUNKS = (
    "encoder", "encoder-head", "encoder-nn", "encoder+tfidf", "encoder+dev", "encoder+e5",
    "soup", "soup-head", "soup-nn", "soup+tfidf", "soup+dev",
)  # fmt: skip
SIDES = ("cheap", "fine", "lm")
ENOUGH = 3  # seeds: the plan of what takes minutes to train
Cells = Mapping[tuple[str, ...], list[Result]]  # (split, model) -> its seeds, in order


def load(root: Path, experiment: str, *keys: str) -> dict[tuple[str, ...], list[Result]]:
    """Results of an experiment by these keys of their config (default: split and model), seeds in order."""
    found: dict[tuple[str, ...], list[Result]] = {}
    for result in run.load_results(root, "isic", experiment):
        found.setdefault(tuple(result.config[k] for k in keys or ("split", "model")), []).append(result)
    return {cell: sorted(seeds, key=lambda r: r.seed) for cell, seeds in found.items()}


def side_of(model: str) -> str:
    """'lm', 'fine' (a trained trunk), 'cheap', or '' for a model that belongs to none."""
    if model in RERANKED:
        return ""
    return "lm" if model in LANGUAGE_MODELS else "fine" if model in TRAINED_TRUNKS else "cheap"


def on(cells: Cells, split: str) -> dict[str, list[Result]]:
    """model -> its seeds, on one split."""
    return {model: seeds for (s, model), seeds in cells.items() if s == split}


def best(models: Mapping[str, list[Result]], side: str = "", metric: str = "accuracy") -> str | None:
    """The model of a side (of all, with '') that is best over the seeds that all candidates share; None without a cell.

    A candidate has ENOUGH seeds, or as many as anybody: one lucky draw of the split must not stand against a mean.
    """
    mine = {m: seeds for m, seeds in models.items() if not side or side_of(m) == side}
    return _best({m: [seeds] for m, seeds in mine.items()}, metric)


def on_all(cells: Cells, splits: Sequence[str], side: str = "", metric: str = "accuracy") -> str | None:
    """The one model of a side with the best mean over several splits; candidates and seeds as for :func:`best`."""
    names = {model for _, model in cells if not side or side_of(model) == side}
    return _best({m: [cells[s, m] for s in splits] for m in names if all((s, m) in cells for s in splits)}, metric)


def _best(models: Mapping[str, list[list[Result]]], metric: str) -> str | None:
    """By name: for each split the seeds."""
    seeds = {m: set.intersection(*({r.seed for r in each} for each in splits)) for m, splits in models.items()}
    most = max(map(len, seeds.values()), default=0)
    kept = sorted(m for m in models if seeds[m] and len(seeds[m]) >= min(ENOUGH, most))
    if not kept:
        return None
    shared = set.intersection(*(seeds[m] for m in kept)) or set.union(*(seeds[m] for m in kept))

    def score(model: str) -> float:
        return statistics.fmean(mean([r for r in each if r.seed in shared], metric) for each in models[model])

    return max(kept, key=score)


def mean(results: Sequence[Result], metric: str) -> float:
    """Mean over seeds."""
    return statistics.fmean(_value(r.metrics[metric]) for r in results)


def _value(metric: Any) -> float:
    return float(metric["value"] if isinstance(metric, dict) else metric)


def mean_score(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of value, interval and n over the scores of several seeds."""
    return {side: statistics.fmean(float(s[side]) for s in scores) for side in ("value", "low", "high", "n")}


def bits(text: str) -> np.ndarray:
    """'0110…' -> float [n]."""
    return np.array([float(c) for c in text])


def percents(text: str) -> np.ndarray:
    """Two digits a text, hundredths -> float [n]."""
    return np.array([int(text[i : i + 2]) / 100 for i in range(0, len(text), 2)])
