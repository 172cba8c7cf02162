"""The experiments of M-TEC, one command each: ``python -m hedgerow.placing.experiment NAME``.

``scenarios`` writes the scenarios (once, before any result), ``tune`` chooses settings on seeds 0-29, the others run
on seeds 30-59; ``summary NAME`` prints what came out, whichever way it fell. Every finished cell is one JSON under
``results/mtec/NAME``; a stopped run goes on where it was. The hours that it will take are printed first.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing import scenarios as s
from hedgerow.placing.bounds import clairvoyant
from hedgerow.placing.dag import stream
from hedgerow.placing.generators import markov_links, step_links
from hedgerow.placing.learning import Planner
from hedgerow.placing.measures import measures
from hedgerow.placing.policies import POLICIES, policy
from hedgerow.placing.simulator import Run, run
from hedgerow.placing.traces import Trace
from hedgerow.placing.view import Policy
from hedgerow.placing.world import World, draw
from hedgerow.run import cell, progress, result_path, seeds

SYSTEM = "mtec"
PEERS = ("lavea-sqlf", "petrel", "lats", "round-robin", "random")  # the five that IBDASH compared itself with
CONTROLS = ("local-only", "cloud-only", "heft", "clairvoyant")
ALL = ("mtec", "lookahead", "ibdash", *PEERS, "dcc", "lavea-sslf", "cpop", "peft-list", "min-completion", "condor-rank",
       "earliest-finish", *CONTROLS)  # fmt: skip
FEW = ("mtec", "lookahead", "ibdash", "lavea-sslf", "petrel", "heft", "min-completion", "random", "clairvoyant")
_TRIAL = 6  # requests of the trial run from which hours are foretold

Cell = dict[str, Any]


def fidelity() -> Iterator[Cell]:
    """Every app on every kind of fleet under the predecessor's load; devices really die."""
    yield from ({"app": a, "fleet": f, "policy": p} for a in _apps() for f in ("mixed", "PED", "CED") for p in ALL)
    yield from ({"app": s.HELD_OUT_APP, "fleet": s.HELD_OUT_FLEET, "policy": p} for p in ALL)


def network() -> Iterator[Cell]:
    """1, 5, 20 and 100 Mbit/s; a step in mid-run; Markov links; what stale beliefs cost."""
    for p in FEW:
        for a in ("mapreduce", "lightgbm"):
            base = {"app": a, "fleet": "mixed", "policy": p}
            yield from ({**base, "mbps": rate} for rate in (1.0, 5.0, 20.0, 100.0))
            for links in ("stated", "passive"):
                yield from ({**base, "links": how, "planner": {"links": links}} for how in ("step", "markov"))


def failures() -> Iterator[Cell]:
    """Failure rates x 0.1, 1, 10; most replicas 1 to 9; weights."""
    base = {"app": "mapreduce", "fleet": "PED"}
    yield from ({**base, "policy": p, "lam": lam} for p in FEW for lam in (0.1, 1.0, 10.0))
    for n in range(1, 10):
        yield {**base, "policy": "mtec", "settings": {"most": n, "threshold": 0.05}}
        yield {**base, "policy": "ibdash", "settings": {"gamma": n, "beta": 0.05}}
    for lat in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        for share in (0.0, 0.5, 1.0):
            weights = {"w_lat": lat, "w_pf": round((1 - lat) * share, 3), "w_cost": round((1 - lat) * (1 - share), 3)}
            yield {**base, "fleet": "mixed", "policy": "mtec", "settings": weights}


def ablations() -> Iterator[Cell]:
    """Each addition turned off: what is learnt, replicas, the ready list, the expected minimum, honest parents."""
    for a, f in (("mapreduce", "mixed"), ("lightgbm", "PED")):
        base = {"app": a, "fleet": f, "policy": "mtec"}
        yield base
        for links in ("stated", "ping", "passive"):
            yield {**base, "links": "markov", "planner": {"links": links}}
        yield from ({**base, "planner": {"interference": how}} for how in ("none", "prior", "learnt"))
        yield from ({**base, "planner": {"survival": how}} for how in ("stated", "gamma", "kaplan-meier"))
        for off in ({"most": 1}, {"stages": True}, {"expected_minimum": False}, {"distinct": False, "stages": True}):
            yield {**base, "settings": off}


def scale() -> Iterator[Cell]:
    """10 to 5000 devices around one hub: decision time and latency."""
    for count in (10, 100, 1000, 5000):
        few = ("mtec", "lookahead", "petrel", "min-completion", "random", "round-robin")
        yield from ({"app": "mapreduce", "devices": count, "policy": p, "requests": 20} for p in few)


EXPERIMENTS = {
    "fidelity": fidelity, "network": network, "failures": failures, "ablations": ablations, "scale": scale,
}  # fmt: skip


def _apps() -> list[str]:
    return ["lightgbm", "mapreduce", "matrix", "video"]


# --- one cell --------------------------------------------------------------------------------------------------------
def configured(held: Mapping[str, Any], given: Cell, tuned: Mapping[str, Any]) -> Cell:
    """A cell with all that decides it written out."""
    name = given["policy"]
    settings = {**held["settings"].get(name, {}), **tuned.get(name, {}), **given.get("settings", {})}
    planner = {"interference": "learnt", "survival": "gamma", **given.get("planner", {})}
    return {
        "scenarios": held["digest"], "app": given["app"], "fleet": given.get("fleet"), "devices": given.get("devices"),
        "policy": name, "settings": settings, "planner": planner, "lam": given.get("lam", 1.0),
        "mbps": given.get("mbps"), "links": given.get("links", "steady"),
        "requests": given.get("requests", held["load"]["requests"]),
    }  # fmt: skip


def built(name: str, settings: Mapping[str, Any]) -> Policy:
    """A policy with settings; one that has none takes none."""
    found = policy(name)
    return cast(Policy, dataclasses.replace(cast(Any, found), **settings)) if settings else found


def live(held: Mapping[str, Any], config: Cell, seed: int) -> tuple[dict[str, Any], Any]:
    """(metrics, items) of one cell: per request its latency in s (None: unfinished) and whether a death hit it."""
    made = _star(held, config) if config["devices"] else s.scenario(held, config["app"], config["fleet"], config["lam"],
                                                                   config["mbps"])  # fmt: skip
    load = held["load"]
    every = 1e3 * load["window_s"] / load["requests"]
    demand = stream(made.app, made.fleet.home, config["requests"], every)
    world = World(interference=made.interference, interference_spread=0.3, patience_s=load["horizon_s"])
    until = load["window_s"] + load["horizon_s"]
    if config["policy"] == "clairvoyant":
        works = [w.name for w in made.app.works]
        truth = draw(world, made.fleet, len(demand.requests), len(made.app.jobs), seed, works)
        chosen: Policy = clairvoyant(made.known, truth, until)
    else:
        chosen = built(config["policy"], config["settings"])
    trace = _trace(config["links"], made, until, seed, load["window_s"])
    found = run(demand, made.known, chosen, world, seed, planner=Planner.model_validate(config["planner"]), trace=trace)
    metrics: dict[str, Any] = dict(measures(found, demand, made.known))
    metrics["decision_ms"] = _decision(found)
    metrics["trace"] = trace.kind if trace is not None else "none"
    took = [
        None if a is None else round(a - r.arrives_s, 6) for a, r in zip(found.answered_s, demand.requests, strict=True)
    ]
    return metrics, {"latency_s": took, "failed": [bool(x) for x in found.failed]}


def _decision(found: Run) -> dict[str, float]:
    times = np.array(found.decision_s) * 1e3
    return {"p50": float(np.quantile(times, 0.5)), "p95": float(np.quantile(times, 0.95)), "calls": float(len(times))}


def _trace(how: str, made: s.Scenario, until: float, seed: int, window: float) -> Trace | None:
    if how == "markov":
        return markov_links(made.fleet, until, seeds(seed).generator("links"))
    if how == "step":  # the fastest device that is not home falls behind a tenth of its rate
        fast = int(np.argmin([float(np.mean([c.run_s[list(c.device).index(d)] for c in made.known.candidates]))
                              for d in range(1, len(made.fleet.devices))])) + 1  # fmt: skip
        return step_links(made.fleet, window / 2, 0.1, [made.fleet.names[fast]])
    return None


def _star(held: Mapping[str, Any], config: Cell) -> s.Scenario:
    """Many devices around one hub, tiers and speeds drawn; links are as many as devices."""
    rng = seeds(s.SEED).generator(f"star/{config['devices']}")
    base = held["fleets"]["mixed"]["devices"]
    devices = [{**base[i % len(base)], "name": f"d{i}"} for i in range(config["devices"])]
    devices[0] = {**devices[0], "failure": {**devices[0]["failure"], "mean_up_s": 1e9}}
    links = [{"from": "d0", "to": f"d{i}", "mbps": round(float(rng.uniform(5, 100)), 2), "rtt_ms": 8.0,
              "source": "assumed: drawn for an experiment"} for i in range(1, len(devices))]  # fmt: skip
    star = {"name": "mixed", "home": ["d0"], "devices": devices, "links": links}
    solo = np.array(held["solo_s"][f"{config['app']}/mixed"])[np.arange(len(devices)) % len(base)]
    solo = solo * np.exp(0.3 * rng.standard_normal(len(devices)))[:, None]
    body = {**held, "fleets": {"star": star}, "solo_s": {f"{config['app']}/star": solo.tolist()}}
    return s.scenario(body, config["app"], "star", config["lam"])


# --- running ---------------------------------------------------------------------------------------------------------
def hours(held: Mapping[str, Any], todo: Sequence[tuple[Cell, int]]) -> float:
    """Hours that the cells will take here, foretold from a short trial of each policy."""
    took: dict[tuple[Any, ...], float] = {}
    total = 0.0
    for config, seed in todo:
        kind = (config["policy"], config["app"], config["devices"])
        if kind not in took:
            before = time.perf_counter()
            live(held, {**config, "requests": min(_TRIAL, config["requests"])}, seed)
            took[kind] = (time.perf_counter() - before) / min(_TRIAL, config["requests"])
        total += took[kind] * config["requests"]
    return total / 3600


def main(
    name: Annotated[str, typer.Argument(help="scenarios, tune, bounds, worst, summary, or an experiment's name.")],
    which: Annotated[str, typer.Argument(help="For summary: of which experiment.")] = "fidelity",
    root: Annotated[Path, typer.Option(help="Where results lie.")] = Path("results"),
    first: Annotated[int, typer.Option(help="First seed.")] = s.REPORTING.start,
    count: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = len(s.REPORTING),
    only: Annotated[str, typer.Option(help="Policies, separated by commas; empty: all.")] = "",
) -> None:
    """Run one of M-TEC's experiments, or what belongs to them."""
    path = root / SYSTEM / "scenarios.json"
    if name == "scenarios":
        if path.exists() and s.load(path) != s.generate():
            raise HedgerowError(f"{path} holds other scenarios, and results may rest on them; move them away first")
        files.write_json(path, s.generate())
        print(f"{path}: {s.generate()['digest']}")
        return
    if name == "summary":
        from hedgerow.placing.summary import summary

        print(summary(root, which))
        return
    held = s.load(path)
    chosen = [p for p in only.split(",") if p]
    for p in chosen:
        if p not in (*POLICIES, "clairvoyant"):
            raise HedgerowError(f"no policy is called '{p}'{did_you_mean(p, POLICIES)}")
    if name in ("bounds", "worst", "tune"):
        from hedgerow.placing import search

        getattr(search, name)(root, held, range(first, first + count), chosen)
        return
    if name not in EXPERIMENTS:
        known = [*EXPERIMENTS, "scenarios", "tune", "bounds", "worst", "summary"]
        raise HedgerowError(f"no experiment is called '{name}'{did_you_mean(name, known)}")
    tuned = files.read_json(root / SYSTEM / "tuned.json") if (root / SYSTEM / "tuned.json").exists() else {}
    cells = [configured(held, c, tuned.get("settings", {})) for c in EXPERIMENTS[name]()]
    cells = [c for c in cells if not chosen or c["policy"] in chosen]
    go(root, name, held, [(c, seed) for seed in range(first, first + count) for c in cells])


def go(root: Path, name: str, held: Mapping[str, Any], cells: Sequence[tuple[Cell, int]]) -> None:
    """Run what is missing, one resumable cell after the other."""
    unique = {result_path(root, SYSTEM, name, c, seed): (c, seed) for c, seed in cells}
    todo = [pair for path, pair in unique.items() if not path.exists()]
    said = f"{name}: {len(unique)} cells, {len(unique) - len(todo)} done"
    print(f"{said}, about {hours(held, todo):.2f} hours to go" if todo else said, file=sys.stderr)
    with progress(name, len(todo)) as tick:
        for config, seed in todo:
            cell(root, SYSTEM, name, config, seed, lambda c=config, n=seed: live(held, c, n))  # type: ignore[misc]
            tick(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except HedgerowError as e:
        print(e, file=sys.stderr)
        raise SystemExit(1) from None
