"""What is known of each test text beside its outcome: group, scheme, section; and outcomes by section.

Texts under an MIT licence: scheme and section of every one are kept in results/isic/facts/, in the order of the split's
test texts. The section of an ecoinvent name is a label of theirs, so none is kept: for those splits only scores by
section leave this machine, in results/isic/sections/. ``python -m hedgerow.systems.isic.experiment facts`` makes both
from the cells that are there; no model is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files, metrics, run
from hedgerow.errors import HedgerowError
from hedgerow.run import Result
from hedgerow.schema import check
from hedgerow.systems.isic.cells import bits
from hedgerow.systems.isic.task import IsicTask, field_of, make_task

_RESAMPLES = 1000


def save(root: Path, task: IsicTask, seed: int) -> None:
    """Facts of a split, unless they are there."""
    config = {"split": task.split.name}
    if not run.result_path(root, "isic", "splits", config, seed).exists():
        found = {**task.split.facts(), "digest": task.digest, "labels": task.split.labels}
        run.save_result(root, "isic", "splits", config, seed, found, per_item(task), time.time())
    if ours(task) and not run.result_path(root, "isic", "facts", config, seed).exists():
        run.save_result(root, "isic", "facts", config, seed, {"digest": task.digest}, sides(task), time.time())


def per_item(task: IsicTask) -> dict[str, Any]:
    """Group number, and single gold or not, of every test text; no text and no label."""
    test = task.splits["test"]
    number = {group: i for i, group in enumerate(sorted({e.group for e in test}))}
    return {
        "group": [number[e.group] for e in test],
        "single": "".join("1" if len(e.gold) == 1 else "0" for e in test),
        "language": sorted({e.meta.get("language", "") for e in test}),
    }


def ours(task: IsicTask) -> bool:
    """Whether all test texts have a licence under which what is known of each may be committed."""
    return all(e.meta.get("licence") == "MIT" for e in task.splits["test"])


def sides(task: IsicTask) -> dict[str, Any]:
    """Schemes that hold each test text, and its section ('A+C' where its classes lie in two), as numbers into lists."""
    test = task.splits["test"]
    held = [e.meta["systems"].split() for e in test]
    sections = [field_of(e, "section") for e in test]
    schemes, letters = sorted({s for each in held for s in each}), sorted(set(sections))
    return {
        "schemes": schemes,
        "scheme": [[schemes.index(s) for s in each] for each in held],
        "sections": letters,
        "section": [letters.index(s) for s in sections],
    }


def values(items: dict[str, Any], field: str) -> list[tuple[str, ...]]:
    """The values of ``field``, 'scheme' or 'section', of every text, from what :func:`sides` kept."""
    names = items[f"{field}s"]
    return [tuple(names[i] for i in (each if isinstance(each, list) else (each,))) for each in items[field]]


def by_value(hits: np.ndarray, groups: Sequence[Any], held: Sequence[Collection[str]]) -> dict[str, dict[str, float]]:
    """Mean of ``hits`` [n] among the texts that hold each value, 95 % interval over groups.

    A text counts for every value that it holds. One group alone says nothing of others: no width.
    """
    rows: dict[str, list[int]] = {}
    for i, each in enumerate(held):
        for value in each:
            rows.setdefault(value, []).append(i)
    return {
        value: metrics.group_bootstrap(hits[chosen], [groups[i] for i in chosen], resamples=_RESAMPLES).score(
            len(chosen)
        )
        for value, chosen in sorted(rows.items())
    }


def fill(root: Path) -> Iterator[Path]:
    """Write whatever is missing or out of date beside the cells under ``root``; gives each file once it is there.

    Splits are made again from the data. Raises HedgerowError where one is no longer what the cells were scored on.
    """
    cells = _by_split(run.load_results(root, "isic", "peers"))
    kept = _by_split(run.load_results(root, "isic", "splits"))
    for key in sorted(cells):
        if key not in kept:
            raise HedgerowError(f"{root}/isic/splits lacks split {key[0]} seed {key[1]}, on which cells were scored")
        split, seed, config = *key, {"split": key[0]}
        facts, sections = (run.result_path(root, "isic", name, config, seed) for name in ("facts", "sections"))
        wanted = sorted(r.config["model"] for r in cells[key])
        if facts.exists() or (sections.exists() and sorted(_metrics(sections)) == wanted):
            continue
        task = make_task(split, {"seed": seed})
        if task.digest != kept[key][0].metrics["digest"]:
            raise HedgerowError(f"split {split} seed {seed} is made of other texts now: its cells must be run again")
        if ours(task):
            save(root, task, seed)
            yield facts
        else:
            run.save_result(root, "isic", "sections", config, seed, by_section(task, cells[key]), None, time.time())
            yield sections


def by_section(task: IsicTask, cells: Sequence[Result]) -> dict[str, Any]:
    """model -> section -> top-1 with interval and number of texts."""
    test = task.splits["test"]
    held, groups = [(field_of(e, "section"),) for e in test], [e.group for e in test]
    return {r.config["model"]: by_value(bits(r.items["top1"]), groups, held) for r in cells}


def _by_split(results: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    found: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        found.setdefault((result.config["split"], result.seed), []).append(result)
    return found


def _metrics(path: Path) -> dict[str, Any]:
    return check(Result, files.read_json(path), str(path)).metrics
