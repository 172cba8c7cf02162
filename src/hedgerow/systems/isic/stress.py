"""Peers and Packs asked for the names of the split `stress`, whose labels are noisy: never to train on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import kinds, metrics, run
from hedgerow.errors import HedgerowError
from hedgerow.pack import open_pack
from hedgerow.systems.isic.grid import Grid, bits, percents
from hedgerow.systems.isic.peers import cheap
from hedgerow.systems.isic.task import IsicTask, make_task

ASKED = ("majority", "zeroshot", "tfidf", "minilm-nn", "minilm-head", "mix")


def run_peers(grid: Grid, seeds: Sequence[int]) -> None:
    """Cheap peers, trained on coded texts; scored also apart by whether ecoinvent's own label agrees."""
    for seed in seeds:
        if all(grid.has("stress", {"model": name}, seed) for name in ASKED):
            continue
        task, fold = grid.task("stress", seed)
        peers = cheap(fold, seed)
        for name in ASKED:
            grid.score("stress", {"model": name}, seed, task, fold, peers[name], by="ecoinvent")


def ask_pack(root: Path, folder: Path) -> Path:
    """What a built Pack answers, as the cell ``pack-<preset>``; HedgerowError where its classes are not the 419."""
    pack = open_pack(folder)
    if pack.info.system != "isic" or pack.json("labels.json")["scheme"] != "ISIC Rev.4":
        raise HedgerowError(f"{folder} does not answer in the 419 classes of ISIC Rev.4")
    started, task = time.time(), make_task("stress", {"seed": pack.info.seed or 0})
    model = kinds.open(pack)
    test = task.splits["test"]
    answers = model.predict([e.input for e in test], top=5, nearest=0)
    threshold = pack.json("model.json")["calibration"]["thresholds"]
    found, items = scored(task, answers, {name: float(threshold.get(name, 1.0)) for name in ("0.90", "0.95")})
    found["pack"] = pack.digest
    config = {"model": f"pack-{pack.info.preset or 'own'}"}
    return run.save_result(root, "isic", "stress", config, task.split.seed, found, items, started)


def scored(
    task: IsicTask, answers: Sequence[dict[str, Any]], thresholds: dict[str, float]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores and outcomes per name of answers that a Pack gave, in the form of a cell."""
    test = task.splits["test"]
    first = [a["candidates"][0] for a in answers]
    confidence = np.array([float(c["p"]) for c in first])
    top1 = np.array([c["code"] in e.gold for c, e in zip(first, test)])
    top5 = np.array([any(c["code"] in e.gold for c in a["candidates"][:5]) for a, e in zip(answers, test)])
    found: dict[str, Any] = {**task.score(test, answers), "by": task.by("ecoinvent", test, answers)}
    for name, bar in thresholds.items():
        sure = metrics.group_bootstrap(confidence >= bar, [e.group for e in test], resamples=1000)
        found[f"answered_{name[2:]}"] = sure.score(len(test))
    return found, {"top1": bits(top1), "top5": bits(top5), "confidence": percents(confidence)}
