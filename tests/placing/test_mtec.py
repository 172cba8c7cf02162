"""M-TEC's own arithmetic, and every peer's rule on a case small enough to be done by hand."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import fabricated as f
import numpy as np
import pytest
from test_policies import job, view_of
from test_simulator import MB, Fixed, known, plain, simulate

from hedgerow.placing import World
from hedgerow.placing.dag import app_of, stream
from hedgerow.placing.policies import policy
from hedgerow.placing.policies.common import downward, levels, mean_costs, upward
from hedgerow.placing.policies.dcc import two_means
from hedgerow.placing.policies.mtec import Mtec, expected_minimum
from hedgerow.placing.policies.petrel import petrel
from hedgerow.placing.view import NO_SLOT, NOT_DRAWN, OUTSIDE, Event

FAILS = {"mean_up_s": 10.0, "mean_down_s": 1.0, "source": "assumed: test"}


def test_the_expected_minimum_is_that_of_all_cases() -> None:
    """Against the sum over every pattern of who survives."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = int(rng.integers(1, 5))
        latency, dies = rng.uniform(1, 9, n), rng.uniform(0, 0.9, n)
        total = weight = 0.0
        for alive in itertools.product([0, 1], repeat=n):
            chance = float(np.prod(np.where(alive, 1 - dies, dies)))
            if any(alive):
                total += chance * float(latency[np.array(alive, bool)].min())
                weight += chance
        assert expected_minimum(latency, dies) == pytest.approx(total / weight)
        assert expected_minimum(latency, dies) <= latency.max()


@pytest.mark.parametrize("stages", [False, True])
def test_a_chain_on_one_device_counts_it_once(stages: bool) -> None:
    """PF of k jobs on one device is 1 - exp(-λ·total); IBDASH multiplies the parents as though independent."""
    fleet = f.fleet([f.device("d0", failure=FAILS)])
    app = app_of("chain", [plain("w", 1.0)], [("a", 0, []), ("b", 0, ["a"]), ("c", 0, ["b"])])
    view = view_of(known(fleet, app))
    chosen = Mtec(stages=True, most=1)
    _, state = chosen.place([job(view.known)], view, chosen.start(fleet), np.random.default_rng(0))
    failures = [state.plans["request-1"][j].failure for j in range(3)]
    assert failures == pytest.approx([1 - np.exp(-0.1 * k) for k in (1, 2, 3)])
    ours = policy("ibdash")
    _, state = ours.place([job(view.known)], view, ours.start(fleet), np.random.default_rng(0))
    assert state.plans["request-1"][2].failure == pytest.approx(1 - np.exp(-0.1 * (1 + 2 + 3)))


def test_replicas_come_while_failure_is_likely_and_the_score_falls() -> None:
    fleet = f.fleet(
        [
            f.device("d0", rules={"max_memory": "1MB"}),
            *(f.device(f"d{i}", failure=FAILS, price_per_s=1.0) for i in (1, 2, 3)),
        ],
        [f.link("d0", f"d{i}", mbps=1e5) for i in (1, 2, 3)],
    )
    app = app_of("one", [plain("w", 4.0, memory=2 * MB)], [("a", 0, [])])
    view = view_of(known(fleet, app))

    def replicas(**more: Any) -> tuple[int, ...]:
        chosen = Mtec(**more)
        ((placed,), _) = chosen.place([job(view.known)], view, None, np.random.default_rng(0))
        return placed.replicas

    pf = 1 - np.exp(-0.4)
    weights = {"w_lat": 0.2, "w_pf": 0.8, "w_cost": 0.0}
    assert len(replicas(**weights, threshold=0.25)) == 2  # pf = .33 above, pf² = .11 below
    assert len(replicas(**weights, threshold=0.05)) == 3
    assert len(replicas(**weights, threshold=0.5)) == 1
    assert len(replicas(w_lat=0.2, w_pf=0.1, w_cost=0.7, threshold=0.05)) == 1  # the second costs more than it saves
    assert pf > 0.25 > pf**2 > 0.05 > pf**3


def test_owners_price_and_failure_move_the_choice() -> None:
    def first(**more: Any) -> int:
        devices = [f.device("d0", factor=9.0), f.device("d1", **more), f.device("d2", factor=1.2)]
        fleet = f.fleet(devices, [f.link("d0", "d1", mbps=1e5), f.link("d0", "d2", mbps=1e5)])
        view = view_of(known(fleet, app_of("one", [plain("w", 1.0)], [("a", 0, [])])))
        ((placed,), _) = policy("mtec").place([job(view.known)], view, None, np.random.default_rng(0))
        return int(view.known.candidates[0].device[placed.replicas[0]])

    assert first() == 1
    assert first(price_per_s=3.0) == 2
    assert first(failure={**FAILS, "mean_up_s": 1.0}) == 2
    assert first(rules={"own_only": True}) == 2


def test_ready_jobs_go_by_upward_rank() -> None:
    works = [plain("short", 0.1), plain("long", 5.0)]
    app = app_of("two", works, [("s", 0, []), ("l", 1, []), ("after l", 1, ["l"])])
    fleet = f.fleet([f.device("d0"), f.device("d1", factor=1.01)], [f.link("d0", "d1", mbps=1e5)])
    view = view_of(known(fleet, app))
    runs, edges = mean_costs(view)
    assert upward(app, runs, edges).tolist() == pytest.approx([0.1, 10.0, 5.0], rel=0.01)
    assert downward(app, runs, edges).tolist() == pytest.approx([0.0, 0.0, 5.0], rel=0.01)
    assert levels(app) == [[0, 1], [2]]
    placed, _ = policy("mtec").place([job(view.known, j=0), job(view.known, j=1)], view, None, np.random.default_rng(0))
    assert [p.replicas for p in placed] == [(1,), (0,)]  # the long one chose first


def test_round_robin_steps_over_whoever_cannot_and_remembers_where_it_stands() -> None:
    fleet = f.fleet([f.device(n) for n in "abc"], [f.link("a", "b"), f.link("a", "c")])
    found = simulate(
        fleet, stream(app_of("one", [plain("w", 1.0)], [("a", 0, [])]), ["a"], 7, every_ms=100), "round-robin"
    )
    assert [p.replicas[0] for _, p in found.decisions] == [0, 1, 2, 0, 1, 2, 0]


def test_lavea_counts_queues_once_a_request() -> None:
    fleet = f.fleet([f.device("a", cores=9), f.device("b", cores=9)], [f.link("a", "b", mbps=1e5)])
    app = app_of("chain", [plain("w", 1.0)], [("x", 0, []), ("y", 0, ["x"])])
    view = view_of(known(fleet, app), sent=np.array([[3], [1]]))
    chosen = policy("lavea-sqlf")
    ((placed,), state) = chosen.place([job(view.known)], view, chosen.start(fleet), np.random.default_rng(0))
    assert placed.replicas == (1,)
    later = view_of(known(fleet, app), sent=np.array([[0], [9]]))  # it goes by the news of its arrival
    ((placed,), _) = chosen.place([job(view.known, j=1)], later, state, np.random.default_rng(0))
    assert placed.replicas == (1,)


def test_lavea_s_latency_ends_when_the_job_starts() -> None:
    fleet = f.fleet([f.device("a", factor=9.0), f.device("b")], [f.link("a", "b", mbps=80)])
    view = view_of(known(fleet, app_of("one", [plain("w", 1.0, MB)], [("a", 0, [])])))
    for name, device in {"lavea-sslf": 0, "min-completion": 1}.items():  # .1 s of way against 8 s of running
        ((placed,), _) = policy(name).place([job(view.known)], view, None, np.random.default_rng(0))
        assert placed.replicas == (device,)


def test_min_completion_does_not_see_the_way_home() -> None:
    fleet = f.fleet([f.device("a", factor=1.5), f.device("b")], [f.link("a", "b", mbps=80)])
    view = view_of(known(fleet, app_of("one", [plain("w", 1.0, 0, 10 * MB)], [("a", 0, [])])))
    for name, device in {"earliest-finish": 0, "min-completion": 1}.items():
        ((placed,), _) = policy(name).place([job(view.known)], view, None, np.random.default_rng(0))
        assert placed.replicas == (device,)


def test_petrel_takes_the_faster_of_two_and_may_draw_one_twice() -> None:
    fleet = f.fleet([f.device("a"), *(f.device(n, factor=k) for n, k in (("b", 2.0), ("c", 3.0)))],
                    [f.link("a", "b"), f.link("a", "c")])  # fmt: skip
    view = view_of(known(fleet, app_of("one", [plain("w", 1.0)], [("a", 0, [])])))
    went: dict[bool, list[int]] = {True: [], False: []}
    for twice in went:
        for seed in range(60):
            ((p,), _) = petrel(with_replacement=twice).place([job(view.known)], view, None, np.random.default_rng(seed))
            went[twice].append(p.replicas[0])
            assert (p.reason.refused == NOT_DRAWN).sum() in ((1, 2) if twice else (1,))
    assert set(went[False]) == {0, 1}  # the slowest never wins against another
    assert set(went[True]) == {0, 1, 2}


def test_lats_sees_the_processor_that_is_left() -> None:
    fleet = f.fleet([f.device("a", cores=4), f.device("b", cores=4, factor=1.3)], [f.link("a", "b")])
    k = known(fleet, app_of("one", [plain("w", 1.0)], [("a", 0, [])]))
    slope = np.array([[[0.5]], [[0.65]]])
    for sent, device in (([[0], [0]], 0), ([[3], [0]], 1), ([[3], [3]], 0)):
        view = view_of(k, sent=np.array(sent))
        view = view_of(k, sent=np.array(sent), beliefs=dataclasses.replace(view.beliefs, slope=slope))
        ((placed,), _) = policy("lats").place([job(k)], view, None, np.random.default_rng(0))
        assert placed.replicas == (device,)


def test_dcc_stays_in_the_cluster_of_home() -> None:
    near, far = (0.001, 0.002), (0.2, 0.21)
    assert two_means(np.array([[x] for x in (*near, *far)])).tolist() in (
        [False, False, True, True],
        [True, True, False, False],
    )
    fleet = f.fleet([f.device("a", factor=9.0), f.device("b", factor=5.0), f.device("c"), f.device("d")],
                    [f.link("a", n, rtt_ms=rtt) for n, rtt in (("b", 1), ("c", 200), ("d", 201))])  # fmt: skip
    k = known(fleet, app_of("one", [plain("w", 1.0)], [("a", 0, [])]))
    ((placed,), _) = policy("dcc").place([job(k)], view_of(k), None, np.random.default_rng(0))
    assert placed.replicas == (1,) and placed.reason.refused.tolist() == [0, 0, OUTSIDE, OUTSIDE]


def test_condor_s_queue_is_not_on_a_device() -> None:
    fleet = f.fleet([f.device("a"), f.device("b", factor=3.0)], [f.link("a", "b", mbps=1e5)])
    app = app_of("one", [plain("w", 1.0)], [("a", 0, [])])
    k = known(fleet, app)
    placed, _ = policy("condor-rank").place([job(k)] * 3, view_of(k), None, np.random.default_rng(0))
    assert [p.replicas for p in placed] == [(0,), (1,), ()]
    assert placed[2].held and placed[2].reason.refused.tolist() == [NO_SLOT, NO_SLOT]
    found = simulate(fleet, stream(app, ["a"], 4), "condor-rank")
    assert None not in found.answered_s
    assert sorted(d.start_s for d in found.done) == pytest.approx([0.0, 0.0, 1.0, 2.0], abs=1e-3)


def test_cloud_only_asks_the_cloud() -> None:
    fleet = f.fleet([f.device("a"), f.device("b", tier="cloud", factor=2.0)], [f.link("a", "b")])
    found = simulate(fleet, stream(app_of("one", [plain("w", 1.0)], [("a", 0, [])]), ["a"], 2), "cloud-only")
    assert [d.device for d in found.done] == [1, 1]


def test_list_schedulers_on_the_example_of_heft_s_paper() -> None:
    """Ten jobs on three machines (Topcuoglu et al. 2002, figure 2): HEFT 80; PEFT's paper gives it the same DAG."""
    from hedgerow.placing.policies.whole import cpop_plan, heft_plan
    from hedgerow.placing.schedule import Problem, Timetable

    runs = [(14, 16, 9), (13, 19, 18), (11, 13, 19), (13, 8, 17), (12, 13, 10), (13, 16, 9), (7, 15, 11), (5, 11, 14),
            (18, 12, 20), (21, 7, 16)]  # fmt: skip
    edges = {(0, 1): 18, (0, 2): 12, (0, 3): 9, (0, 4): 11, (0, 5): 14, (1, 7): 19, (1, 8): 16, (2, 6): 23, (3, 7): 27,
             (3, 8): 23, (4, 8): 13, (5, 7): 15, (6, 9): 17, (7, 9): 11, (8, 9): 13}  # fmt: skip

    class Table(Timetable):
        """Edges of one parent differ here; ours are a job's output, so the cost is looked up by the edge."""

        def inputs(self, j: int) -> Any:
            latest = np.zeros(3)
            for (a, b), cost in edges.items():
                if b == j:
                    latest = np.maximum(latest, self.ends[a] + np.where(np.arange(3) == self.chosen[a], 0, cost))
            return latest

    deps = {j: [f"{a}" for (a, b) in edges if b == j] for j in range(10)}
    app = app_of("figure 2", [plain(f"{j}", 1.0) for j in range(10)], [(f"{j}", j, deps[j]) for j in range(10)])
    order = [int(node.name) for node in app.jobs]
    assert order == list(range(10))
    three = np.arange(3)
    p = Problem(
        app, (three,) * 10, (three,) * 10, tuple(np.array(r, float) for r in runs), (np.zeros(3),) * 10,
        (np.zeros(3),) * 10, np.zeros(3), {d: [0.0] for d in range(3)}, 0, frozenset(app.sinks),
        lambda d, n: np.zeros(3),
    )  # fmt: skip
    mean = np.array([np.mean(r) for r in runs])
    cost = np.array([float(edges.get((e.source, e.target), 0)) for e in app.edges])
    rank = upward(app, mean, cost)
    assert rank.tolist() == pytest.approx([108, 77, 80, 80, 69, 63.333, 42.667, 35.667, 44.333, 14.667], abs=0.001)
    table = Table(p)
    for j in sorted(range(10), key=lambda j: -rank[j]):
        table.put(j, int(np.argmin(table.finish(j))))
    assert max(table.ends) == 80
    assert len(heft_plan(p)) == len(cpop_plan(p)) == 10


def test_lookahead_is_never_worse_on_what_it_believes_and_keeps_its_budget() -> None:
    from hedgerow.placing.policies.lookahead import Lookahead
    from hedgerow.placing.policies.whole import heft_plan
    from hedgerow.placing.schedule import evaluate, problem_of
    from hedgerow.placing.view import Draft

    rng = np.random.default_rng(3)
    for trial in range(6):
        devices = [f.device(f"d{i}", factor=float(x)) for i, x in enumerate(rng.uniform(0.5, 3, 3))]
        fleet = f.fleet(devices, [f.link("d0", "d1", mbps=8), f.link("d0", "d2", mbps=20), f.link("d1", "d2", mbps=40)])
        works = [plain(f"w{j}", float(rng.uniform(0.1, 1)), 10_000, int(rng.integers(1, 400_000))) for j in range(6)]
        wired = [(f"j{j}", j, [f"j{d}" for d in range(j) if rng.random() < 0.4]) for j in range(6)]
        k = known(fleet, app_of("dag", works, wired))
        p = problem_of(Draft(view_of(k)), job(k))
        best = min(evaluate(p, c)[0] for c in itertools.product(range(3), repeat=6))
        ahead = evaluate(p, Lookahead(budget=400).search(p))[0]
        assert best - 1e-9 <= ahead <= min(evaluate(p, heft_plan(p))[0], 1.05 * best), trial
        chain = evaluate(p, (0,) * 6)[0]
        demand = stream(k.app, ["d0"], 1)
        assert simulate(fleet, demand, Fixed(*[0] * 6)).answered_s[0] == pytest.approx(chain)  # the model is the driver


def test_plans_are_dropped_when_the_fleet_changes() -> None:
    chosen = policy("lookahead")
    state = (("request-1", (0, 0)),)
    assert chosen.learn(state, Event("left", 1.0, 0)) == ()
    assert chosen.learn(state, Event("finished", 1.0, 0)) == state


@pytest.mark.parametrize("name", ["mtec", "lookahead", "ibdash", "heft", "condor-rank", "lavea-sqlf"])
def test_a_lying_predictor_does_not_change_how_a_given_placement_is_scored(name: str) -> None:
    """Truth and belief are apart: the same placements in the same world take the same time, whoever chose them."""
    fleet = f.fleet([f.device("d0"), f.device("d1", factor=0.5)], [f.link("d0", "d1", mbps=80)])
    app = app_of("two", [plain("w", 1.0, 1000, 1000)], [("a", 0, []), ("b", 0, ["a"])])
    demand = stream(app, ["d0"], 1)
    world = World(failures=False, interference=0.4)
    chosen = simulate(fleet, demand, name, world, seed=1)
    where = [int(p.replicas[0]) for _, p in chosen.decisions if p.replicas]
    assert simulate(fleet, demand, Fixed(*where), world, seed=1).answered_s == chosen.answered_s
