"""Schedules: bounds, shapes and ends; and whose turn it is."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.objectives import Objective
from hedgerow.train import Phase, Schedule, Shuffled
from hedgerow.train.plan import whose_turn

shapes = st.sampled_from(["constant", "linear", "cosine", "poly"])
schedules = st.builds(
    Schedule,
    shape=shapes,
    warmup=st.floats(0, 0.9),
    floor=st.floats(0, 0.5),
    power=st.floats(0.5, 3),
)


@given(schedules, st.integers(1, 300))
def test_factors_rise_to_one_and_then_fall_to_the_floor(schedule: Schedule, total: int) -> None:
    factors = [schedule(step, total) for step in range(total + 1)]
    warm = math.floor(schedule.warmup * total)
    assert all(0 < factor <= 1 for factor in factors[:-1])
    assert all(a < b for a, b in pairwise(factors[: warm + 1]))
    assert factors[warm] == 1
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[warm:]))
    assert factors[-1] == pytest.approx(1.0 if schedule.shape == "constant" else schedule.floor)


@given(st.floats(0, 0.5), st.integers(2, 100))
def test_poly_of_power_one_is_linear(floor: float, total: int) -> None:
    poly, line = Schedule(shape="poly", power=1, floor=floor), Schedule(shape="linear", floor=floor)
    assert [poly(s, total) for s in range(total)] == pytest.approx([line(s, total) for s in range(total)])


def test_cosine_is_torchs() -> None:
    import torch

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20, eta_min=0.1)
    ours = Schedule(shape="cosine", floor=0.1)
    for step in range(20):
        assert ours(step, 20) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 4))
def test_phases_take_their_turns_and_count_their_own_steps(steps: list[int], rounds: int) -> None:
    nothing = Objective(lambda nets, batch: {})
    phases = [Phase(str(i), nothing, Shuffled(1, 1, 0, lambda _: {}), (), n) for i, n in enumerate(steps)]
    written_out = [i for _ in range(rounds) for i, n in enumerate(steps) for _ in range(n)]
    for step, expected in enumerate(written_out):
        phase, local = whose_turn(phases, step)
        assert phase is phases[expected] and local == written_out[:step].count(expected)
