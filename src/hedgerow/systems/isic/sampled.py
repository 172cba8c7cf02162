"""A Task whose dev and test hold at most so many texts: the same questions for three rivals, asked in seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hedgerow.errors import HedgerowError
from hedgerow.systems.isic.task import IsicTask, make_task
from hedgerow.task import Example


def sampled_task(name: str, options: Mapping[str, Any]) -> IsicTask:
    """The Task of a split; the options ``dev`` and ``test`` keep that many texts, chosen by a hash of their ids."""
    rest = {key: value for key, value in options.items() if key not in ("dev", "test")}
    task = make_task(name, rest)
    sizes = {key: int(options[key]) for key in ("dev", "test") if key in options}
    if not sizes:
        return task
    if min(sizes.values()) < 1:
        raise HedgerowError(f"options of Task isic/{name}: dev and test are numbers of texts, 1 or more")
    dev, test = (sample(task.splits[key], sizes[key]) if key in sizes else task.splits[key] for key in ("dev", "test"))
    return IsicTask(replace(task.split, dev=tuple(dev), test=tuple(test)), {**task.options, **sizes})


def sample(examples: Sequence[Example], size: int) -> tuple[Example, ...]:
    """``size`` of the examples in their order, the same whatever else is there."""
    first = sorted(examples, key=lambda e: hashlib.sha256(e.id.encode()).digest())[:size]
    return tuple(sorted(first, key=lambda e: e.id))
