"""Where a wrong answer comes from: does the nearest coded text carry the label that was answered, or not?

A *retrieval error* answers what the nearest example says: the neighbour led astray. A *head error* answers something
else: the regression or the titles did. Nearest is by cosine of frozen MiniLM vectors for every model, so the split of
errors is comparable; models that no trunk's vectors enter (TF-IDF) are asked the same question.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hedgerow import metrics, run
from hedgerow.kinds.text_search import Vectors, unit
from hedgerow.pack import Pack, read_arrays
from hedgerow.systems.isic import models
from hedgerow.systems.isic.folds import rows_of
from hedgerow.systems.isic.grid import Grid, bits
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold, Piece
from hedgerow.systems.isic.peers import cheap, peer_names
from hedgerow.systems.isic.task import IsicTask

ASKED = ("tfidf", "minilm-head", "mix", "mix+coded", "smollm2-head", "lm-head")  # fitted again in seconds
_LEARNT = ("coef", "intercept", "W", "b")  # arrays of a member that were fitted; vectors of examples are data


def run_errors(grid: Grid, splits: Sequence[str], seeds: Sequence[int]) -> None:
    """One cell a split, model and seed."""
    for seed in seeds:
        for split in splits:
            asked = [n for n in ASKED if n in peer_names(split)]
            missing = [n for n in asked if not grid.has("errors", {"split": split, "model": n}, seed)]
            if missing:
                task, fold = grid.task(split, seed)
                peers = cheap(fold, seed)
                for name in missing:
                    _cell(grid, {"split": split, "model": name}, seed, task, fold, peers[name]())


def _cell(grid: Grid, config: dict[str, Any], seed: int, task: IsicTask, fold: Fold, model: Model) -> None:
    started, test = time.time(), rows_of(task.splits["test"], fold.tree)
    answer = models.ranked(model.proba(test.texts, fold.vectors), 1)[:, 0]
    near = nearest(fold, test.texts, extra=config["model"].endswith("+coded"))
    found, items = compare(answer, near, test.gold, [e.group for e in task.splits["test"]])
    found["parameters"] = parameters(model, grid.trunks)
    run.save_result(grid.root, "isic", "errors", config, seed, found, items, started)
    print(f"errors {config} seed {seed}: {found['errors']} wrong, {found['retrieval']['value']:.3f} by retrieval")


def nearest(fold: Fold, texts: Sequence[str], extra: bool, trunk: str = "minilm") -> np.ndarray:
    """int64 [n]: class of the coded text that is nearest to each text."""
    rows = fold.rows(extra)
    search = Vectors(fold.vectors(trunk, rows.texts), rows.classes)
    ids, _ = search.nearest(unit(fold.vectors(trunk, texts)), 1)
    return np.asarray(rows.classes[ids[:, 0]])


def compare(
    answer: np.ndarray, near: np.ndarray, gold: np.ndarray, groups: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores and outcomes of ``answer`` [n] beside the label of the nearest example ``near`` [n]; gold is bool [n, K].

    ``retrieval``: share of the errors that answer what the nearest example says; ``right_near``: share of the errors
    whose nearest example was right, so that listening to it would have helped; ``agree_when_right``: how often a right
    answer is the nearest example's, the rate to hold ``retrieval`` against. Intervals over groups.
    """
    rows = np.arange(len(answer))
    right, same, helped = gold[rows, answer], answer == near, gold[rows, near]
    found: dict[str, Any] = {"errors": int((~right).sum()), "texts": len(answer)}
    for name, hits, some in (
        ("retrieval", same, ~right), ("head", ~same, ~right), ("right_near", helped, ~right),
        ("agree_when_right", same, right),
    ):  # fmt: skip
        if some.any():
            chosen = [g for g, s in zip(groups, some) if s]
            found[name] = metrics.group_bootstrap(hits[some], chosen, resamples=1000).score(int(some.sum()))
    return found, {"top1": bits(right), "as_nearest": bits(same), "nearest_right": bits(helped)}


def parameters(model: Model, trunks: Mapping[str, Pack]) -> int:
    """Fitted weights of a model's parts and all weights of the trunks that they need; stored examples are data."""
    pieces = [part for part in model.parts if isinstance(part, Piece)]
    fitted = sum(a.size for p in pieces for name, a in p.member.arrays.items() if name in _LEARNT)
    return fitted + sum(weights(trunks[name]) for name in sorted({p.trunk for p in pieces if p.trunk}))


def weights(trunk: Pack) -> int:
    """Numbers in a trunk's weight file."""
    return sum(array.size for array in read_arrays(trunk.file("weights.safetensors")).values())
