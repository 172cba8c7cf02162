"""Experiments that search: settings on the tuning seeds, gaps to proved optima, worst cases of pairs of policies."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.placing import experiment as x
from hedgerow.placing import scenarios as s
from hedgerow.placing.bounds import lower_bound, optimum
from hedgerow.placing.dag import App, Demand, Work, app_of, stream
from hedgerow.placing.driver import Driver
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import menus_of
from hedgerow.placing.policies import policy
from hedgerow.placing.schedule import Problem, problem_of
from hedgerow.placing.simulator import run
from hedgerow.placing.view import Believed, Draft, Input, JobRef
from hedgerow.placing.world import AS_BELIEVED
from hedgerow.run import cell, progress, seeds

_SOURCE = "assumed: drawn for an experiment"
GAPS = ("mtec", "lookahead", "heft", "cpop", "peft-list", "min-completion", "earliest-finish", "lavea-sslf", "random")
PAIRS = ("mtec", "lookahead", "ibdash", "heft", "peft-list", "min-completion", "lavea-sslf", "petrel", "round-robin")
_STEPS = 150  # instances that the search for a worst case looks at


# --- small instances -------------------------------------------------------------------------------------------------
def instance(numbers: Mapping[str, Any]) -> tuple[Demand, Believed]:
    """One request of a drawn DAG on a drawn fleet: seconds [D][T], Mbit/s of each pair, edges, bytes of each job."""
    solo = np.array(numbers["solo_s"])
    names = [f"d{i}" for i in range(len(solo))]
    devices = [
        {"name": n, "tier": "edge", "memory": "1GB", "cores": 1, "like": "this", "factor": 1.0, "source": _SOURCE}
        for n in names
    ]
    links = [
        {"from": names[a], "to": names[b], "mbps": rate, "rtt_ms": 2.0, "source": _SOURCE}
        for (a, b), rate in zip(itertools.combinations(range(len(names)), 2), numbers["mbps"], strict=True)
    ]
    fleet = Fleet.of({"home": [names[0]], "devices": devices, "links": links}, "instance")
    works = [Work(f"w{j}", bytes_in=10_000, bytes_out=int(n), seconds=1.0, memory=1, source=_SOURCE)
             for j, n in enumerate(numbers["bytes"])]  # fmt: skip
    jobs = [(f"j{j}", j, [f"j{a}" for a, b in numbers["edges"] if b == j]) for j in range(len(works))]
    app: App = app_of("instance", works, jobs)
    known = s.with_solo(Believed.of(fleet, app, menus_of(app, fleet)), solo)
    return stream(app, fleet.home, 1), known


def drawn(rng: np.random.Generator, jobs: int, devices: int) -> dict[str, Any]:
    """Numbers of one instance. Transfers take about as long as jobs do, so that both matter."""
    speed = np.exp(rng.normal(0, 0.5, devices))[:, None]
    size = np.exp(rng.normal(0, 0.6, jobs))[None, :]
    pairs = devices * (devices - 1) // 2
    edges = [(a, b) for b in range(jobs) for a in range(b) if rng.random() < min(0.9, 2.2 / jobs)]
    return {
        "solo_s": (speed * size * np.exp(rng.normal(0, 0.3, (devices, jobs)))).round(4).tolist(),
        "mbps": np.exp(rng.uniform(np.log(2), np.log(50), pairs)).round(3).tolist(),
        "bytes": np.exp(rng.uniform(np.log(1e4), np.log(2e6), jobs)).round().tolist(),
        "edges": edges,
    }


def problem(demand: Demand, known: Believed) -> Problem:
    """The same instance for the solver."""
    driver = Driver(demand, known, policy("random"), AS_BELIEVED, 0, False)
    view = driver.book.view(0.0, driver.wires.queued_bytes)
    work = known.app.works[known.app.jobs[0].work]
    ref = JobRef(demand.requests[0].id, 0, known.app.jobs[0].work, 0, (Input((0,), work.bytes_in),), None)
    return problem_of(Draft(view), ref)


def latency(name: str, demand: Demand, known: Believed, seed: int = 0) -> float:
    """Seconds of the one request under a policy, nothing hidden and nothing failing."""
    answered = run(demand, known, policy(name), AS_BELIEVED, seed).answered_s[0]
    return float("inf") if answered is None else float(answered)


# --- gaps to the optimum ---------------------------------------------------------------------------------------------
def bounds(root: Path, held: Mapping[str, Any], which: Sequence[int], only: Sequence[str]) -> None:
    """Every policy's latency above the proved optimum, on drawn DAGs without failures: three sizes a seed."""
    sizes = ((8, 4), (12, 5), (16, 6))
    print(f"bounds: {len(which) * len(sizes)} instances, each solved for 30 s at the most", file=sys.stderr)
    rows: list[Mapping[str, Any]] = []
    with progress("bounds", len(which) * len(sizes)) as tick:
        for seed in which:
            for jobs, devices in sizes:
                config = {"scenarios": held["digest"], "jobs": jobs, "devices": devices, "policies": list(only or GAPS)}
                found = cell(root, x.SYSTEM, "bounds", config, seed, lambda c=config, n=seed: _gaps(c, n))  # type: ignore[misc]
                rows.append(found.metrics)
                tick(1)
    proved = [r for r in rows if r["proved"]]
    print(f"{len(proved)} of {len(rows)} optima proved; mean and largest gap to them:")
    for name in only or GAPS:
        gaps = [100 * (r["latency_s"][name] / r["optimum_s"] - 1) for r in proved]
        print(
            f"  {name:<18} {np.mean(gaps):6.2f} %  largest {max(gaps):6.2f} %" if gaps else f"  {name}: nothing proved"
        )


def _gaps(config: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], Any]:
    rng = seeds(seed).generator(f"bounds/{config['jobs']}/{config['devices']}")
    numbers = drawn(rng, config["jobs"], config["devices"])
    demand, known = instance(numbers)
    p = problem(demand, known)
    best = optimum(p)
    took = {name: latency(name, demand, known) for name in config["policies"]}
    return {"optimum_s": best.value, "below_s": best.below, "proved": best.proved, "path_s": lower_bound(p),
            "latency_s": took}, numbers  # fmt: skip


# --- settings --------------------------------------------------------------------------------------------------------
def tune(root: Path, held: Mapping[str, Any], which: Sequence[int], only: Sequence[str]) -> None:
    """Settings of every policy that has some, ours and peers alike, on the tuning seeds: the lowest mean latency among
    those that leave least unfinished. The held-out app and fleet are not looked at."""
    tuning = [n for n in which if n in s.TUNING] or list(s.TUNING)
    apps = [a for a in held["apps"] if a != held["held_out"]["app"]]
    places = [(a, f) for a in apps for f in held["fleets"] if f != held["held_out"]["fleet"]]
    names = [n for n in s.GRIDS if not only or n in only]
    cells = [
        (x.configured(held, {"app": a, "fleet": f, "policy": n, "settings": g, "requests": 60}, {}), seed)
        for n in names for g in s.GRIDS[n] for a, f in places for seed in tuning
    ]  # fmt: skip
    x.go(root, "tune", held, cells)
    chosen: dict[str, Any] = {}
    for n in names:
        scores = [_score(root, held, n, g, places, tuning) for g in s.GRIDS[n]]
        chosen[n] = s.GRIDS[n][int(np.lexsort(([b for _, b in scores], [round(a, 2) for a, _ in scores]))[0])]
    files.write_json(root / x.SYSTEM / "tuned.json", {"scenarios": held["digest"], "seeds": tuning, "settings": chosen})


def _score(
    root: Path, held: Mapping[str, Any], name: str, grid: Mapping[str, Any], places: Sequence[tuple[str, str]],
    tuning: Sequence[int],
) -> tuple[float, float]:  # fmt: skip
    """(share unfinished, mean over places of latency relative to the place's own scale) of one setting."""
    lost, took = [], []
    for a, f in places:
        given = x.configured(held, {"app": a, "fleet": f, "policy": name, "settings": grid, "requests": 60}, {})
        found = [_tuned(root, held, given, n) for n in tuning]
        scale = float(np.array(held["solo_s"][f"{a}/{f}"]).sum(1).mean()) * 1e3
        lost += [m["unfinished"] for m in found]
        took += [m["latency_mean_ms"] / scale for m in found if m["latency_mean_ms"] is not None]
    return float(np.mean(lost)), float(np.mean(took)) if took else float("inf")


def _tuned(root: Path, held: Mapping[str, Any], given: x.Cell, seed: int) -> dict[str, Any]:
    return cell(root, x.SYSTEM, "tune", given, seed, lambda: x.live(held, given, seed)).metrics


# --- worst cases -----------------------------------------------------------------------------------------------------
def worst(root: Path, held: Mapping[str, Any], which: Sequence[int], only: Sequence[str]) -> None:
    """For every ordered pair (A, B): an instance on which A takes as many times as long as B as could be found.

    Hill climbing from random instances, after Coleman & Krishnamachari 2024 (PISA); the instance is kept.
    """
    names = list(only or PAIRS)
    pairs = [(a, b) for a in names for b in names if a != b]
    print(f"worst: {len(pairs)} pairs, {_STEPS} instances each, {len(which)} starts", file=sys.stderr)
    found = {}
    with progress("worst", len(pairs) * len(which)) as tick:
        for a, b in pairs:
            ratios = []
            for seed in which:
                config = {"scenarios": held["digest"], "policy": a, "against": b, "steps": _STEPS}
                kept = cell(root, x.SYSTEM, "worst", config, seed, lambda c=config, n=seed: _climb(c, n))  # type: ignore[misc]
                ratios.append(float(kept.metrics["ratio"]))
                tick(1)
            found[a, b] = max(ratios)
    print("times as long as the policy of the column, in the worst case found:")
    print(" " * 18 + "".join(f"{b[:11]:>12}" for b in names))
    for a in names:
        print(f"{a:<18}" + "".join(f"{found[a, b]:12.2f}" if a != b else " " * 11 + "–" for b in names))


def _climb(config: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], Any]:
    rng = seeds(seed).generator(f"worst/{config['policy']}/{config['against']}")
    best = drawn(rng, 6, 3)
    ratio = _ratio(config, best)
    for step in range(config["steps"]):
        tried = drawn(rng, 6, 3) if step < config["steps"] // 5 else changed(best, rng)
        found = _ratio(config, tried)
        if found > ratio:
            best, ratio = tried, found
    return {"ratio": ratio}, best


def _ratio(config: Mapping[str, Any], numbers: Mapping[str, Any]) -> float:
    demand, known = instance(numbers)
    return latency(config["policy"], demand, known) / latency(config["against"], demand, known)


def changed(numbers: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A neighbouring instance: one number scaled, or one edge more or less."""
    found: dict[str, Any] = {
        key: [list(row) if isinstance(row, list) else row for row in value] for key, value in numbers.items()
    }
    what = rng.choice(["solo_s", "mbps", "bytes", "edges"])
    if what == "edges":
        b = int(rng.integers(1, len(found["bytes"])))
        edge = (int(rng.integers(b)), b)
        edges = [tuple(e) for e in found["edges"]]
        found["edges"] = [e for e in edges if e != edge] if edge in edges else [*edges, edge]
        return found
    row: list[Any] = found[str(what)]
    i = int(rng.integers(len(row)))
    factor = float(np.exp(rng.normal(0, 0.7)))
    if what == "solo_s":
        k = int(rng.integers(len(row[i])))
        row[i][k] = float(np.clip(row[i][k] * factor, 0.05, 20.0))
    else:
        row[i] = float(np.clip(row[i] * factor, *((1.0, 200.0) if what == "mbps" else (1e3, 1e7))))
    return found
