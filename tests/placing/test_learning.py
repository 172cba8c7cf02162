"""Beliefs: rates that are learnt from transfers, slopes from co-running, survival from deaths; each against truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import fabricated as f
import numpy as np
import pytest
from test_simulator import MB, known, plain

from hedgerow.placing import World
from hedgerow.placing.dag import app_of, stream
from hedgerow.placing.learning import Learner, LinkBelief, Planner, hazard, kaplan_meier, probe_matters, ridge
from hedgerow.placing.policies import policy
from hedgerow.placing.simulator import run
from hedgerow.placing.traces import trace_of

APP = app_of("one", [plain("w", 0.1, MB, 1000)], [("a", 0, [])])


def test_ping_is_blind_to_rate_and_transfers_are_not() -> None:
    """Two links of equal delay and rates 10:1: passive beliefs say 10:1, half a round trip says 1:1 or nearly."""
    fleet = f.fleet(
        [f.device("a", factor=50.0), f.device("b"), f.device("c")],
        [f.link("a", "b", mbps=80, rtt_ms=40), f.link("a", "c", mbps=8, rtt_ms=40)],
    )
    k = known(fleet, APP)
    there = {x.name: i for i, x in enumerate(fleet.links)}
    seen = Learner(k, Planner(links="passive"))
    for _ in range(5):
        seen.transferred(there["a→b"], MB, MB * 8 / 80e6, 1.0)
        seen.transferred(there["a→c"], MB, MB * 8 / 8e6, 1.0)
    rates = seen.network.s_per_byte
    assert rates[there["a→c"]] / rates[there["a→b"]] == pytest.approx(10)
    ping = Learner(k, Planner(links="ping")).network.s_per_byte
    assert ping[there["a→c"]] / ping[there["a→b"]] < 1.05


def test_a_link_s_belief_has_average_quantile_and_age() -> None:
    belief = LinkBelief(1.0, 0.5)
    assert belief.seen_at == -np.inf and belief.slow == 1.0
    for i, rate in enumerate([2.0, 4.0, 4.0]):
        belief.saw(100, 100 * rate, float(i))
    assert belief.s_per_byte == pytest.approx(3.5)  # 2; 2 + (4-2)/2; 3 + (4-3)/2
    assert belief.slow == pytest.approx(np.quantile([2.0, 4.0, 4.0], 0.9)) and belief.seen_at == 2.0
    belief.saw(0, 1.0, 9.0)
    assert belief.count == 3


def test_stale_links_are_learnt_in_a_run_and_it_pays() -> None:
    """The file says that c is near; it is not. Who learns goes to b after the first transfers."""
    fleet = f.fleet(
        [f.device("a", rules={"max_memory": "1MB"}), f.device("b", factor=1.5), f.device("c")],
        [f.link("a", "b", mbps=80), f.link("a", "c", mbps=80)],
    )
    app = app_of("one", [plain("w", 0.1, MB, 1000, 2 * MB)], [("a", 0, [])])
    demand = stream(app, ["a"], 20, every_ms=1500)
    truth = trace_of([{"t": 0, "ev": "bw", "src": "a", "dst": "c", "mbps": 8}], fleet=fleet)
    mean = {}
    for links in ("stated", "passive"):
        planner = Planner.model_validate({"links": links})
        found = run(demand, known(fleet, app), policy("mtec"), World(doubt=0.0), 0, planner=planner, trace=truth)
        mean[links] = float(
            np.mean([a - r.arrives_s for a, r in zip(found.answered_s, demand.requests) if a is not None])
        )
    assert mean["passive"] < 0.5 * mean["stated"]


def test_ridge_is_the_prior_without_data_the_truth_with_much_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    prior, truth = np.array([0.4, 0.4, 0.4]), np.array([0.1, 0.9, 0.5])
    assert ridge(prior, np.zeros((0, 3)), np.zeros(0), 1.0).tolist() == pytest.approx([0.4] * 3)
    beside = rng.poisson(1.0, (400, 3)).astype(float)
    found = ridge(prior, beside, beside @ truth + rng.normal(0, 0.01, 400), 1.0)
    assert found.tolist() == pytest.approx(truth.tolist(), abs=0.02)
    normal = np.linalg.lstsq(np.vstack([beside, np.eye(3)]), np.concatenate([beside @ truth, prior]), rcond=None)[
        0
    ]  # ridge is least squares with the prior as further rows
    assert ridge(prior, beside, beside @ truth, 1.0).tolist() == pytest.approx(normal.tolist())
    assert ridge(prior, beside, -beside @ truth, 1.0).min() == 0.0


def test_co_running_is_learnt_in_a_run() -> None:
    fleet = f.fleet([f.device("a", cores=4)])
    app = app_of("two", [plain("w", 1.0), plain("v", 0.5)], [("x", 0, []), ("y", 1, [])])
    k = known(fleet, app)
    demand = stream(app, ["a"], 60, every_ms=700)
    world = World(failures=False, doubt=0.0, interference=0.5, interference_spread=0.6)
    from hedgerow.placing.driver import Driver

    driver = Driver(demand, k, policy("mtec"), world, 1, False, Planner(interference="learnt"))
    driver.live()
    truth = driver.truth.slowing[0] * np.array([[1.0], [0.5]])
    learnt, prior = driver.book.learner.beliefs(0.0).slope[0], 0.4 * np.array([[1.0, 1.0], [0.5, 0.5]])
    assert np.abs(learnt - truth).mean() < 0.5 * np.abs(prior - truth).mean()
    none = Learner(k, Planner()).beliefs(0.0)
    assert not none.slope.any() and not none.slope.flags.writeable


def test_kaplan_and_meier_against_the_plain_share_and_a_case_by_hand() -> None:
    lives = [(1.0, True), (2.0, True), (3.0, True), (4.0, True)]
    assert [kaplan_meier(lives, t) for t in (0.5, 1.0, 2.5, 4.0)] == pytest.approx([1.0, 0.75, 0.5, 0.0])
    censored = [(1.0, True), (2.0, False), (3.0, True)]  # 2/3 after the first; of the one left at 3 none
    assert [kaplan_meier(censored, t) for t in (1.0, 2.0, 3.0)] == pytest.approx([2 / 3, 2 / 3, 0.0])
    rng = np.random.default_rng(0)
    exponential = [(float(x), True) for x in rng.exponential(5.0, 400)]
    assert hazard(exponential, 2.0) == pytest.approx(0.2, rel=0.15)  # an exponential life has no memory
    assert hazard([(9.0, False)], 3.0) == 0.0


@pytest.mark.parametrize("how", ["gamma", "kaplan-meier"])
def test_survival_moves_from_what_is_stated_to_what_is_seen(how: Any) -> None:
    failing = {"mean_up_s": 100.0, "mean_down_s": 1.0, "source": "assumed: test"}
    k = known(f.fleet([f.device("a", failure=failing), f.device("b")], [f.link("a", "b")]), APP)
    learner = Learner(k, Planner(survival=how))
    assert learner.beliefs(0.0).failure_rate.tolist() == pytest.approx([0.01, 0.0])
    for n in range(40):  # each life lasts 5 s, not 100
        learner.left(0, 6.0 * n + 5.0)
        learner.joined(0, 6.0 * n + 6.0)
    learner.left(1, 100.0)
    learner.joined(1, 101.0)
    rates = learner.beliefs(240.0).failure_rate
    if how == "gamma":
        assert rates[0] == pytest.approx((1 + 40) / (100 + 200))  # the posterior mean, exactly
        assert rates[1] == pytest.approx(1 / (100 + 139))
    else:
        assert rates[0] > 0.1 and rates[1] > 0
    assert Learner(k, Planner()).beliefs(50.0).failure_rate.tolist() == pytest.approx([0.01, 0.0])


def test_a_probe_is_worth_it_only_when_it_could_change_a_choice() -> None:
    k = known(f.fleet([f.device("a"), f.device("b")], [f.link("a", "b")]), APP)
    network = k.network
    low, high = network.s_per_byte * 0.5, network.s_per_byte * 2.0
    assert probe_matters(network, low, high, 0, [1.0, 1.2], share=0.5)  # half of it may double: 1.5 > 1.2
    assert not probe_matters(network, low, high, 0, [1.0, 1.2], share=0.1)  # 1.1 at most
    assert not probe_matters(network, low, high, 0, [1.0, np.inf], share=0.5)  # nobody else to go to


def test_what_is_learnt_is_read_only_and_the_planner_s_defaults_learn_nothing() -> None:
    k = known(f.fleet([f.device("a"), f.device("b")], [f.link("a", "b")]), APP)
    learner = Learner(k, Planner())
    learner.transferred(0, MB, 99.0, 1.0)
    learner.ran(0, 0, 99.0, np.array([3.0]))
    assert learner.network is k.network
    beliefs = learner.beliefs(1.0)
    assert all(not getattr(beliefs, field.name).flags.writeable for field in dataclasses.fields(beliefs))
