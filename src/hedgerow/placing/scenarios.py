"""The scenarios of the M-TEC experiments: apps, fleets, loads and every policy's settings, drawn once and kept.

They are written to ``results/mtec/scenarios.json`` and committed before any result of ``mtec`` exists; every cell of an
experiment names their digest. All numbers are drawn by us from stated ranges: total time of an app from the fastest to
the slowest device, and how much one co-runner costs, after what the predecessor's profiles were described to show; no
device of these fleets exists, and lifetimes are greatly sped up. They are no household's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing.dag import App, Work, app_of
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import menus_of
from hedgerow.placing.view import Believed
from hedgerow.run import seeds

SEED = 2409
REQUESTS, WINDOW_S, HORIZON_S = 200, 150.0, 2000.0  # the predecessor's load, a hundred times slower
TUNING, REPORTING = range(30), range(30, 60)
HELD_OUT_APP, HELD_OUT_FLEET = "video", "held-out"

# name -> (seconds of all tasks on the fastest and on the slowest device, share that one co-runner costs, tasks)
_SHARES: dict[str, tuple[float, float, float, list[tuple[str, str, list[str]]]]] = {
    "lightgbm": (13, 98, 0.69, [("pca", "pca", []), ("train 1", "train", ["pca"]), ("train 2", "train", ["pca"]),
                                ("combine", "combine", ["train 1", "train 2"])]),
    "mapreduce": (25, 88, 0.29, [("split", "split", []), *((f"map {i}", "map", ["split"]) for i in range(1, 5)),
                                 *((f"reduce {i}", "reduce", [f"map {k}" for k in range(1, 5)]) for i in (1, 2)),
                                 ("combine", "combine", ["reduce 1", "reduce 2"])]),
    "matrix": (5, 8, 0.67, [("generate", "generate", []), ("transpose", "transpose", ["generate"]),
                            ("power", "power", ["generate"]), ("product", "product", ["transpose", "power"]),
                            ("final", "final", ["product"])]),
    "video": (10, 29, 0.40, [("split", "split", []), *((f"frames {i}", "frames", ["split"]) for i in (1, 2, 3)),
                             *((f"classify {i}", "classify", [f"frames {i}"]) for i in (1, 2, 3)),
                             ("gather", "gather", [f"classify {i}" for i in (1, 2, 3)])]),
}  # fmt: skip

# tier -> (mean seconds up, from and to; price of a busy second, from and to; Mbit/s, from and to; ms of round trip)
_TIERS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], float]] = {
    "phone": ((60.0, 900.0), (0.0, 0.0), (5.0, 40.0), 8.0),
    "laptop": ((120.0, 1800.0), (0.0, 0.0), (20.0, 100.0), 4.0),
    "edge": ((900.0, 7200.0), (0.00002, 0.00006), (50.0, 200.0), 4.0),
    "cloud": ((20_000.0, 90_000.0), (0.00008, 0.0002), (20.0, 60.0), 40.0),
}
_FLEETS = {
    "mixed": ["phone", "phone", "laptop", "laptop", "edge", "edge", "edge", "cloud"],
    "PED": ["phone", "phone", "phone", "phone", "laptop", "laptop", "laptop", "laptop"],
    "CED": ["phone", "edge", "edge", "edge", "edge", "edge", "edge", "edge"],
    HELD_OUT_FLEET: ["laptop", "phone", "phone", "laptop", "edge", "cloud"],
}
_RANK = {"phone": 3, "laptop": 2, "edge": 1, "cloud": 0}
_SOURCE = "assumed: drawn for an experiment"


@dataclass(frozen=True)
class Scenario:
    """An app on a fleet: what is believed, and the share that one co-runner costs."""

    app: App
    fleet: Fleet
    known: Believed
    interference: float


def generate() -> dict[str, Any]:
    """All scenarios as plain values, the same on every machine."""
    fleets = {name: _fleet(name, tiers) for name, tiers in _FLEETS.items()}
    apps = {name: _app(name) for name in _SHARES}
    solo = {f"{a}/{f}": _solo(a, fleets[f]) for a in apps for f in fleets}
    body = {
        "format": 1,
        "seed": SEED,
        "load": {"requests": REQUESTS, "window_s": WINDOW_S, "horizon_s": HORIZON_S},
        "seeds": {"tuning": [0, 30], "reporting": [30, 60]},
        "held_out": {"app": HELD_OUT_APP, "fleet": HELD_OUT_FLEET},
        "apps": apps,
        "fleets": fleets,
        "solo_s": solo,
        "settings": SETTINGS,
    }
    return {**body, "digest": files.digest(body)}


# Settings of every policy that has some, before any tuning; `experiment tune` chooses among the grids.
SETTINGS: dict[str, dict[str, float]] = {
    "mtec": {"w_lat": 0.6, "w_pf": 0.25, "w_cost": 0.15, "threshold": 0.25, "most": 3},
    "ibdash": {"alpha": 0.5, "beta": 0.25, "gamma": 3},
    "lookahead": {"budget": 300},
}
GRIDS: dict[str, list[dict[str, float]]] = {
    "mtec": [
        {"w_lat": lat, "w_pf": round((1 - lat) * share, 4), "w_cost": round((1 - lat) * (1 - share), 4), "threshold": t}
        for lat in (0.4, 0.6, 0.8, 0.9)
        for share in (0.5, 0.8, 1.0)
        for t in (0.1, 0.25)
    ],
    "ibdash": [{"alpha": a, "beta": b, "gamma": g} for a in (0.2, 0.5, 0.8) for b in (0.1, 0.25) for g in (2, 3)],
    "petrel": [{"with_replacement": x} for x in (False, True)],
    "lats": [{"clamps": x} for x in (False, True)],
    "dcc": [{"shared": x} for x in (False, True)],
}


def _app(name: str) -> dict[str, Any]:
    rng = seeds(SEED).generator(f"app/{name}")
    _, _, share, tasks = _SHARES[name]
    kinds = list(dict.fromkeys(kind for _, kind, _ in tasks))
    sizes = {k: [int(x) for x in np.exp(rng.uniform(np.log(5e4), np.log(8e6), 2))] for k in kinds}
    memory = {k: int(rng.integers(20, 200)) * 1_000_000 for k in kinds}
    return {
        "interference": share,
        "works": [{"name": k, "bytes_in": sizes[k][0], "bytes_out": sizes[k][1], "memory": memory[k]} for k in kinds],
        "jobs": [{"name": n, "work": kinds.index(k), "deps": deps} for n, k, deps in tasks],
    }


def _fleet(name: str, tiers: Sequence[str]) -> dict[str, Any]:
    rng = seeds(SEED).generator(f"fleet/{name}")
    devices: list[dict[str, Any]] = []
    rates = []
    for i, tier in enumerate(tiers):
        (low, high), (cheap, dear), (slow, fast), _ = _TIERS[tier]
        up = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        rates.append(float(np.exp(rng.uniform(np.log(slow), np.log(fast)))))
        devices.append(
            {
                "name": f"{tier}{i + 1}", "tier": tier, "memory": "4GB", "cores": 4, "like": "this", "factor": 1.0,
                "source": _SOURCE, "price_per_s": round(float(rng.uniform(cheap, dear)), 7),
                "failure": {"mean_up_s": round(up, 1), "mean_down_s": 30.0, "source": _SOURCE},
            }
        )  # fmt: skip
    links = []
    for i, a in enumerate(devices):
        for k in range(i + 1, len(devices)):
            b, rtt = devices[k], _TIERS[a["tier"]][3] + _TIERS[devices[k]["tier"]][3]
            egress = 0.05 if "cloud" in (a["tier"], b["tier"]) else 0.0
            links.append({"from": a["name"], "to": b["name"], "mbps": round(min(rates[i], rates[k]), 2), "rtt_ms": rtt,
                          "price_per_gb": egress, "source": _SOURCE})  # fmt: skip
    return {"name": name, "home": [devices[0]["name"]], "devices": devices, "links": links}


def _solo(app: str, fleet: Mapping[str, Any]) -> list[list[float]]:
    """[D][T] seconds alone: the app's total from the fastest to the slowest device, split with a spread by type."""
    rng = seeds(SEED).generator(f"solo/{app}/{fleet['name']}")
    low, high, _, tasks = _SHARES[app]
    kinds = [kind for _, kind, _ in tasks]
    names = list(dict.fromkeys(kinds))
    part = rng.dirichlet(np.full(len(names), 4.0))
    count = np.array([kinds.count(n) for n in names])
    part = part / (part * count).sum()
    tiers = np.array([_RANK[d["tier"]] for d in fleet["devices"]], float)
    order = np.argsort(np.argsort(tiers + rng.uniform(0, 0.9, len(tiers))))
    total = low * (high / low) ** (order / max(1, len(order) - 1))
    return [[round(float(t * p * np.exp(0.15 * rng.standard_normal())), 4) for p in part] for t in total]


# --- use -------------------------------------------------------------------------------------------------------------
def load(path: Path) -> dict[str, Any]:
    """The kept scenarios; HedgerowError when they are not those of their digest."""
    held: dict[str, Any] = files.read_json(path)
    body = {k: v for k, v in held.items() if k != "digest"}
    if files.digest(body) != held.get("digest"):
        raise HedgerowError(f"{path}: the scenarios do not have the digest that they state; take the committed file")
    return held


def scenario(
    held: Mapping[str, Any], app: str, fleet: str, lam: float = 1.0, mbps: float | None = None, cores: int | None = None
) -> Scenario:
    """One of them. ``lam`` multiplies all failure rates, ``mbps`` replaces all link rates, ``cores`` all slots."""
    for what, name in (("apps", app), ("fleets", fleet)):
        if name not in held[what]:
            raise HedgerowError(f"there is no scenario '{name}'{did_you_mean(name, held[what])}")
    given = held["fleets"][fleet]
    devices = [
        {**d, "cores": cores or d["cores"],
         "failure": {**d["failure"], "mean_up_s": d["failure"]["mean_up_s"] / lam}} for d in given["devices"]
    ]  # fmt: skip
    links = [{**x, "mbps": mbps or x["mbps"]} for x in given["links"]]
    made = Fleet.of({**given, "devices": devices, "links": links}, fleet)
    wanted = held["apps"][app]
    works = [Work(w["name"], bytes_in=w["bytes_in"], bytes_out=w["bytes_out"], memory=w["memory"], seconds=1.0,
                  source=_SOURCE) for w in wanted["works"]]  # fmt: skip
    dag = app_of(app, works, [(j["name"], j["work"], j["deps"]) for j in wanted["jobs"]])
    known = with_solo(Believed.of(made, dag, menus_of(dag, made)), np.array(held["solo_s"][f"{app}/{fleet}"]))
    return Scenario(dag, made, known, float(wanted["interference"]))


def with_solo(known: Believed, solo: np.ndarray) -> Believed:
    """The same with seconds [D, T] of each type on each device: which device is faster may depend on the type."""
    candidates = []
    for t, c in enumerate(known.candidates):
        run = solo[c.device, t].astype(float)
        run.flags.writeable = False
        candidates.append(dataclasses.replace(c, run_s=run))
    return dataclasses.replace(known, candidates=tuple(candidates))
