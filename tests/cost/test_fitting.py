"""Fitting: the solver against scipy's, rates that are known come back, and honest errors held out."""

from __future__ import annotations

import numpy as np
import pytest
from cost_made import DEVICE, SHAPES, TRUTH, geometry, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.cost import fitting, formulas, predict
from hedgerow.errors import HedgerowError


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 12), n=st.integers(1, 8))
def test_the_solver_finds_what_scipy_finds(seed: int, m: int, n: int) -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-6, 6, n), rng.standard_normal(m)
    ours, (theirs, residual) = fitting.nnls(a, b), nnls(a, b)
    assert (ours >= 0).all()
    assert np.linalg.norm(a @ ours - b) == pytest.approx(residual, rel=1e-6, abs=1e-9)
    if m >= n:
        assert a @ ours == pytest.approx(a @ theirs, rel=1e-5, abs=1e-7)


def test_rates_that_are_known_come_back_from_rows_without_noise() -> None:
    found = fitting.fit(fitting.samples(rows()), threads=1, runtime={"name": "made"})
    for name in ("step_s", "layer_s", "attention_s", "prefill_s", "prefill_layer_s", "prefill_attention_s", "head"):
        assert getattr(found, name) == pytest.approx(getattr(TRUTH, name), rel=1e-4), name
    assert {name: found.decode[name] for name in TRUTH.decode} == pytest.approx(TRUTH.decode, rel=1e-4)
    assert set(found.decode) - set(TRUTH.decode) <= {"q6_k"}  # the head of a "q4_0" model whose width 256 divides
    assert found.prefill == pytest.approx(TRUTH.prefill, rel=1e-4)
    assert all(b.median < 1e-4 and b.rows == 36 + 18 * (b.phase == "prefill") for b in found.bands)
    assert {b.how for b in found.bands} == {"one architecture left out at a time"}


def test_noise_and_a_disturbed_row_move_predictions_little() -> None:
    made = rows(noise=0.02, seed=3)
    made[7] = made[7].model_copy(update={"p50_ms": made[7].p50_ms * 8})  # something else ran on the machine
    found = fitting.fit(fitting.samples(made), threads=1, runtime={})
    off = []
    for name in SHAPES:
        for mix in ("f16", "q8_0", "q4_0"):
            sizes = geometry(name)
            held = formulas.weights(sizes, mix)
            for tokens in (64, 300):
                for call in (predict.decode, predict.prefill):
                    off.append(abs(call(found, sizes, held, tokens).ms / call(TRUTH, sizes, held, tokens).ms - 1))
    assert np.median(off) < 0.015 and max(off) < 0.08
    assert all(0.005 < b.median < 0.04 for b in found.bands)


def test_what_is_held_out_takes_no_part() -> None:
    """A shape that is ten times slower than the rates say is predicted wrong when it is left out, and only it."""
    made = [r.model_copy(update={"p50_ms": 10 * r.p50_ms}) if r.variant.startswith("deep") else r for r in rows()]
    errors = fitting.held_out_errors(fitting.samples(made), lambda s: s.shape)
    deep = [e for s, e in errors if s.label.startswith("deep")]
    assert len(errors) == len(made) and max(deep) < -0.85


def test_a_format_that_was_held_out_takes_the_rate_of_the_nearest() -> None:
    errors = fitting.held_out_errors(fitting.samples(rows()), lambda s: s.format)
    assert {s.format for s, _ in errors} == {"f16", "q8_0", "q4_0"}
    eight = [abs(e) for s, e in errors if s.format == "q8_0" and s.phase == "prefill"]
    assert max(eight) > 0.05  # bytes do not predict prefill: that is what holding out a format shows


def test_the_best_format_is_that_of_the_truth_on_shapes_that_were_left_out() -> None:
    names = ("f16", "q8_0", "q4_0")
    for left in SHAPES:
        known = fitting.samples(rows(noise=0.02, names=[n for n in SHAPES if n != left]))
        found = fitting.fit(known, threads=1, runtime={}, held_out=False)
        for phase, tokens in (("decode", 100), ("prefill", 128)):
            best = fitting.best_format(found, geometry(left), names, phase, tokens)
            assert best == fitting.best_format(TRUTH, geometry(left), names, phase, tokens)


def test_rows_that_say_too_little_are_left_out_and_no_rows_are_one_line() -> None:
    made = rows(names=["smol"], mixes=["q8_0"])
    other = [made[0].model_copy(update=u) for u in ({"geometry": None}, {"source": "predicted"}, {"batch": 4},
                                                    {"phase": "load"}, {"size": {}})]  # fmt: skip
    assert len(fitting.samples([*made, *other])) == len(made)
    joint = made[0].model_copy(update={"size": {"prompt": 64, "new": 16}})
    assert fitting.samples([joint])[0].tokens == 72
    with pytest.raises(HedgerowError, match="no measured row"):
        fitting.fit([], threads=1, runtime={})
    with pytest.raises(HedgerowError, match="not above 0"):
        fitting.fit(fitting.samples([made[0].model_copy(update={"p50_ms": 0.0})]), threads=1, runtime={})


def test_too_few_architectures_say_so_in_the_band() -> None:
    found = fitting.fit(fitting.samples(rows(names=["smol", "wide"])), threads=1, runtime={})
    assert all("too kind" in b.how for b in found.bands)
    assert DEVICE.model_copy(update={"rates": (found,)}).rates[0].band("decode") is not None
