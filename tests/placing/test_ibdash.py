"""IBDASH against a plain transcription of its rule, and M-TEC with every addition switched off against both."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import fabricated as f
import numpy as np
import pytest
from test_policies import job, view_of
from test_simulator import known, plain, simulate

from hedgerow.placing import World
from hedgerow.placing.dag import app_of, stream
from hedgerow.placing.policies import policy
from hedgerow.placing.policies.common import exec_seconds, levels
from hedgerow.placing.policies.ibdash import Ibdash
from hedgerow.placing.policies.mtec import reduced
from hedgerow.placing.view import Believed, View

TICK = 0.001


def reference(view: View, home: int, slope: Any, cut: Any, alpha: float, beta: float, gamma: int, rng: Any) -> Any:
    """The rule, step by step, in plain Python: {job: ([device, …], PF)}; the books of one request on an idle fleet."""
    app, k = view.known.app, view.known
    lam = view.beliefs.failure_rate
    books: list[list[list[float]]] = [[] for _ in k.fleet.devices]  # [type, start, end]
    cache: set[tuple[int, int]] = set()
    found: dict[int, tuple[list[int], float]] = {}
    elapsed = 0.0

    def execute(d: int, t: int, beside: list[int]) -> float:
        if not any(beside):
            return float(cut[d][t][t])
        line = sum(float(slope[d][t][u]) * x for u, x in enumerate(beside))
        return line + sum(float(cut[d][t][u]) for u, x in enumerate(beside) if x > 0)

    def counts(d: int, at: float, without: Any = None) -> list[int]:
        found = [0] * len(app.works)
        for entry in books[d]:
            if entry is not without and entry[1] <= at < entry[2]:
                found[int(entry[0])] += 1
        return found

    def book(d: int, t: int, start: float, took: float) -> None:
        present = [e for e in books[d] if e[1] <= start < e[2]]
        for e in present:
            beside = counts(d, start, e)
            before = execute(d, int(e[0]), beside)
            beside[t] += 1
            e.append(e[2] + (execute(d, int(e[0]), beside) - before))
        for e in present:
            e[2] = e.pop()
        books[d].append([t, start, start + took])

    def ceil(x: float) -> float:
        return math.ceil(x / TICK) * TICK

    for stage in levels(app):
        slowest = 0.0
        for j in stage:
            t = app.jobs[j].work
            c = k.candidates[t]
            start = view.now + elapsed
            total = []
            for i, d in enumerate(c.device.tolist()):
                upload = 0.0 if (d, int(c.form[i])) in cache else ceil(float(c.load_s[i]))
                way = 0.0
                ins = [([home], app.works[t].bytes_in)] if not app.jobs[j].deps else []
                ins += [(found[p][0], app.works[app.jobs[p].work].bytes_out) for p in app.jobs[j].deps]
                for holders, nbytes in ins:
                    route = view.network.routes(holders[0], view.up)
                    took = float(route.s_per_byte[d]) * nbytes + float(route.delay_s[d])
                    way = max(way, 0.0 if d in holders else ceil(took))
                total.append(execute(d, t, counts(d, start)) + upload + way)
            order = sorted(range(len(total)), key=lambda i: (total[i], i))
            best = [i for i in order if total[i] == total[order[0]]]
            first = best[0] if len(best) == 1 else int(rng.choice(best))
            norm = [x / max(total) for x in total]
            ok = 1.0
            for p in app.jobs[j].deps:
                ok *= 1 - found[p][1]
            pf = [1 - float(np.exp(-lam[d] * (elapsed + x))) for d, x in zip(c.device.tolist(), total)]
            failure = 1 - ok * (1 - pf[first])
            score = alpha * norm[first] + (1 - alpha) * failure
            chosen = [first]
            cache.add((int(c.device[first]), int(c.form[first])))
            book(int(c.device[first]), t, start, total[first])
            for e in order:
                if e == first:
                    continue
                if not (failure > beta and len(chosen) < gamma):
                    break
                less = failure * (1 - ok * (1 - pf[e]))
                if alpha * norm[e] + (1 - alpha) * less < score:
                    score, failure = alpha * norm[e] + (1 - alpha) * less, less
                    chosen.append(e)
                    cache.add((int(c.device[e]), int(c.form[e])))
                    book(int(c.device[e]), t, start, total[e])
            found[j] = ([int(c.device[i]) for i in chosen], failure)
            slowest = max(slowest, *(total[i] for i in chosen))
        elapsed += slowest
    return found


def problem(seed: int) -> tuple[View, Any, Any]:
    """A random fleet and DAG with interference arrays, failures, equal devices and forms of which some are loaded."""
    rng = np.random.default_rng(seed)
    count, jobs = int(rng.integers(3, 6)), int(rng.integers(2, 7))
    factors = rng.choice([0.5, 1.0, 1.0, 3.0], count)
    lives = rng.choice([2.0, 10.0, 100.0], count)
    devices = [
        f.device(f"d{i}", factor=float(factors[i]), cores=8,
                 failure={"mean_up_s": float(lives[i]), "mean_down_s": 1.0, "source": "assumed: test"})
        for i in range(count)
    ]  # fmt: skip
    mbps = rng.choice([4.0, 40.0], count)
    fleet = f.fleet(devices, [f.link("d0", f"d{i}", mbps=float(mbps[i]), rtt_ms=4) for i in range(1, count)])
    works = [plain(f"w{j}", float(rng.choice([0.2, 1.0])), 50_000, int(rng.choice([1000, 400_000]))) for j in range(3)]
    wired = []
    for j in range(jobs):
        deps = sorted(rng.choice(j, size=min(j, int(rng.integers(0, 3))), replace=False).tolist()) if j else []
        wired.append((f"j{j}", int(rng.integers(3)), [f"j{d}" for d in deps]))
    believed = known(fleet, app_of("app", works, wired))
    types = 3
    solo = np.zeros((count, types))
    for t, c in enumerate(believed.candidates):
        solo[c.device, t] = c.run_s
    slope = solo[:, :, None] * rng.choice([0.3, 0.7], (count, types, types))
    cut = solo[:, :, None] * rng.choice([0.9, 1.0, 1.2], (count, types, types))
    view = view_of(believed)
    beliefs = dataclasses.replace(view.beliefs, slope=slope, intercept=cut)
    return view_of(believed, beliefs=beliefs), slope, cut


@pytest.mark.parametrize("seed", range(40))
def test_ibdash_is_its_rule_and_m_tec_without_its_additions_is_ibdash(seed: int) -> None:
    view, slope, cut = problem(seed)
    k = view.known
    alpha, beta, gamma = ((0.5, 0.25, 3), (0.2, 0.05, 4), (0.9, 0.5, 2))[seed % 3]
    expected = reference(view, 0, slope, cut, alpha, beta, gamma, np.random.default_rng(seed))
    for chosen in (Ibdash("x", alpha, beta, gamma), reduced(alpha, beta, gamma)):
        ready = [job(k, j=j) for j, node in enumerate(k.app.jobs) if not node.deps]
        placed, state = chosen.place(ready, view, chosen.start(k.fleet), np.random.default_rng(seed))
        plan = state.plans["request-1"]
        for j, (devices, failure) in expected.items():
            c = k.candidates[k.app.jobs[j].work]
            assert [int(c.device[i]) for i in plan[j].replicas] == devices, (chosen.name, j)
            assert plan[j].failure == failure  # the very bits
        assert [p.replicas for p in placed] == [plan[p.job.job].replicas for p in placed]


def test_the_problems_above_hold_replicas_and_ties() -> None:
    sizes = []
    for seed in range(40):
        view, slope, cut = problem(seed)
        found = reference(view, 0, slope, cut, 0.2, 0.05, 4, np.random.default_rng(seed))
        sizes += [len(devices) for devices, _ in found.values()]
    assert max(sizes) >= 3 and min(sizes) == 1


def test_an_idle_device_takes_its_own_intercept_and_no_other() -> None:
    slope, cut = np.array([0.5, 0.7]), np.array([2.0, 3.0])
    assert exec_seconds(slope, cut, np.array([0, 0]), 1) == 3.0  # c[d, t, t], not the sum of all c
    assert exec_seconds(slope, cut, np.array([2, 0]), 1) == 0.5 * 2 + 2.0
    assert exec_seconds(slope, cut, np.array([1, 1]), 0) == 0.5 + 0.7 + 2.0 + 3.0  # k types add k intercepts


def test_the_barrier_holds_stages_apart_and_any_number_of_sources_is_fine() -> None:
    works = [plain("s", 0.1), plain("l", 1.0), plain("e", 0.1)]
    wired: list[Any] = [
        ("a", 0, []),
        ("b", 1, []),
        ("c", 0, []),
        ("after a", 2, ["a"]),
        ("end", 2, ["after a", "b", "c"]),
    ]
    fleet = f.fleet([f.device("d0", cores=4), f.device("d1", cores=4)], [f.link("d0", "d1", mbps=1e4)])
    demand = stream(app_of("three sources", works, wired), ["d0"], 3, every_ms=300)
    for how in (Ibdash(), reduced()):
        found = simulate(fleet, demand, how)
        assert None not in found.answered_s
        for r in range(3):
            spans = {d.job: (d.start_s, d.end_s) for d in found.done if d.request == r}
            stage = levels(demand.app)
            for before, after in itertools.pairwise(stage):
                assert max(spans[j][1] for j in before) <= min(spans[j][0] for j in after) + 1e-9


def test_both_run_through_failures_alike() -> None:
    failing = {"mean_up_s": 3.0, "mean_down_s": 0.5, "source": "assumed: test"}
    fleet = f.fleet(
        [
            f.device("d0", rules={"max_memory": "1MB"}),
            *(f.device(f"d{i}", cores=4, factor=0.5 * i, failure=failing) for i in (1, 2, 3)),
        ],
        [f.link("d0", f"d{i}", mbps=100, rtt_ms=2) for i in (1, 2, 3)],
    )  # fmt: skip
    wired: list[Any] = [("a", 0, []), ("b", 0, ["a"]), ("c", 0, ["a"]), ("d", 0, ["b", "c"])]
    app = app_of("app", [plain("a", 0.4, 1000, 1000, 2_000_000)], wired)
    lost = 0
    for seed in range(6):
        outcomes = []
        for how in (Ibdash("same"), dataclasses.replace(reduced(), name="same")):  # one stream for ties: it has a name
            demand = stream(app, ["d0"], 12, every_ms=200)
            found = simulate(fleet, demand, how, World(notice_s=0.1, doubt=0.0), seed=seed)
            outcomes.append((found.answered_s, [(d.request, d.job, d.device) for d in found.done], found.lost))
        assert outcomes[0] == outcomes[1] and None not in outcomes[0][0]
        lost += outcomes[0][2]
    assert lost > 0


def test_the_names_are_the_table_s() -> None:
    assert policy("ibdash").name == "ibdash"
    assert isinstance(known(f.fleet([f.device("a")]), app_of("x", [plain("a", 1.0)], [("a", 0, [])])), Believed)
