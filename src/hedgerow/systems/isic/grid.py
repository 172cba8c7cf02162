"""Cells of the grid: what one holds, where it is kept, and that a kept one is what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files, metrics, run
from hedgerow.errors import HedgerowError
from hedgerow.schema import check
from hedgerow.systems.isic import facts, features, models
from hedgerow.systems.isic.finetune import FineTune
from hedgerow.systems.isic.folds import fold_of, rows_of
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold
from hedgerow.systems.isic.peers import FROZEN
from hedgerow.systems.isic.task import IsicTask, make_task

PAPER = 0.9528  # accuracy of arXiv 2409.18988, split rule and size unknown; stands beside `rows`, never as a rival


def evaluate(model: Model, task: IsicTask, fold: Fold, by: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on test (thresholds from dev; with ``by`` also by a field's values), cost here, and outcomes per item."""
    test, gold = task.splits["test"], rows_of(task.splits["test"], fold.tree).gold
    threshold = {float(t): float(v) for t, v in model.tuned["thresholds"].items()}
    texts = [e.input for e in test]
    began = time.perf_counter()
    p = model.proba(texts, fold.vectors)
    seconds = time.perf_counter() - began
    best = models.ranked(p, 5)
    top = np.take_along_axis(gold, best, 1)
    answered = answers(p, best, fold, threshold[0.90])
    found: dict[str, Any] = task.score(test, answered)
    if by:
        found["by"] = task.by(by, test, answered)
    confidence, hit = p.max(1), top[:, 0].astype(float)
    groups = [e.group for e in test]
    for target, t in threshold.items():
        sure = confidence >= t
        name = f"{target * 100:.0f}"
        found[f"answered_{name}"] = metrics.group_bootstrap(sure, groups, resamples=1000).score(len(test))
        if sure.any():
            some = [g for g, s in zip(groups, sure) if s]
            score = metrics.group_bootstrap(hit[sure], some, resamples=1000).score(int(sure.sum()))
            found[f"precision_{name}"] = score
    found["temperature"], found["tuned"] = model.temperature, dict(model.tuned)
    found["ms_a_text"] = 1000 * seconds / len(test)  # head and search alone, in one batch; the trunk's is in `weigh`
    return found, {"top1": bits(top[:, 0]), "top5": bits(np.any(top, axis=1)), "confidence": percents(confidence)}


def answers(p: np.ndarray, best: np.ndarray, fold: Fold, threshold: float) -> list[dict[str, Any]]:
    """Answers of the shape that a Pack gives: five candidates and the decision at ``threshold``."""
    codes, nodes = fold.tree.codes, fold.tree.decide(p, threshold)
    return [
        {"candidates": [{"code": codes[c], "p": float(row[c])} for c in top], "decision": n.level, "code": n.code}
        for row, top, n in zip(p, best, nodes)
    ]


def bits(values: Any) -> str:
    """'0110…'."""
    return "".join("1" if v else "0" for v in values)


def percents(confidence: np.ndarray) -> str:
    """Two digits a text: the confidence in hundredths, cut off below."""
    return "".join(f"{min(99, int(c * 100)):02d}" for c in confidence)


# ---- where they are kept ---------------------------------------------------------------------------------------------
class Grid:
    """Where cells are kept, and the trunks that all of them share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trunks = {name: features.trunk(name) for name in ("minilm", *FROZEN)}
        self.vectors = features.Frozen(self.trunks, bf16=("smollm2", "e5"), quiet=True)

    def task(self, split: str, seed: int) -> tuple[IsicTask, Fold]:
        """A split with its facts saved once."""
        task = make_task(split, {"seed": seed})
        facts.save(self.root, task, seed)
        return task, fold_of(task.split, self.vectors)

    def has(self, experiment: str, config: dict[str, Any], seed: int, tuning: FineTune | None = None) -> bool:
        """Whether the cell is done. HedgerowError where it was made with another fine-tuning than ``tuning``.

        A cell's name does not tell its fine-tuning, so the cell itself does; one that says nothing has the defaults.
        """
        path = run.result_path(self.root, "isic", experiment, config, seed)
        if not path.exists():
            return False
        if tuning is not None:
            kept = check(run.Result, files.read_json(path), str(path)).metrics["tuned"].get("finetune", {})
            old, new = check(FineTune, kept, str(path)).model_dump(), tuning.model_dump()
            other = [f"{key}={old[key]}, not {new[key]}" for key in new if old[key] != new[key]]
            if other:
                raise HedgerowError(f"{path} was trained with {'; '.join(other)}: give other settings another --root")
        return True

    def score(
        self, experiment: str, config: dict[str, Any], seed: int, task: IsicTask, fold: Fold, fit: Callable[[], Model],
        by: str = "",
    ) -> None:  # fmt: skip
        """Fit, score and save one cell unless it is there; with ``by`` also apart for each value of that field."""
        if self.has(experiment, config, seed):
            return
        started = time.time()
        began = time.process_time()
        model = fit()
        cpu = time.process_time() - began
        found, items = evaluate(model, task, fold, by)
        beside = {"leak": task.split.facts()["leak"], "paper": PAPER} if task.split.name == "rows" else {}
        found |= {"fit_cpu_seconds": cpu, **beside}
        run.save_result(self.root, "isic", experiment, config, seed, found, items, started)
        a = found["accuracy"]["value"], found["top5"]["value"], found["ece"]["value"]
        print(f"{experiment} {config} seed {seed}: {a[0]:.3f} {a[1]:.3f} ece {a[2]:.3f} fit {cpu:.0f} s", flush=True)
