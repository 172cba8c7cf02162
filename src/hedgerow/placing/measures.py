"""What a run amounted to: numbers, and bars for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow.placing.dag import Demand
from hedgerow.placing.quantities import tightest
from hedgerow.placing.simulator import Run
from hedgerow.placing.view import Believed

# name -> (unit, whether less is better, meaning); the order is the order of every table.
MEASURES: dict[str, tuple[str, bool, str]] = {
    "latency_mean_ms": ("ms", True, "from arrival to the answer at home, of answered requests"),
    "latency_p50_ms": ("ms", True, "median of the same"),
    "latency_p95_ms": ("ms", True, "95th percentile of the same"),
    "unfinished": ("share", True, "requests without an answer when patience ended"),
    "in_time": ("share", False, "requests answered within the limit on p95 or reply_p95, waiting included"),
    "value": ("score", False, "mean score of the forms that made the answers"),
    "makespan_s": ("s", True, "from the first arrival to the last answer"),
    "busy_s": ("s", True, "slot time taken on all devices"),
    "wasted_s": ("s", True, "of it, what no answer rests on: lost with a device, or come second"),
    "bytes_moved": ("bytes", True, "over all links"),
    "cost": ("money", True, "busy seconds and bytes at the owners' prices"),
    "loads": ("count", True, "times that a model was loaded"),
    "evictions": ("count", True, "times that a model had to make room"),
    "lost": ("count", True, "attempts that died with their device"),
    "energy_j": ("J", True, "busy seconds at the stated power; none unless every device that worked states it"),
    "failure": ("share", True, "requests of which a death took every copy of some work or result, made again or not"),
}


def measures(run: Run, demand: Demand, known: Believed) -> dict[str, float | None]:
    """One number for every name in :data:`MEASURES`; None where there is none."""
    arrived = np.array([r.arrives_s for r in demand.requests])
    answered = np.array([np.nan if a is None else a for a in run.answered_s])
    there = np.isfinite(answered)
    took = (answered - arrived)[there] * 1e3
    bound = _bound(known)
    values = [d.value for d in run.done if there[d.request] and np.isfinite(d.value)]
    return {
        "latency_mean_ms": float(took.mean()) if len(took) else None,
        "latency_p50_ms": float(np.quantile(took, 0.5)) if len(took) else None,
        "latency_p95_ms": float(np.quantile(took, 0.95)) if len(took) else None,
        "unfinished": float(1 - there.mean()),
        "in_time": float((took <= bound).sum() / len(there)) if bound is not None else None,
        "value": float(np.mean(values)) if values else None,
        "makespan_s": float(answered[there].max() - arrived.min()) if len(took) else None,
        "busy_s": float(sum(run.busy_s)),
        "wasted_s": run.wasted_s,
        "bytes_moved": float(run.bytes_moved),
        "cost": run.cost,
        "loads": float(run.loads),
        "evictions": float(run.evictions),
        "lost": float(run.lost),
        "energy_j": _energy(run, known),
        "failure": float(np.mean(run.failed)) if run.failed else None,
    }


def _energy(run: Run, known: Believed) -> float | None:
    used = [(d.energy_w, busy) for d, busy in zip(known.fleet.devices, run.busy_s, strict=True) if busy > 0]
    if not used or any(power is None for power, _ in used):
        return None
    return float(sum(power.watts * busy for power, busy in used if power is not None))


def _bound(known: Believed) -> float | None:
    """ms of the tightest limit on the time of a request; None without one, or for an App of several jobs."""
    if len(known.menus) != 1:
        return None
    return tightest(known.menus[0].limits, ("p95", "reply_p95"))


def utilisation(run: Run, known: Believed) -> list[float]:
    """Per device: slot time taken / slot time there was until the last answer."""
    span = max(run.ended_s, 1e-12)
    return [busy / (slots * span) for busy, slots in zip(run.busy_s, known.slots.tolist(), strict=True)]


def timeline(log: Sequence[dict[str, Any]], ended_s: float) -> dict[str, list[dict[str, Any]]]:
    """``bars`` (device, lane, start, end, what = load | run, request, job, form, lost) and ``downs`` (device, start,
    end) of a recorded run. A lane is a slot of the device."""
    bars: list[dict[str, Any]] = []
    downs: list[dict[str, Any]] = []
    open_bars: dict[int, dict[str, Any]] = {}
    lanes: dict[str, dict[int, int]] = {}  # device -> attempt -> lane
    for row in log:
        event, device, attempt = row["ev"], row.get("dev", ""), row.get("attempt", -1)
        if event in ("load", "start"):
            taken = lanes.setdefault(device, {})
            if attempt not in taken:
                taken[attempt] = next(n for n in range(len(taken) + 1) if n not in taken.values())
            bar = {"device": device, "lane": taken[attempt], "start": row["t"], "end": ended_s, "lost": False}
            bar |= {"what": "load" if event == "load" else "run"}
            open_bars[attempt] = bar | {key: row[key] for key in ("request", "job", "form")}
        elif event in ("loaded", "finish", "lost", "cancel") and attempt in open_bars:
            bar = open_bars.pop(attempt)
            bars.append(bar | {"end": row["t"], "lost": event in ("lost", "cancel")})
            if event != "loaded":
                del lanes[device][attempt]
        elif event == "down":
            downs.append({"device": device, "start": row["t"], "end": ended_s})
        elif event == "up":
            last = next(d for d in reversed(downs) if d["device"] == device)
            last["end"] = row["t"]
    return {"bars": bars, "downs": downs}
