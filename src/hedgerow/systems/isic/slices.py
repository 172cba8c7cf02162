"""The outcomes of the best model of each side, cut three ways: by section, by scheme, and by confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import metrics
from hedgerow.errors import HedgerowError
from hedgerow.run import Result
from hedgerow.systems.isic import cells as grid
from hedgerow.systems.isic.cells import SIDES, Cells, bits, mean_score, percents
from hedgerow.systems.isic.facts import by_value, values
from hedgerow.systems.isic.splits import HELD_OUT

SCHEMES = tuple(f"system:{s}" for s in HELD_OUT)
DRAWN = {"texts": "coded texts at random", "grouped": "ecoinvent, new products",
         "system:NAICS2017": "US scheme held out"}  # fmt: skip
LINES = {"cheap": "best cheap model", "fine": "best fine-tuned encoder", "lm": "best language model",
         "tfidf": "TF-IDF + LR"}  # fmt: skip
FEWEST = 20  # answered texts; the accuracy of fewer is noise
TARGETS = ("90", "95")
Splits = Mapping[tuple[str, ...], list[Result]]
NONE = "–"
Scores = dict[str, dict[str, Any]]  # value of the field -> column -> score


def all_of(root: Path, cells: Cells, splits: Splits) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(config, metrics) of every slice that there are cells for."""
    facts = _checked(grid.load(root, "facts", "split"), splits)
    sections = grid.load(root, "sections", "split")
    cut = {"section": by_section(cells, splits, facts, sections), "scheme": by_scheme(cells, splits, facts)}
    for name, found in cut.items():
        if found["models"]:
            yield {"what": name}, found
    for place, (split, title) in enumerate(DRAWN.items()):
        lines = coverage(grid.on(cells, split))
        if lines:
            drawn = {"place": place, "title": title, "order": list(lines), "lines": lines}
            yield {"what": "coverage", "split": split}, drawn


def _checked(facts: Splits, splits: Splits) -> Splits:
    for key, results in facts.items():
        digests = {r.seed: r.metrics["digest"] for r in splits.get(key, ())}
        for r in results:
            if digests.get(r.seed, r.metrics["digest"]) != r.metrics["digest"]:
                raise HedgerowError(f"facts of split {key[0]} seed {r.seed} are of other texts than its cells")
    return facts


# ---- by section and by scheme ---------------------------------------------------------------------------------------
def by_section(cells: Cells, splits: Splits, facts: Splits, sections: Splits) -> dict[str, Any]:
    """section -> column -> score; 'models' -> column -> the model that it is of.

    Of ecoinvent's names, scores by section were made where their labels may be read (facts.py).
    """
    found: Scores = {"models": {}}
    for side in SIDES:
        column, models = f"grouped_{side}", grid.on(cells, "grouped")
        name = grid.best(models, side)
        if name is not None:
            at = {r.seed: r.metrics for r in sections.get(("grouped",), ())}
            each = [at[r.seed][name] for r in models[name] if name in at.get(r.seed, {})]
            if len(each) != len(models[name]):
                raise HedgerowError("scores by section lack cells: python -m hedgerow.systems.isic.experiment facts")
            _add(found, column, name, each)
        name = grid.best(grid.on(cells, "texts"), side)
        _add(found, f"texts_{side}", name, _by_field(cells, splits, facts, ("texts",), name, "section"))
        name = grid.on_all(cells, SCHEMES, side)
        _add(found, f"held_{side}", name, _by_field(cells, splits, facts, SCHEMES, name, "section"))
    return _filled(found)


def by_scheme(cells: Cells, splits: Splits, facts: Splits) -> dict[str, Any]:
    """scheme -> column -> score; a text that stands in several schemes counts in each of them."""
    found: Scores = {"models": {}}
    for side in SIDES:
        for split in ("texts", "family"):
            name = grid.best(grid.on(cells, split), side)
            _add(found, f"{split}_{side}", name, _by_field(cells, splits, facts, (split,), name, "scheme"))
        name = grid.on_all(cells, SCHEMES, side)
        _add(found, f"held_{side}", name, _by_field(cells, splits, facts, SCHEMES, name, "scheme"))
    return _filled(found)


def _add(found: Scores, column: str, name: str | None, each: Sequence[Mapping[str, dict[str, float]]]) -> None:
    """Mean over seeds of each value's score; of a value that some draws of the split lack, over the others."""
    if name is None:
        return
    found["models"][column] = name
    for value in sorted({v for scores in each for v in scores}):
        found.setdefault(value, {})[column] = mean_score([scores[value] for scores in each if value in scores])


def _filled(found: Scores) -> Scores:
    """With the number of texts as ``<split>_n``, and a dash where a test set holds no text of a value.

    A side that has no cell stays away, so that a table says *not run* of it.
    """
    columns = list(found["models"])
    for value, scores in found.items():
        for column in columns:
            count = f"{column.rpartition('_')[0]}_n"
            if value == "models":
                scores[count] = ""
            elif column in scores:
                scores[count] = scores[column]["n"]
            else:
                scores[column] = NONE
                scores.setdefault(count, NONE)
    return found


def _by_field(
    cells: Cells, splits: Splits, facts: Splits, names: Sequence[str], model: str | None, field: str
) -> list[dict[str, dict[str, float]]]:
    """For each seed the scores by value of the field, of the texts of several splits together."""
    if model is None:
        return []
    held = [{r.seed: r for r in cells[split, model]} for split in names]
    found = []
    for seed in sorted(set.intersection(*(set(h) for h in held))):
        hits, groups, which = [], [], []
        for split, h in zip(names, held):
            hits.append(bits(h[seed].items["top1"]))
            groups += [f"{split}/{g}" for g in _at(splits, split, seed).items["group"]]
            which += values(_at(facts, split, seed).items, field)
        found.append(by_value(np.concatenate(hits), groups, which))
    return found


def _at(results: Splits, split: str, seed: int) -> Result:
    for r in results.get((split,), ()):
        if r.seed == seed:
            return r
    raise HedgerowError(f"no facts of split {split} seed {seed}: python -m hedgerow.systems.isic.experiment facts")


# ---- by confidence --------------------------------------------------------------------------------------------------
def coverage(models: Mapping[str, list[Result]]) -> dict[str, Any]:
    """line -> share answered and share right of those, over all thresholds, all seeds together.

    ``dev`` holds what the thresholds that dev gave for 90 and 95 % really came to (nothing where none was given), and
    ``possible`` the most that could have been answered at that accuracy by somebody who had seen the answers.
    """
    found: dict[str, Any] = {}
    for line, label in LINES.items():
        name = ("tfidf" if "tfidf" in models else None) if line == "tfidf" else grid.best(models, line)
        if name is not None:
            found[line] = {"label": label, "model": name, "seeds": len(models[name]), **curve(models[name])}
    return found


def curve(cells: Sequence[Result]) -> dict[str, Any]:
    """One line of :func:`coverage`."""
    confidence = np.concatenate([percents(r.items["confidence"]) for r in cells])
    hits = np.concatenate([bits(r.items["top1"]) for r in cells])
    all_ = metrics.coverage_curve(confidence, hits)
    kept = all_.coverage * len(hits) >= min(FEWEST, len(hits))
    found: dict[str, Any] = {
        "coverage": [round(float(c), 4) for c in all_.coverage[kept]],
        "accuracy": [round(float(a), 4) for a in all_.accuracy[kept]],
    }
    for target in TARGETS:
        asked = sum(r.metrics[f"answered_{target}"]["n"] for r in cells)
        given = [r.metrics[f"precision_{target}"] for r in cells if f"precision_{target}" in r.metrics]
        answered = sum(g["n"] for g in given)
        found[f"answered_{target}"] = answered / asked
        if answered:
            found[f"right_{target}"] = sum(g["value"] * g["n"] for g in given) / answered
        found[f"possible_{target}"] = metrics.coverage_at(confidence, hits, int(target) / 100).coverage
    return found
