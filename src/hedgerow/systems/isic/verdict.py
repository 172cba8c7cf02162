"""What a person wants to know about their own file: is this model worth its cost, and how much of the file it codes."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow import files, metrics
from hedgerow.data.texts import read_user
from hedgerow.kinds import open as open_model
from hedgerow.pack import Pack
from hedgerow.run import Run
from hedgerow.systems.isic import linear, models, parts
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold
from hedgerow.systems.isic.task import IsicTask
from hedgerow.systems.isic.waste_cells import safe_cell

CHEAPER = {"linear": "exact-majority", "encoder": "linear", "lm": "linear", "finetuned": "linear"}


def verdict(config: Any, pack: Pack, task: IsicTask, fold: Fold, model: Model, run: Run) -> dict[str, Any]:
    """Compare with the cheaper model on the same test texts, say which to use, and how much of the file it can code.

    Written to verdict.json in the run's folder, into its events, and to stderr.
    """
    name = CHEAPER[config.model]
    found = compare(model, rival(config, name, fold, run), task, fold)
    found |= {"model": config.model, "cheaper": name, "coverage": coverage(pack, config.data, task, run)}
    found["text"] = sentence(found)
    files.write_json(run.folder / "verdict.json", found)
    run.event("verdict", **found)
    if not run.quiet:
        print(found["text"], file=sys.stderr)
    return found


def rival(config: Any, name: str, fold: Fold, run: Run) -> Model:
    """The cheaper model, fitted on the same texts."""
    if name == "exact-majority":
        return models.first([parts.exact(fold, True), parts.prior(fold)], fold)
    part = linear.tfidf(
        fold, run.seeds.order, True, words=config.words, characters=config.characters, strength=config.strength,
        passes=config.passes,
    )  # fmt: skip
    return models.single(part, fold)


def compare(model: Model, other: Model, task: IsicTask, fold: Fold) -> dict[str, Any]:
    """Accuracy of both on test and their paired difference, 95 % intervals over groups."""
    from hedgerow.systems.isic.folds import rows_of

    test = task.splits["test"]
    rows, groups = rows_of(test, fold.tree), [e.group for e in test]
    hit = [_hits(m, rows.texts, rows.gold, fold) for m in (model, other)]
    difference = metrics.paired_bootstrap(hit[0], hit[1], groups)
    scores = [metrics.group_bootstrap(h, groups).score(len(test)) for h in hit]
    return {"accuracy": scores[0], "cheaper_accuracy": scores[1], "difference": difference.score(len(test))}


def _hits(model: Model, texts: Sequence[str], gold: np.ndarray, fold: Fold) -> np.ndarray:
    best = models.ranked(model.proba(texts, fold.vectors), 1)
    return np.take_along_axis(gold, best, 1)[:, 0].astype(float)


def coverage(pack: Pack, file: str, task: IsicTask, run: Run, precision: str = "0.95") -> dict[str, Any]:
    """How much of the file the Pack codes by itself at ``precision``, at the threshold that dev gave.

    Measured on the coded test texts. The rows without a code get the *expected* share, and a sample of 100 answered
    ones is written for a person to check.
    """
    engine = open_model(pack).engine
    calibration = pack.json("model.json")["calibration"]
    bar = float(calibration["thresholds"].get(precision, 1.0))
    found: dict[str, Any] = {"precision": float(precision), "threshold": bar, "fitted_on": calibration["fitted_on"]}
    test = task.splits["test"]
    best = engine.predict([e.input for e in test], {"top": 1, "nearest": 0})
    sure = np.array([a["candidates"][0]["p"] >= bar for a in best])
    right = np.array([a["candidates"][0]["code"] in e.gold for a, e in zip(best, test)])
    groups = [e.group for e in test]
    found["covered"] = metrics.group_bootstrap(sure, groups).score(len(test))
    if sure.any():
        some = [g for g, s in zip(groups, sure) if s]
        found["precision_there"] = metrics.group_bootstrap(right[sure], some).score(int(sure.sum()))
    blank = [row for row in read_user(file) if row.error is None and not row.code]
    if blank:
        found["uncoded"] = _expected(engine, blank, bar, run)
    return found


def _expected(engine: Any, rows: Sequence[Any], bar: float, run: Run) -> dict[str, Any]:
    """The share of uncoded rows above the threshold, and 100 of them as a CSV with an empty column to fill."""
    asked = engine.predict([row.text for row in rows], {"top": 1, "nearest": 1})
    sure = [i for i, a in enumerate(asked) if a["candidates"][0]["p"] >= bar]
    picked = np.sort(run.seeds.generator("sample").permutation(sure)[:100]).astype(int).tolist() if sure else []
    table = io.StringIO()
    write = csv.writer(table)
    write.writerow(["line", "text", "code", "title", "p", "right"])
    for i in picked:
        first = asked[i]["candidates"][0]
        write.writerow([rows[i].line, safe_cell(rows[i].text), first["code"], first["title"], f"{first['p']:.3f}", ""])
    path = run.folder / "check-these-100.csv"
    files.write_text(path, table.getvalue())
    return {"rows": len(rows), "expected_covered": len(sure) / len(rows), "sample": path.name, "sampled": len(picked)}


def sentence(found: dict[str, Any]) -> str:
    """The verdict in a few lines."""
    d, c = found["difference"], found["coverage"]
    both = f"{found['model']} {_percent(found['accuracy'])}, {found['cheaper']} {_percent(found['cheaper_accuracy'])}"
    span = f"{100 * d['value']:+.1f} points ({100 * d['low']:+.1f} to {100 * d['high']:+.1f}), {d['n']} test texts"
    advice = f"use {found['model']}" if d["low"] > 0 else f"{found['cheaper']} is as good, use the cheaper one"
    there = f", of which {_percent(c['precision_there'])} are right" if "precision_there" in c else ""
    lines = [
        f"Verdict: {advice}: {both}; difference {span}.",
        f"At confidence {c['threshold']:.2f} ({c['fitted_on']}, for {100 * c['precision']:.0f} % precision) it codes "
        f"{_percent(c['covered'])} of the coded test texts by itself{there}: measured.",
    ]
    if "uncoded" in c:
        u = c["uncoded"]
        lines.append(
            f"Of {u['rows']} rows without a code it would code {100 * u['expected_covered']:.0f} %: expected, not "
            f"measured; check the {u['sampled']} rows in {u['sample']} of the run's folder."
        )
    return "\n".join(lines)


def _percent(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.1f} % ({100 * score['low']:.1f}-{100 * score['high']:.1f})"
