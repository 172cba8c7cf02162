"""Traces that nobody recorded: link rates and owners drawn from stated distributions. Always marked as generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.traces import Trace, trace_of

Law = Literal["weibull", "gamma", "lognormal", "exponential"]
_LTE = (0.15, 0.5, 1.0, 1.6)  # shares of the stated rate in a Markov chain's states, from bad to good


def markov_links(fleet: Fleet, until_s: float, rng: np.random.Generator, stay_s: float = 15.0) -> Trace:
    """Every link moves among four rates, a neighbouring one at each step; times between steps are exponential."""
    rows: list[dict[str, Any]] = []
    for x in fleet.links:
        state, t = 2, 0.0
        while (t := t + float(rng.exponential(stay_s))) < until_s:
            state = int(np.clip(state + rng.choice([-1, 1]), 0, len(_LTE) - 1))
            rows.append({"t": t, "ev": "bw", "src": x.source_device, "dst": x.target_device,
                         "mbps": x.mbps * _LTE[state]})  # fmt: skip
    return _sorted(rows, fleet)


def step_links(fleet: Fleet, at_s: float, factor: float, devices: Sequence[str]) -> Trace:
    """From ``at_s`` on every link of these devices has ``factor`` times its rate."""
    hit = [x for x in fleet.links if x.source_device in devices or x.target_device in devices]
    rows = [
        {"t": at_s, "ev": "bw", "src": x.source_device, "dst": x.target_device, "mbps": x.mbps * factor} for x in hit
    ]
    return _sorted(rows, fleet)


def on_off(fleet: Fleet, until_s: float, rng: np.random.Generator, law: Law = "weibull", shape: float = 0.7) -> Trace:
    """Lives and absences with the stated means and the given law: Weibull and gamma by shape, lognormal by sigma."""
    rows: list[dict[str, Any]] = []
    for d in fleet.devices:
        t = 0.0
        while d.failure is not None and t < until_s:
            for event, mean in (("down", d.failure.mean_up_s), ("up", d.failure.mean_down_s)):
                t += _draw(law, shape, mean, rng)
                rows.append({"t": t, "ev": event, "dev": d.name})
    return _sorted([row for row in rows if row["t"] < until_s], fleet)


def owners(
    fleet: Fleet, until_s: float, rng: np.random.Generator, devices: Sequence[str], busy_s: float = 60.0,
    day_s: float = 86_400.0,
) -> Trace:  # fmt: skip
    """Owners at work now and then, three times as often by day (the first half of ``day_s``) as by night."""
    rows: list[dict[str, Any]] = []
    for name in devices:
        t = 0.0
        while t < until_s:
            day = (t % day_s) < day_s / 2
            t += float(rng.exponential(busy_s * (2 if day else 6)))
            rows.append({"t": t, "ev": "busy", "dev": name, "cpu": 0.9})
            t += float(rng.exponential(busy_s))
            rows.append({"t": t, "ev": "busy", "dev": name, "cpu": 0.0})
    return _sorted([row for row in rows if row["t"] < until_s], fleet)


def _draw(law: Law, shape: float, mean: float, rng: np.random.Generator) -> float:
    from math import exp, gamma

    if law == "weibull":
        return float(mean / gamma(1 + 1 / shape) * rng.weibull(shape))
    if law == "gamma":
        return float(rng.gamma(shape, mean / shape))
    if law == "lognormal":
        return float(mean * exp(-(shape**2) / 2) * rng.lognormal(0.0, shape))
    return float(rng.exponential(mean))


def _sorted(rows: Sequence[dict[str, Any]], fleet: Fleet) -> Trace:
    ordered = sorted(rows, key=lambda row: float(row["t"]))
    return replace(trace_of(ordered, "the generator", fleet), kind="generated")
