"""Scores that may stand side by side: rows of one Task digest and split, never of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hedgerow import kinds
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.pack import Pack
from hedgerow.placing.quantities import Constraint
from hedgerow.runtimes import quantised

_Key = tuple[str, str]  # Task digest, split


@dataclass(frozen=True)
class Scores:
    """The newest score line of every scored form on one Task and split."""

    task: Mapping[str, Any] | None  # name, options, digest, split, n; None when no Pack was ever scored
    lines: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    notes: Mapping[tuple[str, str], str] = field(default_factory=dict)  # what a line says of itself

    def of(self, pack: Pack, variant: str) -> tuple[Mapping[str, Mapping[str, Any]] | None, str]:
        """Metrics of one form, and a note: the line's own, or that they are another's with the same weights.

        Quantising changes answers: such a form must be scored itself, and lends its score to no other.
        """
        key = pack.digest, variant
        if key in self.lines:
            return self.lines[key], self.notes.get(key, "")
        if quantised(variant):
            return None, ""
        same = [v for digest, v in self.lines if digest == pack.digest and v not in pack.variants and not quantised(v)]
        if not same:
            return None, ""
        said = [self.notes.get((pack.digest, same[0]), ""), f"assumed: score of the form '{same[0]}'"]
        return self.lines[pack.digest, same[0]], "; ".join(filter(None, said))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that any line has."""
        return tuple(sorted({name for line in self.lines.values() for name in line}))


def gather_scores(packs: Sequence[Pack], task: str | None = None) -> Scores:
    """Score lines on the one Task and split that all scored Packs share.

    ``task`` picks one by name, split, option value or the beginning of its digest; without it, the Task that the Packs
    name as theirs wins, then the split called test. Raises HedgerowError when nothing is shared, or too much is.
    """
    held: dict[str, dict[_Key, Mapping[str, Any]]] = {}
    for pack in packs:
        for line in pack.scores:
            held.setdefault(pack.digest, {})[_key(line)] = line["task"]
    if not held:
        return Scores(None)
    every = {k: t for keys in held.values() for k, t in keys.items()}
    if task is not None:
        wanted = {k for k, t in every.items() if _matches(t, task)}
        if not wanted:
            known = {str(w) for t in every.values() for w in (t["name"], t["split"], *dict(t["options"]).values())}
            raise HedgerowError(f"no Pack was scored on a Task called '{task}'{did_you_mean(task, known)}")
        held = {d: {k: t for k, t in keys.items() if k in wanted} for d, keys in held.items()}
    shared = set.intersection(*(set(keys) for keys in held.values()))
    if not shared:
        _refuse_to_mix(packs, held)
    key = _one(packs, shared, every)
    lines = [line for pack in packs for line in pack.scores if _key(line) == key]
    lines.sort(key=lambda line: str(line.get("when", "")))
    newest = {(line["pack"], line["variant"]): line for line in lines}
    notes = {form: str(line["note"]) for form, line in newest.items() if line.get("note")}
    return Scores(every[key], {form: line["metrics"] for form, line in newest.items()}, notes)


def _key(line: Mapping[str, Any]) -> _Key:
    return line["task"]["digest"], line["task"]["split"]


def _matches(task: Mapping[str, Any], word: str) -> bool:
    return word in {task["name"], task["split"], *map(str, dict(task["options"]).values())} or (
        len(word) >= 6 and task["digest"].startswith(word)
    )


def task_words(task: Mapping[str, Any]) -> str:
    """``isic (split=grouped), split test, 1a2b3c4d``."""
    options = ", ".join(f"{k}={_option(v)}" for k, v in sorted(dict(task["options"]).items()))
    return f"{task['name']}{f' ({options})' if options else ''}, split {task['split']}, {task['digest'][:8]}"


def _option(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _refuse_to_mix(packs: Sequence[Pack], held: Mapping[str, Mapping[_Key, Mapping[str, Any]]]) -> None:
    said: dict[str, list[str]] = {}
    for pack in packs:
        tasks = sorted(task_words(t) for t in held.get(pack.digest, {}).values())
        if tasks:
            said.setdefault(f"{tasks[0]}{' and others' if len(tasks) > 1 else ''}", []).append(pack.info.name)
    words = "; ".join(f"{', '.join(names)} on {tasks}" for tasks, names in said.items())
    raise HedgerowError(
        f"scores of different tests are not comparable: {words}; score all Packs on one Task, or place them apart"
    )


def _one(packs: Sequence[Pack], shared: set[_Key], every: Mapping[_Key, Mapping[str, Any]]) -> _Key:
    left = sorted(shared)
    named = {p.info.task.digest for p in packs if p.info.task is not None}
    for prefer in (lambda k: k[0] in named, lambda k: k[1] == "test"):
        if len(left) > 1:
            left = [k for k in left if prefer(k)] or left
    if len(left) > 1:
        words = "; ".join(task_words(every[k]) for k in left)
        raise HedgerowError(f"the Packs were scored on several Tasks: {words}; pick one with --task NAME")
    return left[0]


def ranking(
    packs: Sequence[Pack], scores: Scores, needs: Sequence[Constraint], by: str | None
) -> tuple[str | None, bool]:
    """(metric that decides which form is better, whether more is better); (None, _) when nothing was ever scored.

    The asked-for metric, else the first need's, else the kind's headline. Raises for a metric that no line has.
    """
    for need in needs:
        _known_metric(need.name, scores, f"need '{need.text}'")
    if by is not None:
        _known_metric(by, scores, f"by '{by}'")
    if scores.task is None:
        return None, True
    at_least = {n.name: n.at_least for n in needs}
    name = by or next(iter(at_least), None)
    if name is None:
        headline = kinds.kind(packs[0].info.kind).metrics
        name = next((m for m in headline if m in scores.metrics), scores.metrics[0])
    return name, at_least.get(name, True)


def _known_metric(name: str, scores: Scores, what: str) -> None:
    if scores.task is None:
        raise HedgerowError(f"{what}: none of these Packs was ever scored; run hedgerow weigh on the Task first")
    if name not in scores.metrics:
        hint = did_you_mean(name, scores.metrics)
        raise HedgerowError(f"{what}: no Pack has a score called '{name}' on {task_words(scores.task)}{hint}")
