"""From the harness's samples to one row an item, and from rows to scores with intervals, chance and majority."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hedgerow.metrics import group_bootstrap, paired_bootstrap

Item = dict[str, Any]
NAMES = {"acc": "accuracy", "acc_norm": "accuracy_per_char", "acc_bytes": "accuracy_per_byte"}
ONE = ("", "none", "answer")  # filters that need no mention beside the metric
_FIXED = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}


def pass_at_k(n: int, c: int, k: int) -> float:
    """``1 − C(n−c, k)/C(n, k)``: the chance that one of k answers drawn from n, of which c pass, passes.

    Chen and others 2021, equation 1. Needs 1 ≤ k ≤ n and 0 ≤ c ≤ n.
    """
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def choice_items(samples: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Rows of multiple choice; ``answers``: the journal's, in the harness's order of requests.

    ``accuracy`` and ``accuracy_per_char`` are the harness's own ``acc`` and ``acc_norm``; ``accuracy_per_token`` is
    ours: the choice with the largest log-likelihood divided by its tokens.
    """
    items, at = [], 0
    for sample in samples:
        held = answers[at : at + len(sample["arguments"])]
        at += len(held)
        logp = np.array([a["logprob"] for a in held])
        tokens = np.array([max(1, a["tokens"]) for a in held])
        gold = sample["target"]
        best = int(np.argmax(logp / tokens))
        right = best in gold if isinstance(gold, list) else best == gold
        item = {**_head(sample), "gold": gold, "logprob": logp.tolist(), "tokens": tokens.tolist()}
        item["choices"] = [str(arguments[1]).removeprefix(" ") for arguments in sample["arguments"]]
        items.append({**item, **_metrics(sample), "accuracy_per_token": float(right)})
    return items


def other_items(samples: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Rows of any other output: each number that the harness gives of a sample, filters side by side."""
    rows: dict[int, Item] = {}
    for sample in samples:
        row = rows.setdefault(sample["doc_id"], _head(sample))
        row.setdefault("text", sample["resps"][0] if len(sample["resps"]) == 1 else sample["resps"])
        row.setdefault("target", sample["target"])
        row.setdefault("answer", {})[sample["filter"]] = sample["filtered_resps"]
        row.update(_metrics(sample))
    return list(rows.values())


def code_items(
    samples: Sequence[Mapping[str, Any]], judge: Callable[[str, int, str], Mapping[str, Any]], ks: Sequence[int] = (1,)
) -> list[Item]:
    """Rows of programs; ``judge(id, number, text)`` runs one (``{passed, how}``). ``pass_at_k`` for each k ≤ n."""
    items = []
    for sample in samples:
        item = _head(sample)
        texts = [str(text) for text in sample["resps"][0]]
        found = [judge(item["id"], number, text) for number, text in enumerate(texts)]
        passed = sum(bool(f["passed"]) for f in found)
        item |= {"text": texts, "how": [f["how"] for f in found]}
        items.append(item | {f"pass_at_{k}": pass_at_k(len(texts), passed, k) for k in ks if k <= len(texts)})
    return items


def _head(sample: Mapping[str, Any]) -> Item:
    doc = sample["doc"]
    identity = str(doc["id"]) if "id" in doc else str(sample["doc_id"])
    return {"id": identity, "group": str(doc.get("group") or identity)}


def _metrics(sample: Mapping[str, Any]) -> dict[str, float]:
    out = {}
    for name in sample["metrics"]:
        value = sample.get(name)
        if isinstance(value, bool | int | float | np.integer | np.floating) and math.isfinite(value):
            label = NAMES.get(name, name)
            out[label if sample["filter"] in ONE else f"{label} ({sample['filter']})"] = float(value)
    return out


def metric_names(items: Sequence[Item]) -> list[str]:
    """The scores that every row has."""
    plain = {"id", "group", "gold", "logprob", "tokens", "choices", "text", "target", "answer", "how"}
    return [name for name in items[0] if name not in plain and all(name in item for item in items)]


def scores(items: Sequence[Item], seed: int = 0) -> dict[str, dict[str, float]]:
    """``{metric: {value, low, high, n}}``, 95 % intervals by resampling groups of items."""
    groups = [item["group"] for item in items]
    return {
        name: group_bootstrap([item[name] for item in items], groups, seed=seed).score(len(items))
        for name in metric_names(items)
    }


def beside(items: Sequence[Item]) -> dict[str, float | None]:
    """What needs no model: ``chance`` and ``majority`` in accuracy.

    Chance is the mean of one over the number of choices. Majority, the most frequent right answer given to every row,
    says something only where all rows have the same choices, or are answered in writing; else null.
    """
    choices = [tuple(item["choices"]) for item in items if "choices" in item]
    if len(choices) == len(items):
        golds = [g if isinstance(g := item["gold"], list) else [g] for item in items]
        chance = float(np.mean([len(g) / len(c) for g, c in zip(golds, choices)]))
        counts = Counter(g for some in golds for g in some)
        return {"chance": chance, "majority": max(counts.values()) / len(items) if len(set(choices)) == 1 else None}
    targets = [str(item["target"]) for item in items if "target" in item]
    majority = max(Counter(targets).values()) / len(items) if len(targets) == len(items) else None
    return {"chance": 0.0 if targets else None, "majority": majority}


def packed(items: Sequence[Item]) -> dict[str, Any]:
    """Outcomes of every item in a few kilobytes: a digit an item where they are 0 or 1, else the numbers.

    Equal Task digests mean equal items in equal order, so two such records can be compared item by item.
    """
    hits: dict[str, Any] = {}
    for name in metric_names(items):
        values = [item[name] for item in items]
        whole = all(value in (0.0, 1.0) for value in values)
        hits[name] = "".join(str(int(v)) for v in values) if whole else values
    places: dict[str, int] = {}
    groups = [places.setdefault(item["group"], len(places)) for item in items]
    return {"hits": hits, "groups": None if len(places) == len(items) else groups}


def unpacked(record: Mapping[str, Any], metric: str) -> tuple[list[float], list[int]] | None:
    """(values, groups) of one metric of :func:`packed`; None when it is not there."""
    held = record["hits"].get(metric)
    if held is None:
        return None
    values = [float(v) for v in held]
    return values, list(record["groups"] or range(len(values)))


def paired(first: Mapping[str, Any], second: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """``first − second`` in one metric on the same items: ``{value, low, high, n, shown}``; None without such items.

    ``shown`` is false where the 95 % interval holds 0: then no difference was shown.
    """
    one, two = unpacked(first, metric), unpacked(second, metric)
    if one is None or two is None or len(one[0]) != len(two[0]):
        return None
    found = paired_bootstrap(one[0], two[0], one[1])
    return {**found.score(len(one[0])), "shown": not found.low <= 0.0 <= found.high}
