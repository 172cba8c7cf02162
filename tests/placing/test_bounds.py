"""Bounds: CP-SAT against brute force, brute force against the simulator, lower bounds below both."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import fabricated as f
import numpy as np
import pytest
from test_policies import job, view_of
from test_simulator import known, plain, simulate

from hedgerow.errors import HedgerowError
from hedgerow.placing import World
from hedgerow.placing.bounds import (
    Given,
    clairvoyant,
    critical_path,
    exhaustive,
    least_work,
    lower_bound,
    never_faster,
    optimum,
)
from hedgerow.placing.dag import app_of, stream
from hedgerow.placing.policies import POLICIES, policy
from hedgerow.placing.schedule import evaluate, problem_of
from hedgerow.placing.simulator import run
from hedgerow.placing.view import Draft
from hedgerow.placing.world import AS_BELIEVED, draw


def small(seed: int, jobs: int = 4, devices: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    made = [f.device(f"d{i}", factor=float(x), cores=int(rng.integers(1, 3)))
            for i, x in enumerate(rng.uniform(0.5, 3, devices))]  # fmt: skip
    links = [
        f.link(f"d{a}", f"d{b}", mbps=float(rng.uniform(2, 60)), rtt_ms=4)
        for a, b in itertools.combinations(range(devices), 2)
    ]
    works = [plain(f"w{j}", float(rng.uniform(0.1, 1)), 10_000, int(rng.integers(1, 300_000))) for j in range(jobs)]
    wired = [(f"j{j}", j, [f"j{d}" for d in range(j) if rng.random() < 0.5]) for j in range(jobs)]
    app = app_of("dag", works, wired)
    k = known(f.fleet(made, links), app)
    return k, problem_of(Draft(view_of(k)), job(k)), stream(app, ["d0"], 1)


@pytest.mark.parametrize("seed", range(8))
def test_the_bounds_stand_in_their_order(seed: int) -> None:
    """path, work <= CP-SAT <= every assignment sent off when ready <= the same in the simulator (links have queues)."""
    k, p, demand = small(seed)
    bound = optimum(p)
    assert bound.proved and bound.below == pytest.approx(bound.value)
    model = min(evaluate(p, c)[0] for c in itertools.product(range(3), repeat=4))
    found, where = exhaustive(demand, k, AS_BELIEVED, 0)
    assert max(critical_path(p), least_work(p)) == lower_bound(p) <= bound.value + 1e-5
    assert bound.value <= model + 1e-5 and model <= found + 1e-9
    assert found == pytest.approx(run(demand, k, Given(where), AS_BELIEVED, 0).answered_s[0])
    for name in sorted(set(POLICIES) - {"cloud-only"}):
        answer = simulate(k.fleet, demand, name).answered_s[0]
        assert answer is not None and answer >= bound.value - 1e-5, name


def test_cp_sat_is_the_best_of_all_orders_and_places() -> None:
    """Two jobs that both want the fast device: trying all by hand gives the same."""
    fleet = f.fleet([f.device("d0", factor=3.0), f.device("d1")], [f.link("d0", "d1", mbps=1e6)])
    k = known(fleet, app_of("two", [plain("w", 1.0), plain("v", 2.0)], [("a", 0, []), ("b", 1, [])]))
    assert optimum(problem_of(Draft(view_of(k)), job(k))).value == pytest.approx(
        3.0, abs=1e-4
    )  # both on d1, or 3 on d0
    busy = view_of(k, free_at=np.array([[0.0], [5.0]]))
    assert optimum(problem_of(Draft(busy), job(k))).value == pytest.approx(6.0, abs=1e-4)  # b on d0, a on d1 after 5


def test_with_co_running_solo_times_still_bound_from_below() -> None:
    k, p, demand = small(3)
    world = World(failures=False, jitter=False, doubt=0.0, interference=0.8)
    truth = draw(world, k.fleet, 1, 4, 0, [w.name for w in k.app.works])
    assert never_faster(truth)
    slowed, _ = exhaustive(demand, k, world, 0)
    assert slowed >= exhaustive(demand, k, AS_BELIEVED, 0)[0] - 1e-9 >= optimum(p).value - 1e-5


def test_who_knows_the_deaths_loses_nothing() -> None:
    failing = {"mean_up_s": 4.0, "mean_down_s": 1.0, "source": "assumed: test"}
    devices = [f.device("a", factor=6.0), *(f.device(n, failure=failing) for n in "bc")]
    fleet = f.fleet(devices, [f.link("a", "b", mbps=1e5), f.link("a", "c", mbps=1e5)])
    app = app_of("one", [plain("w", 1.0)], [("x", 0, [])])
    k, demand, world = known(fleet, app), stream(app, ["a"], 20, every_ms=900), World(doubt=0.0, notice_s=0.5)
    lost = {"knows": 0, "does not": 0}
    for seed in range(4):
        truth = draw(world, fleet, 20, 1, seed, ["w"])
        lost["knows"] += run(demand, k, clairvoyant(k, truth, 1e4), world, seed).lost
        lost["does not"] += run(demand, k, policy("earliest-finish"), world, seed).lost
    assert lost["knows"] == 0 < lost["does not"]


def test_what_bounds_refuse_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    k, p, demand = small(0, jobs=12, devices=4)
    with pytest.raises(HedgerowError, match="too many to try"):
        exhaustive(demand, k, AS_BELIEVED, 0)
    with pytest.raises(HedgerowError, match="for one request"):
        exhaustive(stream(demand.app, ["d0"], 2), k, AS_BELIEVED, 0)
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(HedgerowError, match=r"pip install 'hedgerow\[bounds\]'"):
        optimum(p)
