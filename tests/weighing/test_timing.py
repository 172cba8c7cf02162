"""The timing core on a clock that the test owns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fakes import UNIT, Clock, FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.kinds.base import Phase
from hedgerow.weighing.timing import PLANS, Budget, Cell, Plan, Samples, cells, predict_seconds, time_phase


@given(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_numpys(ms: list[float], q: float) -> None:
    assert Samples(tuple(ms)).quantile(q) == pytest.approx(np.quantile(ms, q), rel=1e-9)


def test_p95_of_a_hundred() -> None:
    samples = Samples(tuple(float(i) for i in range(1, 101)))
    assert samples.quantile(0.5) == 50.5
    assert samples.quantile(0.95) == pytest.approx(95.05)
    assert samples.mean == 50.5


def test_unsteady_when_one_call_in_ten_is_long() -> None:
    assert Samples((1.0,) * 9 + (8.0,)).unsteady
    assert not Samples((1.0,) * 39 + (8.0,)).unsteady  # 1 in 40 is beyond the 95th percentile
    assert not Samples((1.0, 1.2, 1.3)).unsteady


def test_constant_engine_gives_a_flat_curve() -> None:
    """Time per decoded unit must not depend on how many there are, one included (slm.md trap 1)."""
    clock = Clock()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.008 * units))
    per_unit = []
    for batch in (1, 2, 10, 50):
        phase = engine.phases(["x"] * batch, {"words": 3})[1]
        samples = time_phase(phase, PLANS["quick"], 1.0, clock)
        assert not samples.unsteady
        per_unit += [ms / phase.units for ms in samples.ms]
    assert per_unit == pytest.approx([8.0] * len(per_unit))


def test_every_call_is_timed_and_prepare_is_not() -> None:
    clock, calls = Clock(), [0, 0]

    def prepare() -> None:
        calls[0] += 1
        clock.wait(5.0)

    def run() -> None:
        calls[1] += 1
        clock.wait(0.25)

    samples = time_phase(Phase("run", 1, run, prepare), Plan(1.0, least=4, most=9, warm_ups=2), 1.0, clock)
    assert samples.ms == pytest.approx([250.0] * 4)  # the budget is spent by prepare, so the least is taken
    assert calls == [5, 5]  # one warm-up: a second would not fit


def test_warm_up_ends_when_two_calls_agree() -> None:
    clock = Clock()
    times = iter([0.9, 0.3, 0.11, 0.1051, 0.1, 0.1, 0.1, 0.1])
    samples = time_phase(Phase("run", 1, lambda: clock.wait(next(times))), Plan(9.0, 3, 3, warm_ups=8), 60.0, clock)
    # 0.9, 0.3, 0.11, 0.1051 are warm-up (the last two agree within 5 %); the slow start is in no number
    assert samples.ms == pytest.approx([100.0] * 3)


def test_repeats_follow_the_budget() -> None:
    def repeats(seconds: float, each: float) -> int:
        clock = Clock()
        plan = Plan(seconds, least=3, most=40, warm_ups=3)
        return len(time_phase(Phase("run", 1, lambda: clock.wait(each)), plan, seconds, clock).ms)

    assert repeats(1.0, 0.001) == 40  # never more than the most
    assert repeats(1.0, 0.125) == 6  # two warm-ups agree, six calls are left
    assert repeats(1.0, 2.0) == 3  # never fewer than the least


def test_garbage_collection_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    seen: list[bool] = []
    time_phase(Phase("run", 1, lambda: seen.append(gc.isenabled())), Plan(1.0, 2, 2, 1), 1.0, Clock())
    assert seen == [True, False, False]
    assert gc.isenabled()


def test_an_error_in_a_call_turns_collection_on_again() -> None:
    import gc

    calls: Callable[[], int] = iter([1, 0]).__next__

    with pytest.raises(ZeroDivisionError):
        time_phase(Phase("run", 1, lambda: 1 // calls()), Plan(1.0, 2, 2, 1), 1.0, Clock())
    assert gc.isenabled()


def test_grids_hold_the_usual_size_and_grow() -> None:
    quick, full = cells(UNIT, "quick"), cells(UNIT, "full")
    assert Cell(UNIT.usual, 1) in quick
    assert {c.batch for c in quick} == {1, 8, 32}
    assert {(c.size["words"], c.batch) for c in full} == {(w, b) for w in (1, 4, 16) for b in (1, 4, 8, 32, 64)}
    assert [c.batch for c in quick] == sorted(c.batch for c in quick)
    assert len(quick) == len({(c.size["words"], c.batch) for c in quick})


def test_budget_is_shared_and_what_is_saved_passes_on() -> None:
    clock = Clock()
    budget = Budget(4.0, 4, Plan(cell_seconds=1.5, least=3, most=40, warm_ups=3), clock)
    assert budget.share() == 1.0
    clock.wait(0.1)
    budget.done()
    assert budget.share() == pytest.approx(3.9 / 3)
    budget.done()
    budget.done()
    assert budget.share() == 1.5  # never more than a cell may take
    clock.wait(10)
    assert budget.share() == 0.0


def test_budget_keeps_room_for_later_cells_that_fit() -> None:
    budget = Budget(4.0, 4, Plan(cell_seconds=2.0, least=3, most=40, warm_ups=3), Clock())
    # least calls with a warm-up: 0.4, 3.2 and 40 s; the last cannot be done in any case
    assert budget.share([0.1, 0.8, 10.0]) == pytest.approx(0.4)
    assert budget.share([0.1, 10.0, 0.1]) == 1.0  # its even part, since only 0.4 s must be kept
    assert budget.share([2.0]) == 1.0


def test_budget_refuses_what_cannot_be_finished() -> None:
    budget = Budget(4.0, 2, Plan(cell_seconds=1.0, least=3, most=40, warm_ups=3), Clock())
    assert not budget.refuses(0.99)  # one warm-up and three calls: 3.96 s
    assert budget.refuses(1.01)


def test_prediction_scales_the_largest_cell() -> None:
    assert predict_seconds([], 10) == 0.0
    assert predict_seconds([(1, 0.1), (8, 0.4)], 32) == pytest.approx(1.6)
    assert predict_seconds([(8, 0.4)], 4) == 0.4
