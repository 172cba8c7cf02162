"""Policies: pure, fair in ties, and earliest-finish against trying every device."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import fabricated as f
import numpy as np
import pytest
from test_simulator import MB, Fixed, known, plain, simulate

from hedgerow.errors import HedgerowError
from hedgerow.placing import POLICIES
from hedgerow.placing.belief import Ledger
from hedgerow.placing.dag import Demand, app_of, stream
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.physics import Clock, Log, Machine
from hedgerow.placing.policies import policy
from hedgerow.placing.view import (
    DOWN,
    NO_WAY_HOME,
    NO_WAY_IN,
    NOT_HOME,
    NOT_OWN,
    Believed,
    Input,
    JobRef,
    View,
    refused,
)


def view_of(believed: Believed, now: float = 0.0, up: Any = None, **arrays: Any) -> View:
    clock = Clock()
    machines = [
        Machine(d, int(s), 1e9, np.zeros((1, 1)), clock, Log(clock, False), lambda a: None, lambda d: None)
        for d, s in enumerate(believed.slots)
    ]
    ledger = Ledger(believed, machines)
    if up is not None:
        ledger.up[:] = up
    view = ledger.view(now, np.zeros(len(believed.network.source)))
    return View(**{**vars(view), **arrays})


def job(believed: Believed, home: int = 0, j: int = 0) -> JobRef:
    work = believed.app.works[believed.app.jobs[j].work]
    return JobRef("request-1", j, believed.app.jobs[j].work, home, (Input((home,), work.bytes_in),), work.bytes_out)


APP = app_of("one", [plain("job", 1.0, MB // 4, MB // 8)], [("job", 0, [])])
FLEET = f.fleet(
    [f.device("a", factor=4.0), f.device("b", cores=2), f.device("c", factor=0.5)],
    [f.link("a", "b"), f.link("a", "c", mbps=1.0, rtt_ms=50)],
)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_same_arguments_give_the_same_answer_and_nothing_is_changed(name: str) -> None:
    believed = known(FLEET, APP)
    view = view_of(believed)
    ready = [job(believed)] * 5
    before = {k: v.copy() for k, v in vars(view).items() if isinstance(v, np.ndarray)}
    chosen = policy(name)
    answers = []
    for _ in range(2):
        placements, state = chosen.place(ready, view, chosen.start(FLEET), np.random.default_rng(7))
        answers.append([p.replicas for p in placements])
        assert [p.job for p in placements] == ready
        assert chosen.learn(state, None) is state  # type: ignore[arg-type]
    assert answers[0] == answers[1]
    for name_, array in before.items():
        assert np.array_equal(array, getattr(view, name_))
        assert not getattr(view, name_).flags.writeable


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"cloud-only"}))
def test_nobody_is_chosen_who_cannot(name: str) -> None:
    devices = [f.device("a"), f.device("b", rules={"own_only": True}), f.device("c"), f.device("d"), f.device("e")]
    links = [
        f.link("a", "b"),
        f.link("a", "c"),
        f.link("a", "d", both=False),
        f.link("d", "c", both=False),
        f.link("c", "e"),
    ]
    believed = known(f.fleet(devices, links, home=["a", "b"]), APP)
    view = view_of(believed, up=[True, True, False, True, True])
    out = refused(job(believed), view)
    assert list(out) == [0, NOT_OWN, DOWN, NO_WAY_HOME, NO_WAY_IN]  # d and e are reached by way of c, which is down
    for seed in range(20):
        ((placement,), _) = policy(name).place([job(believed)], view, None, np.random.default_rng(seed))
        assert placement.replicas == (0,)
        assert list(placement.reason.refused[:4]) in (
            [0, NOT_OWN, DOWN, NO_WAY_HOME],
            [0, NOT_HOME, NOT_HOME, NOT_HOME],
        )
    nobody = view_of(believed, up=[False, True, False, False, False])
    ((placement,), _) = policy(name).place([job(believed)], nobody, None, np.random.default_rng(0))
    assert placement.replicas == ()


def test_earliest_finish_is_the_best_of_all_devices_one_by_one() -> None:
    """Each request, with those before it where they are, goes where trying every device shows the earliest answer."""
    rng = np.random.default_rng(0)
    for trial in range(12):
        factors = rng.uniform(0.3, 4.0, 3)
        devices = [f.device(n, factor=float(x), cores=int(c)) for n, x, c in zip("abc", factors, rng.integers(1, 3, 3))]
        mbps = rng.uniform(1, 40, 2)
        fleet = f.fleet(devices, [f.link("a", "b", mbps=mbps[0], rtt_ms=40), f.link("a", "c", mbps=mbps[1], rtt_ms=9)])
        app = app_of("one", [plain("job", 1.0, MB // 4)], [("job", 0, [])])
        demand = stream(app, ["a"], 6, every_ms=float(rng.uniform(0, 900)))
        found = simulate(fleet, demand)
        went = [int(p.replicas[0]) for _, p in found.decisions]
        for i in range(6):
            tried = []
            for d in range(3):
                first = Demand(app, demand.requests[: i + 1])
                answer = simulate(fleet, first, Each([*went[:i], d])).answered_s[i]
                assert answer is not None
                tried.append(answer)
            assert tried[went[i]] == pytest.approx(min(tried)), (trial, i)
            believed = found.decisions[i][1].reason.total
            at = found.decisions[i][0]
            assert [at + t for t in believed] == pytest.approx(tried)  # and it knew how long each would take


class Each(Fixed):
    """Request i goes to device ``where[i]``."""

    def __init__(self, where: list[int]) -> None:
        super().__init__()
        self.all = where

    def place(self, ready: Any, view: Any, state: Any, rng: Any) -> Any:
        placed = []
        for ref in ready:
            self.where = [(self.all[int(ref.request.split("-")[1]) - 1],)]
            placed += super().place([ref], view, state, rng)[0]
        return placed, state


def test_earliest_finish_counts_loading_and_who_has_it_loaded(tmp_path: Path) -> None:
    from hedgerow.placing.dag import app_of_packs
    from hedgerow.placing.options import menus_of

    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=1000.0)
    fleet = f.fleet([f.device("a"), f.device("b", factor=0.9)], [f.link("a", "b", mbps=1000)])
    demand = stream(app_of_packs([model], unit=f.UNIT), ["a"], 4, every_ms=2000)
    believed = Believed.of(fleet, demand.app, menus_of(demand.app, fleet))
    found = simulate(fleet, demand)
    assert [int(p.replicas[0]) for _, p in found.decisions] == [1, 1, 1, 1]
    first, second = found.decisions[0][1].reason, found.decisions[1][1].reason
    assert list(first.terms["load"]) == pytest.approx([1.0, 0.9])
    assert list(second.terms["load"]) == pytest.approx([1.0, 0.0])
    assert believed.candidates[0].load_s.tolist() == pytest.approx([1.0, 0.9])


def test_ties_are_drawn_from_the_named_stream_and_not_by_order() -> None:
    fleet = f.fleet([f.device(n) for n in "abcd"], [f.link("a", n) for n in "bcd"])
    app = app_of("one", [plain("job", 1.0)], [("job", 0, [])])
    went = [int(p.replicas[0]) for s in range(60) for _, p in simulate(fleet, stream(app, ["a"], 1), seed=s).decisions]
    assert set(went) == {0, 1, 2, 3}
    assert min(np.bincount(went)) >= 5
    assert simulate(fleet, stream(app, ["a"], 1)).decisions[0][1].reason.tied == 4


def test_random_is_uniform() -> None:
    demand = stream(APP, ["a"], 600, every_ms=10_000)
    went = np.bincount([int(p.replicas[0]) for _, p in simulate(FLEET, demand, "random").decisions], minlength=3)
    assert went.sum() == 600
    assert went.min() > 150


def test_local_only_stays_home() -> None:
    fleet = f.fleet([f.device("a", factor=9.0), f.device("b")], [f.link("a", "b")], home=["a", "b"])
    found = simulate(fleet, stream(APP, ["a", "b"], 6), "local-only")
    assert [int(p.replicas[0]) for _, p in found.decisions] == [0, 1, 0, 1, 0, 1]
    assert found.bytes_moved == 0


def test_beliefs_hold_when_nothing_is_hidden() -> None:
    """In a world that is as believed every answer comes when earliest-finish said it would."""
    demand = stream(APP, ["a"], 10, every_ms=700)
    found = simulate(FLEET, demand)
    for (at, placement), answered in itertools.zip_longest(found.decisions, found.answered_s):
        assert at + placement.reason.total[placement.replicas[0]] == pytest.approx(answered)


def test_an_unknown_policy_is_named_with_a_hint() -> None:
    with pytest.raises(
        HedgerowError, match=r"no policy is called 'earliest-finsh' \(did you mean 'earliest-finish'\?\)"
    ):
        policy("earliest-finsh")


@pytest.mark.parametrize("wrong", [(9,), (0, 0)], ids=["nobody", "twice"])
def test_a_policy_that_answers_nonsense_is_named(wrong: tuple[int, ...]) -> None:
    class Wrong(Fixed):
        name = "wrong"

        def place(self, ready: Any, view: Any, state: Any, rng: Any) -> Any:
            placed, state = super().place(ready, view, state, rng)
            return [type(p)(p.job, wrong, p.reason) for p in placed], state

    class Silent(Wrong):
        def place(self, ready: Any, view: Any, state: Any, rng: Any) -> Any:
            return [], state

    for how in (Wrong(0), Silent(0)):
        with pytest.raises(HedgerowError, match="policy wrong"):
            simulate(FLEET, stream(APP, ["a"], 1), how)


def test_a_fleet_file_may_use_every_policy() -> None:
    assert all(policy(name).name == name for name in POLICIES)
    assert isinstance(FLEET, Fleet)
