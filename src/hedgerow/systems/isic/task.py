"""ISIC classification as a Task: a split, what a text is asked, and the scores with intervals over groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files, metrics
from hedgerow.data import texts
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record, check
from hedgerow.systems.isic import splits
from hedgerow.task import Example

Answers = Sequence[Mapping[str, Any]]
Scores = dict[str, dict[str, float]]

LEVELS = {"class": 4, "group": 3, "division": 2, "section": 1, "review": 0}  # depth of an answer
TARGETS = (0.90, 0.95)
_RESAMPLES = 1000


class Options(Record):
    """What a Task is made from; written into score lines, so that the same Task can be made again."""

    seed: int = 0
    labels: splits.Labels | None = None
    sources: tuple[str, ...] = texts.SOURCES
    file: str | None = None


class IsicTask:
    """``isic/SPLIT``. Inputs are texts; an answer is what a text classifier's ``predict`` gives for one.

    ``digest`` covers ids, inputs and golds of all three splits.
    """

    def __init__(self, split: splits.Split, options: Mapping[str, Any], name: str | None = None) -> None:
        self.split = split
        self.name = f"isic/{name or split.name}"
        self.options: Mapping[str, Any] = dict(options)
        self.splits: Mapping[str, Sequence[Example]] = {"train": split.train, "dev": split.dev, "test": split.test}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, inputs and golds."""
        return files.digest(
            {name: [[e.id, e.input, sorted(e.gold)] for e in part] for name, part in sorted(self.splits.items())}
        )

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Title of every label that may be answered, in code order."""
        return splits.label_titles(self.split)

    def ask(self, example: Example) -> str:
        """The text itself."""
        return str(example.input)

    def score(self, examples: Sequence[Example], answers: Answers) -> Scores:
        """Scores of the answers, 95 % intervals over groups (linked source codes, or heads of reference products).

        ``accuracy`` and ``top5``: the first, one of the first five candidates is acceptable; ``_single`` and ``_multi``
        apart for texts with one and with several classes. ``division``: the first two characters are right.
        ``macro_f1`` over the labels present, ``hierarchical_f1`` over ancestor sets, ``ece`` of the first p,
        ``coverage_90`` and ``coverage_95``: the most that can be answered at that accuracy, threshold chosen on these
        very rows (an upper bound). ``decided_accuracy`` and ``depth`` (class 4 … review 0) score the decision.
        Raises HedgerowError when answers and examples do not match, or there are none.
        """
        if len(examples) != len(answers):
            raise HedgerowError(f"{len(answers)} answers for {len(examples)} examples: they must be the same rows")
        if not examples:
            raise HedgerowError("nothing to score: there is no example")
        return _scores(examples, [_ranked(answer) for answer in answers], answers)

    def by(self, field: str, examples: Sequence[Example], answers: Answers) -> dict[str, Scores]:
        """:meth:`score` of the examples with each value of ``field``: 'section', or a key of ``meta`` ('system', …)."""
        groups: dict[str, list[int]] = {}
        for i, example in enumerate(examples):
            groups.setdefault(field_of(example, field), []).append(i)
        return {
            value: self.score([examples[i] for i in chosen], [answers[i] for i in chosen])
            for value, chosen in sorted(groups.items())
        }


def make_task(
    name: str, options: Mapping[str, Any] | None = None, progress: Callable[..., None] | None = None
) -> IsicTask:
    """The Task of a split's name and :class:`Options`; an unknown option is an error with a suggestion."""
    checked = check(Options, dict(options or {}), f"options of Task isic/{name}")
    split = splits.make_split(
        name, checked.seed, labels=checked.labels, sources=checked.sources, file=checked.file, progress=progress
    )
    return IsicTask(split, {**checked.model_dump(exclude_none=True), "labels": split.labels})


def own_task(file: str | Path) -> IsicTask:
    """The user's coded rows, all in test: for scoring a Pack that never saw them (``use --score``)."""
    test = tuple(splits.own_examples(file))
    if not test:
        raise HedgerowError(f"{file} has no usable row with a code: fill the column 'code' (and 'scheme' if not ISIC4)")
    return IsicTask(splits.Split("own", 0, "isic", (), (), test), {"file": str(file)})


def _scores(examples: Sequence[Example], ranked: Sequence[tuple[list[str], float]], answers: Answers) -> Scores:
    gold = [example.gold for example in examples]
    groups = [example.group for example in examples]
    names = [labels for labels, _ in ranked]
    first = [labels[0] if labels else "" for labels in names]
    confidence = np.array([p for _, p in ranked])
    hit, hit5 = metrics.topk_hits(names, gold, 1), metrics.topk_hits(names, gold, 5)
    division = metrics.topk_hits([[label[:2]] for label in first], [{g[:2] for g in answers} for answers in gold], 1)
    multi = np.array([len(answers) > 1 for answers in gold])
    pairs = metrics.label_pairs(metrics.chosen_gold(first, gold), first)
    decided, depth = _decisions(answers, gold)
    found: Scores = {}

    def add(name: str, values: Any, statistic: metrics.Statistic = metrics.mean, only: Any = None) -> None:
        rows = np.arange(len(examples)) if only is None else np.flatnonzero(only)
        if len(rows):
            found[name] = _interval(np.asarray(values)[rows], [groups[i] for i in rows], statistic)

    add("accuracy", hit)
    add("top5", hit5)
    add("division", division)
    add("macro_f1", pairs, metrics.macro_f1_of)
    add("hierarchical_f1", metrics.ancestor_overlap(first, gold, ancestors), metrics.ratio)
    add("ece", metrics.confident_hits(confidence, hit), metrics.ece_of())
    for target in TARGETS:
        add(f"coverage_{target * 100:.0f}", metrics.confident_hits(confidence, hit), metrics.coverage_of(target))
    for suffix, only in (("single", ~multi), ("multi", multi)):
        add(f"accuracy_{suffix}", hit, only=only)
        add(f"top5_{suffix}", hit5, only=only)
    add("decided_accuracy", decided, only=depth > 0)
    add("depth", depth)
    return found


def _interval(values: Any, groups: Sequence[str], statistic: metrics.Statistic) -> dict[str, float]:
    """With its interval; a single group says nothing about others, so its interval has no width and costs nothing."""
    if len(set(groups)) == 1:
        value = float(statistic(values, np.ones((1, len(values))))[0])
        return metrics.Interval(value, value, value).score(len(values))
    return metrics.group_bootstrap(values, groups, statistic, _RESAMPLES).score(len(values))


def _ranked(answer: Mapping[str, Any]) -> tuple[list[str], float]:
    """Candidate codes from the most probable on, and the first one's p; a row that got no answer has none."""
    candidates = answer.get("candidates") or []
    return [str(c["code"]) for c in candidates], float(candidates[0]["p"]) if candidates else 0.0


def _decisions(answers: Answers, gold: Sequence[frozenset[str]]) -> tuple[Any, Any]:
    """Whether the decided node is an ancestor of (or is) an acceptable class, and how deep it is; each [n]."""
    right, depth = np.zeros(len(answers)), np.zeros(len(answers))
    for i, answer in enumerate(answers):
        level, code = str(answer.get("decision") or "review"), str(answer.get("code") or "")
        depth[i] = LEVELS.get(level, 0)
        right[i] = depth[i] > 0 and any(code in ancestors(label) for label in gold[i])
    return right, depth


def ancestors(label: str) -> frozenset[str]:
    """A label with all that lies above it: '0112' → 0112, 011, 01, A. An ecoinvent suffix is one level more."""
    if not label:
        return frozenset()
    stem = label.rstrip("abcdefghijklmnopqrstuvwxyz")
    nodes = {label, *(stem[:length] for length in range(2, len(stem) + 1))}
    return frozenset(nodes | {texts.isic_section(stem[:2])} - {""})


def field_of(example: Example, field: str) -> str:
    """'section' of its acceptable classes ('A+C' where there are two), or the value of a key of ``meta``."""
    if field == "section":
        return "+".join(sorted({texts.isic_section(label[:2]) for label in example.gold}))
    return example.meta.get(field, "")
