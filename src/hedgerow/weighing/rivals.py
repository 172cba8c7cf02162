"""Packs side by side: one quantity against another, never across Tasks, devices or thread counts on one axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hedgerow import kinds
from hedgerow.cost import Cost, latest
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.pack import Pack, open_pack
from hedgerow.runtimes import quantised
from hedgerow.schema import check
from hedgerow.weighing.device import measured_device
from hedgerow.weighing.paired import mark_differences

# Of a score, all others are better when larger.
_LOWER = frozenset({"ece", "nll", "loss", "perplexity", "brier", "error", "mae", "rmse"})
_OF_ROW: dict[str, Callable[[Cost], float | None]] = {
    "disk_bytes": lambda c: c.disk_bytes,
    "weights_bytes": lambda c: c.weights_bytes,
    "peak_bytes": lambda c: c.peak_bytes,
    "energy_j": lambda c: c.energy_j,
    "flops": lambda c: c.flops,
}


def compare(
    packs: Sequence[Pack | str | Path],
    x: str = "run_ms",
    y: str = "accuracy",
    threads: int = 1,
    device: str | None = None,
) -> dict[str, Any]:
    """Every form of every Pack as a point (x, y), read from the evidence; JSON-able.

    A quantity is ``PHASE_ms``, ``PHASE_p95_ms`` (both at the kind's usual size, batch 1), ``PHASE_per_s`` (best over
    the batches that were weighed), ``disk_bytes``, ``weights_bytes``, ``peak_bytes``, ``energy_j``, ``flops``, or the
    name of a score. Points are in one group only when their Task digest and split are equal; ``front`` marks those
    that no other point of the group beats in both; ``against`` is a point's paired difference from the group's best in
    ``y``, where the outcome of every item is known. ``device`` is a fingerprint; None takes this machine if any Pack
    was weighed here, else the device that most rows speak of. A form of the same weights without a score of its own
    stands at that of the Pack's base form, marked ``assumed``; what has no point is in ``left_out`` with the reason.
    """
    opened = [p if isinstance(p, Pack) else open_pack(p) for p in packs]
    costs = {pack.digest: [check(Cost, row, f"{pack.path}/costs.jsonl") for row in pack.costs] for pack in opened}
    where = device or _device(list(costs.values()))
    known = _known(opened, costs)
    for name in (x, y):
        if name not in known:
            raise HedgerowError(f"no Pack here has a '{name}'{did_you_mean(name, known)}")
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    left_out: list[dict[str, Any]] = []
    for pack in opened:
        rows = [c for c in costs[pack.digest] if c.device.fingerprint == where and c.threads == threads]
        for form in kinds.kind(pack.info.kind).variants(pack):
            points = _points(pack, form, one_build(latest(r for r in rows if r.variant == form)), x, y)
            for task, point in points:
                key = (task["digest"], task["split"]) if task else ("", "")
                groups.setdefault(key, {"task": task, "points": []})["points"].append(point)
            if not points:
                why = _why_not(pack, form, rows, (x, y), where, threads)
                left_out.append({"name": pack.info.name, "variant": form, "why": why})
    for group in groups.values():
        mark_differences(group["points"], y, lower_is_better(y))
        _mark_front(group["points"], lower_is_better(x), lower_is_better(y))
        group["points"].sort(key=lambda p: p["x"])
    note = ""
    if len(groups) > 1:
        note = f"{len(groups)} different tests are here: scores of different Tasks or splits share no axis"
    axes = {"x": {"name": x, "lower_is_better": lower_is_better(x)}, "y": {"name": y, "lower_is_better": False}}
    axes["y"]["lower_is_better"] = lower_is_better(y)
    found = next((c.device for rows in costs.values() for c in rows if c.device.fingerprint == where), None)
    return {
        **axes,
        "device": found.model_dump(mode="json") if found else None,
        "threads": threads,
        "groups": list(groups.values()),
        "left_out": left_out,
        "note": note,
    }


def lower_is_better(name: str) -> bool:
    """Times, bytes, joules and operations; and the scores that count errors."""
    return name.endswith(("_ms", "_bytes", "_j")) or name in _LOWER or name == "flops"


_HELD = ("cache_k", "cache_v", "ubatch")  # of a row's options: its context may grow with its size


def one_build(rows: Sequence[Cost]) -> list[Cost]:
    """The rows of one form that may stand together: those of the newest measured build, cache types and micro-batch.

    Predicted and assumed rows count only where nothing was measured. A load row has no options and fits all of its
    build.
    """
    timed = [r for r in rows if r.phase != "load"] or list(rows)
    if not timed:
        return []
    newest = max(timed, key=lambda r: r.trust)
    return [
        r for r in rows
        if r.runtime == newest.runtime
        and all(r.options.get(k, newest.options.get(k)) == newest.options.get(k) for k in _HELD)
    ]  # fmt: skip


def cost_of(rows: Sequence[Cost], usual: dict[str, int], name: str) -> tuple[float | None, Cost | None]:
    """(value, the row it comes from) of one cost quantity among the newest rows of one form on one device."""
    calls = [r for r in sorted(rows, key=lambda r: r.trust) if r.phase != "load" and r.size == usual]
    if name in _OF_ROW:
        single = [r for r in calls if r.batch == 1] or [r for r in rows if r.phase == "load"]
        return (_OF_ROW[name](single[-1]), single[-1]) if single else (None, None)
    if name.endswith("_per_s"):
        fast = max((r for r in calls if r.phase == name.removesuffix("_per_s")), key=_per_second, default=None)
        return (_per_second(fast), fast) if fast else (None, None)
    phase = name.removesuffix("_ms").removesuffix("_p95")
    if phase == "load":
        calls = sorted(rows, key=lambda r: r.trust)
    found = [r for r in calls if r.phase == phase and r.batch == 1]
    if not found or not name.endswith("_ms"):
        return None, None
    return (found[-1].p95_ms if name.endswith("_p95_ms") else found[-1].p50_ms), found[-1]


def _per_second(row: Cost) -> float:
    return row.units / row.p50_ms * 1e3


def _device(rows: Sequence[Sequence[Cost]]) -> str:
    """This machine if anything was weighed here, else the device of most rows."""
    seen = [c.device.fingerprint for costs in rows for c in costs]
    here = measured_device().fingerprint
    return here if here in seen or not seen else max(sorted(set(seen)), key=seen.count)


def _known(packs: Sequence[Pack], costs: dict[str, list[Cost]]) -> list[str]:
    """Quantities that at least one Pack has evidence of."""
    phases = {c.phase for rows in costs.values() for c in rows}
    times = {f"{phase}_{end}" for phase in phases for end in ("ms", "p95_ms", "per_s")}
    scores = {name for pack in packs for line in pack.scores for name in line["metrics"]}
    return sorted(times | scores | (set(_OF_ROW) if phases else set()))


def scores_of(pack: Pack, form: str, metric: str) -> list[dict[str, Any]]:
    """The newest score line of each (Task, split) with this metric: the form's own, else the base form's, marked.

    ``assumed`` is what stands between the line and the form: another's score, or the line's own note.

    A form that only changes the engine (onnx of torch) may stand at the base form's score; one that changes the weights
    (onnx-int8) answers differently, and has no score until it was asked itself.
    """
    base = kinds.kind(pack.info.kind).variants(pack)[0]
    same_weights = not quantised(form)
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for own, variant in ((False, base), (True, form)):
        for line in pack.scores if own or same_weights else ():
            if line["variant"] == variant and metric in line["metrics"]:
                key = (line["task"]["digest"], line["task"]["split"])
                lent = "" if own or form == base else f"{metric} of the form '{base}'"
                best[key] = {**line, "assumed": "; ".join(filter(None, (line.get("note"), lent)))}
    return list(best.values())


def _points(
    pack: Pack, form: str, rows: Sequence[Cost], x: str, y: str
) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """(task, point) of one form for every Task it was scored on; one point without a Task when neither is a score."""
    usual = kinds.kind(pack.info.kind).unit.usual
    fixed: dict[str, Any] = {"name": pack.info.name, "pack": pack.digest, "variant": form, "noisy": False}
    fixed |= {"assumed": [], "shareable": pack.info.shareable}
    for extra in ("disk_bytes", "peak_bytes", "energy_j"):
        fixed[extra] = cost_of(rows, usual, extra)[0]
    metrics = []
    for axis, name in (("x", x), ("y", y)):
        value, row = cost_of(rows, usual, name)
        if row is None:
            metrics.append((axis, name))
            continue
        if value is None:
            return []
        fixed |= {axis: value, "noisy": fixed["noisy"] or row.noisy}
        if row.source != "measured":  # a predicted row's note says how it was found and how far off it may be
            fixed["assumed"] = [*fixed["assumed"], row.note]
    if not metrics:
        return [(None, fixed)]
    found: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    for axis, name in metrics:
        for line in scores_of(pack, form, name):
            key = (line["task"]["digest"], line["task"]["split"])
            task, point = found.get(key, (line["task"], dict(fixed)))
            score = line["metrics"][name]
            if axis == "y" and not line["assumed"]:
                point["items"] = line.get("items")
            point |= {axis: score["value"], f"{axis}_low": score.get("low"), f"{axis}_high": score.get("high")}
            if line["assumed"]:
                point["assumed"] = [*point["assumed"], line["assumed"]]
            found[key] = (task, point)
    return [(task, point) for task, point in found.values() if "x" in point and "y" in point]


def _why_not(pack: Pack, form: str, rows: Sequence[Cost], names: tuple[str, str], where: str, threads: int) -> str:
    if not any(r.variant == form for r in rows):
        return f"not weighed on device {where} with {threads} thread{'s' if threads != 1 else ''}"
    scored = sorted({m for line in pack.scores for m in line["metrics"]})
    missing = [n for n in names if not scores_of(pack, form, n) and n not in _OF_ROW and not _is_cost(n)]
    if missing and missing[0] in scored:
        return f"this form was never scored on '{missing[0]}'"
    if missing:
        return f"has no score '{missing[0]}' (scores: {', '.join(scored) or 'none'})"
    return f"has no value for {names[0]} and {names[1]} together"


def _is_cost(name: str) -> bool:
    return name.endswith(("_ms", "_per_s"))


def _mark_front(points: list[dict[str, Any]], low_x: bool, low_y: bool) -> None:
    """``front``: no other point is at least as good in both and better in one."""
    keys = [(p["x"] if low_x else -p["x"], p["y"] if low_y else -p["y"]) for p in points]
    for point, (a, b) in zip(points, keys, strict=True):
        point["front"] = not any((u <= a and v <= b) and (u < a or v < b) for u, v in keys)
