"""Recommending takers as a Task: a question is a donor with its waste, right are the classes that took it.

dev and test hold wastes that no training record has (equal plain wording = one waste), drawn by hash, so that a Pack
can be scored on what it never saw. Intervals resample donors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hedgerow import files, metrics
from hedgerow.errors import HedgerowError
from hedgerow.records import plain_waste
from hedgerow.systems.isic.waste_harness import Question, questions
from hedgerow.systems.isic.waste_seeds import Row
from hedgerow.task import Example

Scores = dict[str, dict[str, float]]
SHARE = 0.2  # of the wastes in dev, and again in test
CUTS = (1, 5, 10)
_RESAMPLES = 1000


class WasteTask:
    """``isic/exchange``."""

    name = "isic/exchange"

    def __init__(self, rows: Sequence[Row], seed: int) -> None:
        self.rows, self.seed = list(rows), seed
        self.options: Mapping[str, Any] = {"seed": seed}
        parts: dict[str, list[Question]] = {"train": [], "dev": [], "test": []}
        for q in questions(self.rows):
            if q.gold:
                parts[part_of(q.waste, seed)].append(q)
        self.questions = parts
        self.splits: Mapping[str, Sequence[Example]] = {
            name: tuple(_example(q) for q in found) for name, found in parts.items()
        }

    @property
    def train(self) -> list[Row]:
        """Records without those of test wastes; at least one."""
        found = [r for r in self.rows if part_of(plain_waste(r[0].waste_text), self.seed) != "test"]
        return found or self.rows

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, inputs and golds."""
        return files.digest(
            {name: [[e.id, e.input, sorted(e.gold)] for e in part] for name, part in sorted(self.splits.items())}
        )

    def ask(self, example: Example) -> dict[str, str]:
        """Donor and waste as texts: what the donor is, the Pack has to find out."""
        return dict(example.input)

    def score(self, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> Scores:
        """hit@1, 5, 10 and the mean reciprocal rank of the first right class; ``_recovery`` without 38xx receivers."""
        if len(examples) != len(answers):
            raise HedgerowError(f"{len(answers)} answers for {len(examples)} examples: they must be the same rows")
        ranked = [[str(r["code"]) for r in a["receivers"]] for a in answers]
        return scores(ranked, [e.gold for e in examples], [e.group for e in examples])


def part_of(waste: str, seed: int) -> str:
    """train, dev or test of a waste, by hash."""
    draw = int(hashlib.sha256(f"{seed}/{waste}".encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) / 2**32
    return "test" if draw < SHARE else "dev" if draw < 2 * SHARE else "train"


def _example(q: Question) -> Example:
    asked = {"donor_text": q.donor, "waste_text": q.waste_text}
    identity = hashlib.sha256(f"{q.donor}\t{q.waste}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Example(identity, asked, q.gold, q.donor or "unknown donor", {})


def scores(ranked: Sequence[Sequence[str]], gold: Sequence[frozenset[str]], groups: Sequence[str]) -> Scores:
    """Metrics with 95 % intervals over groups; those of ``_recovery`` leave 38xx out of gold and ranking alike."""
    if not ranked:
        raise HedgerowError("nothing to score: there is no example")
    found: Scores = {}
    for suffix, drop in (("", False), ("_recovery", True)):
        wanted = [frozenset(c for c in g if not (drop and c.startswith("38"))) for g in gold]
        rows = [i for i, g in enumerate(wanted) if g]
        if not rows:
            continue
        ranks = np.array([first_right(ranked[i], wanted[i], drop) for i in rows], np.float64)
        names = [groups[i] for i in rows]
        for k in CUTS:
            found[f"hit{k}{suffix}"] = interval((ranks <= k).astype(float), names)
        found[f"mrr{suffix}"] = interval(1 / ranks, names)
    return found


def first_right(ranked: Sequence[str], gold: frozenset[str], drop: bool) -> float:
    """Place of the first right class, from 1 on; infinity when none is in the list."""
    kept = [c for c in ranked if not (drop and c.startswith("38"))]
    return next((place for place, code in enumerate(kept, start=1) if code in gold), np.inf)


def interval(values: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """Mean with its 95 % interval over groups; a single group says nothing about others."""
    if len(set(groups)) < 2:
        value = float(values.mean())
        return metrics.Interval(value, value, value).score(len(values))
    return metrics.group_bootstrap(values, groups, metrics.mean, _RESAMPLES).score(len(values))


def choose_a(task: WasteTask, grid: Sequence[float] = tuple(np.linspace(0, 0.9, 10).round(2))) -> float:
    """The weight of the donor's class with the best mean reciprocal rank on dev wastes, gold classes given.

    Ties take the smaller one, for a code that does not help should not be used; 0.5 where there is no dev question.
    """
    from hedgerow.systems.isic.waste_harness import Bench, Setting

    dev = task.questions["dev"]
    if not dev:
        return 0.5
    test = {q.waste for q in task.questions["test"]}
    bench = Bench([r for r in task.rows if plain_waste(r[0].waste_text) not in test])
    found = []
    for a in grid:
        ranked = [bench.rank(q, "ours", Setting(a=float(a)), leave="waste") for q in dev]
        ranks = [first_right(r, q.gold, False) for r, q in zip(ranked, dev)]
        found.append((round(float(np.mean(1 / np.array(ranks))), 4), -a))
    return float(-max(found)[1])
