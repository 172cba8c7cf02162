"""What the cells of the grid come to: each goal beside what was reached, and the best LM against the best cheap model.

``python -m hedgerow.systems.isic.summary`` reads results/isic/peers and writes results/isic/summary.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import metrics, run
from hedgerow.run import Result
from hedgerow.systems.isic.splits import HELD_OUT

LANGUAGE_MODELS = ("lm-head", "smollm2-head", "smollm2-nn", "lora")
RERANKED = ("rerank",)  # a cheap model with a language model's say on top: a member of neither side
TRAINED_TRUNKS = ("encoder", "encoder-head", "encoder-nn", "encoder+tfidf", "encoder+dev", "encoder+e5")
PARAMETERS = {"smollm2": 134_515_008, "minilm": 22_713_216}  # of the trunks
GOALS = {
    "rows": ("rows", "accuracy", 0.97),
    "grouped_top1": ("grouped", "accuracy", 0.60),
    "grouped_top5": ("grouped", "top5", 0.85),
    "held_out": ("", "accuracy_single", 0.74),
    "ece_texts": ("texts", "ece", 0.05),
    "ece_names": ("names", "ece", 0.05),
    "ece_grouped": ("grouped", "ece", 0.05),
}


def summarise(root: Path) -> list[Path]:
    """Write one result a goal, and the comparison of language model and cheap model; returns the files."""
    cells = by_cell(run.load_results(root, "isic", "peers"))
    made = []
    for name, (split, metric, goal) in GOALS.items():
        found = held_out(cells, metric) if name == "held_out" else best(cells, split, metric)
        if found is not None:
            made.append(_save(root, {"goal": name}, {"goal": goal, **found}))
    against = lm_against_cheap(cells, by_cell(run.load_results(root, "isic", "splits"), "split"))
    if against is not None:
        made.append(_save(root, {"what": "lm"}, against))
    return made


def _save(root: Path, config: dict[str, Any], found: dict[str, Any]) -> Path:
    return run.save_result(root, "isic", "summary", config, 0, found, None, time.time())


def by_cell(results: Sequence[Result], *keys: str) -> dict[tuple[str, ...], list[Result]]:
    """(split, model) -> its seeds, in order."""
    found: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        found.setdefault(tuple(result.config[k] for k in keys or ("split", "model")), []).append(result)
    return {cell: sorted(seeds, key=lambda r: r.seed) for cell, seeds in found.items()}


def best(cells: dict[tuple[str, ...], list[Result]], split: str, metric: str) -> dict[str, Any] | None:
    """The model with the best mean over seeds; for ECE that of the model with the best top-1, not the best ECE.

    A model is named by what it reaches on top-1 (on the same split): one model a split, not one a metric.
    """
    models = {model: seeds for (s, model), seeds in cells.items() if s == split}
    if not models:
        return None
    name = max(models, key=lambda m: _mean(models[m], "accuracy"))
    return {"reached": _score(models[name], metric), "model": name, "seeds": len(models[name])}


def held_out(cells: dict[tuple[str, ...], list[Result]], metric: str) -> dict[str, Any] | None:
    """The one model with the best mean over the four schemes that were held out in turn."""
    models = {model for _, model in cells if all((f"system:{s}", model) in cells for s in HELD_OUT)}
    if not models:
        return None

    def mean(model: str) -> float:
        return statistics.fmean(_mean(cells[f"system:{s}", model], metric) for s in HELD_OUT)

    name = max(models, key=mean)
    scores = [_score(cells[f"system:{s}", name], metric) for s in HELD_OUT]
    # four independent test sets: the variance of a mean of four is a sixteenth of the sum of theirs
    half = float(np.sqrt(sum(((s["high"] - s["low"]) / 2) ** 2 for s in scores)) / len(scores))
    value = mean(name)
    reached = {"value": value, "low": value - half, "high": value + half, "n": sum(s["n"] for s in scores)}
    return {"reached": reached, "model": name, "seeds": min(len(cells[f"system:{s}", name]) for s in HELD_OUT)}


def lm_against_cheap(
    cells: dict[tuple[str, ...], list[Result]], splits: dict[tuple[str, ...], list[Result]], split: str = "grouped"
) -> dict[str, Any] | None:
    """Paired difference of the best language model and the best cheap model, over the seeds that both have."""
    models = {model: seeds for (s, model), seeds in cells.items() if s == split}
    lms = [m for m in models if m in LANGUAGE_MODELS]
    cheap = [m for m in models if m not in (*LANGUAGE_MODELS, *TRAINED_TRUNKS, *RERANKED)]
    if not lms or not cheap:
        return None
    one, two = (max(_fullest(models, names), key=lambda m: _mean(models[m], "accuracy")) for names in (lms, cheap))
    facts = {r.seed: r for r in splits[(split,)]}
    first, second = ({r.seed: r for r in models[m]} for m in (one, two))
    seeds = sorted(first.keys() & second.keys() & facts.keys())
    groups = [f"{s}/{g}" for s in seeds for g in facts[s].items["group"]]
    found: dict[str, Any] = {"lm": one, "cheap": two, "seeds": len(seeds)}
    for key, name in (("difference", "top1"), ("difference_top5", "top5")):
        hits = [np.concatenate([bits(side[s].items[name]) for s in seeds]) for side in (first, second)]
        found[key] = metrics.paired_bootstrap(hits[0], hits[1], groups).score(len(groups))
    found["lm_fit"], found["cheap_fit"] = (_mean(models[m], "fit_cpu_seconds") for m in (one, two))
    found["lm_parameters"], found["cheap_parameters"] = PARAMETERS["smollm2"], PARAMETERS["minilm"]
    return found


def _fullest(models: dict[str, list[Result]], names: Sequence[str]) -> list[str]:
    """Those with the most seeds: one lucky draw of the split must not stand against a mean of several."""
    most = max(len(models[name]) for name in names)
    return [name for name in names if len(models[name]) == most]


def bits(text: str) -> np.ndarray:
    """'0110…' -> float [n]."""
    return np.array([float(c) for c in text])


def _mean(results: Sequence[Result], metric: str) -> float:
    return statistics.fmean(_value(r.metrics[metric]) for r in results)


def _value(metric: Any) -> float:
    return float(metric["value"] if isinstance(metric, dict) else metric)


def _score(results: Sequence[Result], metric: str) -> dict[str, float]:
    """Mean over seeds of value and interval."""
    sides = ("value", "low", "high", "n")
    return {side: statistics.fmean(float(r.metrics[metric][side]) for r in results) for side in sides}


def main() -> None:
    """Summarise ``results`` of the folder that this is run in, or the one given."""
    for path in summarise(Path(sys.argv[1] if len(sys.argv) > 1 else "results")):
        print(path)


if __name__ == "__main__":
    main()
