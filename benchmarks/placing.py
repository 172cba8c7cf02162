"""How fast placing is: one greedy decision against a plain argmin over the same matrix, and events of the simulator.

    python benchmarks/placing.py              prints, and writes results/benchmarks/placing/…json

Run it on a quiet machine: times on a busy one say nothing.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import time
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.placing import scenarios as s
from hedgerow.placing.dag import Work, app_of, stream
from hedgerow.placing.driver import Driver
from hedgerow.placing.experiment import _star
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import menus_of
from hedgerow.placing.policies import policy
from hedgerow.placing.view import Believed, Input, JobRef
from hedgerow.placing.world import AS_BELIEVED
from hedgerow.run import save_result

ROOT = Path(__file__).parent.parent
DEVICES = (10, 100, 1000, 5000)
POLICIES = ("mtec", "min-completion", "earliest-finish", "petrel", "random")
REPEATS = 60


def decision(devices: int) -> dict[str, float]:
    """Median ms of one decision of each policy, and of an argmin over a matrix [devices, terms] of what it weighs."""
    held = s.generate()
    made = _star(held, {"app": "mapreduce", "devices": devices, "lam": 1.0})
    driver = Driver(stream(made.app, made.fleet.home, 1), made.known, policy("random"), AS_BELIEVED, 0, False)
    view = driver.book.view(0.0, driver.wires.queued_bytes)
    work = made.app.works[made.app.jobs[0].work]
    job = JobRef("request-1", 0, made.app.jobs[0].work, 0, (Input((0,), work.bytes_in),), None)
    found = {}
    for name in POLICIES:
        chosen, times = policy(name), []
        for _ in range(REPEATS):
            rng, state = np.random.default_rng(0), chosen.start(made.fleet)
            before = time.perf_counter()
            chosen.place([job], view, state, rng)
            times.append(time.perf_counter() - before)
        found[name] = 1e3 * float(np.median(times))
    matrix = np.random.default_rng(0).uniform(size=(devices, 9))  # six times, failure, cost, refusal
    times = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        int(np.argmin(matrix.sum(1)))
        times.append(time.perf_counter() - before)
    return {**found, "argmin": 1e3 * float(np.median(times))}


def events(requests: int = 4000) -> dict[str, float]:
    """Task events (ready, sent off, begun, ended) a second of a run under `random` on eight devices."""
    source = "assumed: a benchmark"
    devices: list[dict[str, Any]] = [
        {"name": f"d{i}", "tier": "edge", "memory": "1GB", "cores": 4, "like": "this", "factor": 1.0, "source": source}
        for i in range(8)
    ]
    links = [{"from": "d0", "to": f"d{i}", "mbps": 1000, "rtt_ms": 1, "source": source} for i in range(1, 8)]
    fleet = Fleet.of({"home": "d0", "devices": devices, "links": links}, "benchmark")
    app = app_of(
        "one", [Work("w", seconds=0.05, memory=1, bytes_in=1000, bytes_out=100, source=source)], [("w", 0, [])]
    )
    known = Believed.of(fleet, app, menus_of(app, fleet))
    driver = Driver(stream(app, fleet.home, requests, 2.0), known, policy("random"), AS_BELIEVED, 0, False)
    before = time.perf_counter()
    driver.live()
    seconds = time.perf_counter() - before
    return {"seconds": seconds, "task_events_per_s": 4 * requests / seconds}


def main() -> None:
    """Measure, print, keep."""
    started = time.time()
    metrics: dict[str, Any] = {"decision_ms": {str(n): decision(n) for n in DEVICES}, "simulator": events()}
    for count, row in metrics["decision_ms"].items():
        print(f"{count:>5} devices: " + ", ".join(f"{k} {v:.3f} ms" for k, v in row.items()))
    print(f"simulator: {metrics['simulator']['task_events_per_s']:.0f} task events a second")
    print(save_result(ROOT / "results", "benchmarks", "placing", {"repeats": REPEATS}, 0, metrics, None, started))


if __name__ == "__main__":
    main()
