"""What an experiment's finished cells say: each measure apart, paired differences, hypervolume; however it falls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.metrics import group_bootstrap, paired_bootstrap
from hedgerow.run import Result, load_results

CLAIM = 0.08  # lower mean latency than the best baseline, as M-TEC's abstract says of its own testbed
_OURS = ("mtec", "lookahead")
_BOUNDS = ("clairvoyant",)


def groups(results: Sequence[Result]) -> dict[str, dict[str, dict[int, Result]]]:
    """Cells by scenario, then by policy with its settings where a scenario has several, then by seed."""
    found: dict[str, dict[str, dict[int, Result]]] = {}
    for r in results:
        config = dict(r.config)
        name, settings = config.pop("policy"), config.pop("settings")
        where = json.dumps({k: v for k, v in config.items() if k not in ("scenarios", "requests")}, sort_keys=True)
        mine = found.setdefault(where, {})
        label = name if name not in mine or _settings(mine[name]) == settings else f"{name} {json.dumps(settings)}"
        mine.setdefault(label, {})[r.seed] = r
    return found


def _settings(cells: Mapping[int, Result]) -> Any:
    return next(iter(cells.values())).config["settings"]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    z, share = 1.959963984540054, hits / n
    middle, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume between the points (less is better in each of three measures) and ``reference``, by slices of the last."""
    inside = sorted(
        (tuple(p) for p in points if all(a < b for a, b in zip(p, reference, strict=True))), key=lambda p: p[2]
    )
    total = 0.0
    for i, p in enumerate(inside):
        top = inside[i + 1][2] if i + 1 < len(inside) else reference[2]
        area, low = 0.0, reference[1]
        for x, y, _ in sorted(inside[: i + 1]):
            if y < low:
                area += (reference[0] - x) * (low - y)
                low = y
        total += area * (top - p[2])
    return total


def table(cells: Mapping[str, Mapping[int, Result]]) -> list[dict[str, Any]]:
    """One row a policy: every measure apart, with its interval; latency of finished requests beside the unfinished."""
    rows = []
    for name, by_seed in cells.items():
        results = [by_seed[n] for n in sorted(by_seed)]
        failed = [bool(x) for r in results for x in r.items["failed"]]
        means = [r.metrics["latency_mean_ms"] for r in results if r.metrics["latency_mean_ms"] is not None]
        mean = group_bootstrap(means, range(len(means))).score(len(means)) if means else None
        row: dict[str, Any] = {"policy": name, "seeds": len(results), "latency_mean_ms": mean}
        for key in ("latency_p50_ms", "latency_p95_ms", "unfinished", "cost", "wasted_s", "bytes_moved", "energy_j"):
            values = [r.metrics[key] for r in results if r.metrics[key] is not None]
            row[key] = float(np.mean(values)) if values else None
        row["decision_p50_ms"] = float(np.median([r.metrics["decision_ms"]["p50"] for r in results]))
        row["failure"] = {"value": float(np.mean(failed)), "low": wilson(sum(failed), len(failed))[0],
                          "high": wilson(sum(failed), len(failed))[1], "n": len(failed)}  # fmt: skip
        rows.append(row)
    return rows


def difference(ours: Mapping[int, Result], theirs: Mapping[int, Result]) -> dict[str, float] | None:
    """Mean latency of the first less that of the second, as a share of the second's, paired by seed."""
    same = [n for n in sorted(ours) if n in theirs]
    pairs = [(ours[n].metrics["latency_mean_ms"], theirs[n].metrics["latency_mean_ms"]) for n in same]
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not pairs:
        return None
    one, two = (np.array(x, float) for x in zip(*pairs, strict=True))
    scale = float(two.mean())
    return paired_bootstrap(one / scale, two / scale, range(len(pairs))).score(len(pairs))


def verdict(cells: Mapping[str, Mapping[int, Result]], rows: Sequence[Mapping[str, Any]], who: str) -> str:
    """How ``who`` fares against the best baseline that leaves no more unfinished, and whether the claim holds here."""
    mine = next((r for r in rows if r["policy"] == who), None)
    if mine is None or mine["latency_mean_ms"] is None:
        return f"{who}: not run, or it finished nothing"
    peers = [r for r in rows if r["policy"].split()[0] not in (*_OURS, *_BOUNDS) and r["latency_mean_ms"] is not None]
    peers = [r for r in peers if r["unfinished"] <= mine["unfinished"] + 0.01]
    if not peers:
        return f"{who}: no baseline left as little unfinished"
    best = min(peers, key=lambda r: float(r["latency_mean_ms"]["value"]))
    gap = difference(cells[who], cells[best["policy"]])
    if gap is None:
        return f"{who}: no seed in common with {best['policy']}"
    words = f"{100 * gap['value']:+.1f} % [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}] against {best['policy']}"
    holds = "holds" if gap["high"] <= -CLAIM else "does not hold" if gap["low"] > -CLAIM else "is left open"
    return f"{who}: mean latency {words}; 'at least 8 % lower than the best baseline' {holds} here"


def summary(root: Path, name: str) -> str:
    """The text of one experiment. Cells that were not run are not in it, and their number is not guessed."""
    results = [r for r in load_results(root, "mtec", name) if "latency_mean_ms" in r.metrics]
    if not results:
        raise HedgerowError(f"no cell of '{name}' was run under {root}; run it first")
    lines = []
    for where, cells in groups(results).items():
        rows = table(cells)
        kept = {k: v for k, v in json.loads(where).items() if v not in (None, 1.0, "steady")}
        lines.append(", ".join(f"{k} {v}" for k, v in kept.items()))
        lines += [_line(row) for row in sorted(rows, key=lambda r: _mean(r))]
        points = {r["policy"]: (_mean(r), r["failure"]["value"], r["cost"] or 0.0) for r in rows if _mean(r) < np.inf}
        if points:
            far = [1.1 * max(p[i] for p in points.values()) + 1e-9 for i in range(3)]
            whole = hypervolume(list(points.values()), far)
            for who in [p for p in points if p.split()[0] in _OURS]:
                rest = hypervolume([p for k, p in points.items() if k != who], far)
                share = (whole - rest) / whole if whole > 0 else 0.0
                lines.append(f"  {who} alone adds {100 * share:.1f} % of the hypervolume of (latency, failure, cost)")
        lines += ["  " + verdict(cells, rows, who) for who in _OURS if who in cells]
        lines.append("")
    return "\n".join(lines)


def _mean(row: Mapping[str, Any]) -> float:
    return float(row["latency_mean_ms"]["value"]) if row["latency_mean_ms"] else float(np.inf)


def _line(row: Mapping[str, Any]) -> str:
    mean, fail = row["latency_mean_ms"], row["failure"]
    said = "nothing finished" if mean is None else (
        f"{mean['value'] / 1e3:8.2f} s [{mean['low'] / 1e3:.2f}, {mean['high'] / 1e3:.2f}]  "
        f"p50 {row['latency_p50_ms'] / 1e3:.2f}  p95 {row['latency_p95_ms'] / 1e3:.2f}"
    )  # fmt: skip
    return (
        f"  {row['policy']:<18} {said}  unfinished {100 * row['unfinished']:.1f} %  failed {100 * fail['value']:.1f} % "
        f"[{100 * fail['low']:.1f}, {100 * fail['high']:.1f}]  cost {row['cost']:.4g}  wasted {row['wasted_s']:.0f} s  "
        f"moved {row['bytes_moved'] / 1e6:.0f} MB  decision {row['decision_p50_ms']:.2f} ms  ({row['seeds']} seeds)"
    )
