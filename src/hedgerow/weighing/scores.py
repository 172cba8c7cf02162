"""``score``: one form of a Pack answers a split of a Task; the line that results goes into the evidence."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow import __version__, kinds
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import Model
from hedgerow.pack import Pack
from hedgerow.runtimes import runnable
from hedgerow.task import Example, Task
from hedgerow.weighing.device import measured_device

Answers = Sequence[Mapping[str, Any]]
_CHUNK = 256  # inputs asked at once: enough for a kind to sort and batch, little enough for a progress bar to move


def score(
    what: Model | Pack | str | Path,
    task: Task,
    split: str = "test",
    variant: str | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    known: dict[str, Answers] | None = None,
) -> dict[str, Any]:
    """Score one form on ``task`` and append the line to the Pack's evidence; returns the line.

    A form that was made from another (onnx-int8 from onnx or torch) also gets ``against``: the loss or gain in the
    kind's headline metric beside the base form on the same examples, paired, with a 95 % interval over groups; the
    base form is asked too, unless ``known`` (answers by form; filled here) holds its answers already.

    The Task is the caller's: a Pack names the one of its recipe (``pack.info.task``), which its system resolves; when
    nobody can, there is no score, and none is guessed. Raises HedgerowError for an unknown split, or an empty one.
    """
    model = kinds.open(what.pack if isinstance(what, Model) else what, variant, threads)
    if variant is None and isinstance(what, Model):
        model = what
    if split not in task.splits:
        raise HedgerowError(f"Task {task.name} has no split '{split}'{did_you_mean(split, task.splits)}")
    examples = task.splits[split]
    if not examples:
        raise HedgerowError(f"the {split} split of Task {task.name} is empty: nothing to score")
    held = {} if known is None else known
    if model.variant not in held:
        held[model.variant] = _ask(model, task, examples, progress)
    answers = held[model.variant]
    line: dict[str, Any] = {
        "variant": model.variant,
        "task": {
            "name": task.name,
            "options": _without_folders(task.options),
            "digest": task.digest,
            "split": split,
            "n": len(examples),
        },
        "metrics": task.score(examples, answers),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "hedgerow": __version__,
            "python": platform.python_version(),
            "device": measured_device().fingerprint,
            "threads": str(threads),
            **model.engine.runtime,
        },
    }
    base = model.kind.variants(model.pack)[0]
    if model.variant != base:
        if base not in held and runnable(base) is None:
            held[base] = _ask(kinds.open(model.pack, base, threads), task, examples, progress)
        metric = next((m for m in model.kind.metrics if m in line["metrics"]), None)
        if metric and base in held:
            line["against"] = paired(task, examples, answers, held[base], base, metric)
    model.pack.add_evidence("scores.jsonl", line)
    return line


def _without_folders(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as evidence keeps them: of the user's own file its name, not where it lies; the Task's digest says which.

    Evidence travels with the Pack, and where somebody keeps their files is nobody else's business.
    """
    return {k: Path(v).name if k == "file" and isinstance(v, str) else v for k, v in options.items()}


def _ask(
    model: Model, task: Task, examples: Sequence[Example], progress: Callable[[int, int], None] | None
) -> list[Mapping[str, Any]]:
    answers: list[Mapping[str, Any]] = []
    for start in range(0, len(examples), _CHUNK):
        answers += model.predict([task.ask(e) for e in examples[start : start + _CHUNK]])
        if progress is not None:
            progress(len(answers), len(examples))
    return answers


def paired(
    task: Task, examples: Sequence[Example], answers: Answers, base_answers: Answers, base: str, metric: str
) -> dict[str, Any]:
    """This form minus the base form in ``metric``, on the same resampled groups.

    Needs a metric that is a mean over examples, and checks it: the groups' means must add up to the whole. For any
    other metric ``difference`` is null and ``why`` says so.
    """
    import numpy as np

    from hedgerow.metrics import paired_bootstrap, ratio

    found = [_by_group(task, examples, given, metric) for given in (answers, base_answers)]
    for (sums, _), given in zip(found, (answers, base_answers), strict=True):
        whole = task.score(examples, given)[metric]["value"]
        if not np.isclose(sums[:, 0].sum() / sums[:, 1].sum(), whole, atol=1e-6):
            return {"variant": base, "metric": metric, "difference": None, "why": f"{metric} is no mean over examples"}
    groups = found[0][1]
    difference = paired_bootstrap(found[0][0], found[1][0], groups, ratio)
    return {"variant": base, "metric": metric, "difference": difference.score(len(examples))}


def _by_group(task: Task, examples: Sequence[Example], answers: Answers, metric: str) -> tuple[Any, list[str]]:
    """([groups, 2] of (sum of the metric, examples), names of the groups)."""
    import numpy as np

    members: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        members.setdefault(example.group, []).append(i)
    rows = []
    for chosen in members.values():
        part = task.score([examples[i] for i in chosen], [answers[i] for i in chosen])[metric]
        count = part.get("n", len(chosen))
        rows.append((part["value"] * count, count))
    return np.array(rows, float), list(members)
