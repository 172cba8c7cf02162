"""What the cells of the grid come to: each goal beside what was reached, the best LM against the best cheap model, and
the same outcomes by section, by scheme and by confidence (slices.py).

``python -m hedgerow.systems.isic.summary`` reads results/isic and writes results/isic/summary.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import metrics, run
from hedgerow.errors import HedgerowError
from hedgerow.run import Result
from hedgerow.systems.isic import cells as grid
from hedgerow.systems.isic import slices
from hedgerow.systems.isic.cells import Cells, bits, mean, mean_score
from hedgerow.systems.isic.splits import HELD_OUT

LIKE = {"lora": "lm-head"}  # same trunk and head; its adapters, under half a percent, are not counted
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
    """Write one result a goal, the comparison of language model and cheap model, and the slices; returns the files.

    Raises HedgerowError where the cells have moved on and `experiment facts` has not.
    """
    cells, splits = grid.load(root, "peers"), grid.load(root, "splits", "split")
    made = []
    for name, (split, metric, goal) in GOALS.items():
        found = held_out(cells, metric) if name == "held_out" else best(cells, split, metric)
        if found is not None:
            made.append(_save(root, {"goal": name}, {"goal": goal, **found}))
    against = lm_against_cheap(cells, splits, grid.load(root, "errors"))
    if against is not None:
        made.append(_save(root, {"what": "lm"}, against))
    for config, found in slices.all_of(root, cells, splits):
        made.append(_save(root, config, found))
    return made


def _save(root: Path, config: dict[str, Any], found: dict[str, Any]) -> Path:
    return run.save_result(root, "isic", "summary", config, 0, found, None, time.time())


def best(cells: Cells, split: str, metric: str) -> dict[str, Any] | None:
    """The model with the best mean over seeds; for ECE that of the model with the best top-1, not the best ECE.

    A model is named by what it reaches on top-1 (on the same split): one model a split, not one a metric.
    """
    models = grid.on(cells, split)
    name = grid.best(models)
    if name is None:
        return None
    reached = mean_score([r.metrics[metric] for r in models[name]])
    return {"reached": reached, "model": name, "seeds": len(models[name])}


def held_out(cells: Cells, metric: str) -> dict[str, Any] | None:
    """The one model with the best mean over the four schemes that were held out in turn."""
    name = grid.on_all(cells, slices.SCHEMES, metric=metric)
    if name is None:
        return None
    scores = [mean_score([r.metrics[metric] for r in cells[f"system:{s}", name]]) for s in HELD_OUT]
    # four independent test sets: the variance of a mean of four is a sixteenth of the sum of theirs
    half = float(np.sqrt(sum(((s["high"] - s["low"]) / 2) ** 2 for s in scores)) / len(scores))
    value = statistics.fmean(s["value"] for s in scores)
    reached = {"value": value, "low": value - half, "high": value + half, "n": sum(s["n"] for s in scores)}
    return {"reached": reached, "model": name, "seeds": min(len(cells[f"system:{s}", name]) for s in HELD_OUT)}


def lm_against_cheap(
    cells: Cells, splits: dict[tuple[str, ...], list[Result]], errors: Cells, split: str = "grouped"
) -> dict[str, Any] | None:
    """Paired difference of the best language model and the best cheap model, over the seeds that both have.

    How many parameters a model has is counted where it is fitted again (errors.py), or is that of its like.
    """
    models = grid.on(cells, split)
    one, two = grid.best(models, "lm"), grid.best(models, "cheap")
    if one is None or two is None:
        return None
    facts = {r.seed: r for r in splits[(split,)]}
    first, second = ({r.seed: r for r in models[m]} for m in (one, two))
    seeds = sorted(first.keys() & second.keys() & facts.keys())
    groups = [f"{s}/{g}" for s in seeds for g in facts[s].items["group"]]
    found: dict[str, Any] = {"lm": one, "cheap": two, "seeds": len(seeds)}
    for key, name in (("difference", "top1"), ("difference_top5", "top5")):
        hits = [np.concatenate([bits(side[s].items[name]) for s in seeds]) for side in (first, second)]
        found[key] = metrics.paired_bootstrap(hits[0], hits[1], groups).score(len(groups))
    for side, model in (("lm", one), ("cheap", two)):
        found[f"{side}_fit"] = mean(models[model], "fit_cpu_seconds")
        counted = errors.get((split, LIKE.get(model, model)))
        if counted:
            found[f"{side}_parameters"] = mean(counted, "parameters")
    return found


def main() -> None:
    """Summarise ``results`` of the folder that this is run in, or the one given."""
    try:
        made = summarise(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
    except HedgerowError as e:
        raise SystemExit(str(e)) from e
    for path in made:
        print(path)


if __name__ == "__main__":
    main()
