"""Predictions: the two formulas written out, what is assumed is said, and rows as weigh would write them."""

from __future__ import annotations

import pytest
from cost_made import DEVICE, TRUTH, geometry

from hedgerow.cost import Band, Rates, Weights, formats, formulas, latest, predict
from hedgerow.errors import HedgerowError
from hedgerow.schema import check

SMOL = geometry("smol")
Q8 = formulas.weights(SMOL, "q8_0")


def test_decode_written_out() -> None:
    found = predict.decode(TRUTH, SMOL, Q8, 512)
    vectors = Q8.parts["other"]["f32"]
    read = Q8.elements - vectors
    wanted = 0.9e-3 + 19e-6 * 30 + read * 34 / 32 / 34e9 + vectors * 4 / 36e9 + 0.29e-9 * 30 * 9 * 64 * 512
    assert found.ms == pytest.approx(1e3 * wanted)
    assert sum(found.parts.values()) == pytest.approx(found.ms)
    assert found.assumed == () and found.parts["layers"] == pytest.approx(0.57)


def test_prefill_written_out() -> None:
    found = predict.prefill(TRUTH, SMOL, Q8, 600, past=100)
    wanted = 0.4e-3 + 2 * 600 * SMOL.body / 139e9 + 60e-6 * 30 * 2  # two micro-batches of 512
    wanted += 0.02e-9 * 30 * 9 * 64 * 600 * 700 + 2 * 49152 * 576 / 120e9
    assert found.ms == pytest.approx(1e3 * wanted)


def test_a_window_ends_the_growth_with_depth() -> None:
    sliding = SMOL.model_copy(update={"window": 100})
    at = [predict.decode(TRUTH, sliding, Q8, d).ms for d in (50, 100, 400)]
    assert at[0] < at[1] == at[2] < predict.decode(TRUTH, SMOL, Q8, 400).ms


def test_a_tied_head_is_read_and_a_looked_up_embedding_is_not() -> None:
    untied = Weights(parts={**Q8.parts, "head": {"q8_0": 10}}, tied=False)
    embedding = formats.bytes_of(49152 * 576, "q8_0") / 34e9
    less = predict.decode(TRUTH, SMOL, Q8).ms - predict.decode(TRUTH, SMOL, untied).ms
    assert less == pytest.approx(1e3 * embedding, rel=1e-4)


def test_a_rate_of_another_format_is_assumed_and_said() -> None:
    found = predict.decode(TRUTH, SMOL, formulas.weights(SMOL, "q5_k_m"))
    assert any(a.startswith("rate of decode of q5_1 as of q4_0") for a in found.assumed)
    assert "assumed:" in found.note() and "hedgerow weigh" in found.note() and found.note().count("±") == 1
    bare = Rates(threads=1, runtime={}, bandwidth=40e9)
    only = predict.decode(bare, SMOL, Q8)
    assert only.ms == pytest.approx(1e3 * formulas.weight_bytes(Q8) / 40e9) and "plain bandwidth" in only.assumed[0]
    with pytest.raises(HedgerowError, match="weigh --probe"):
        predict.prefill(bare, SMOL, Q8, 10)
    with pytest.raises(HedgerowError, match="from 1 to"):
        predict.prefill(TRUTH, SMOL, Q8, 0)


def test_a_band_of_measured_rates_does_not_cover_assumed_ones() -> None:
    bands = tuple(Band(phase=p, median=0.02, p90=0.05, rows=9, how="held out") for p in ("decode", "prefill"))  # type: ignore[arg-type]
    rates = TRUTH.model_copy(update={"bands": bands})
    sure = predict.decode(rates, SMOL, Q8)
    assert sure.high_ms == pytest.approx(1.05 * sure.ms) and "± 5 %" in sure.note()
    guess = predict.decode(rates, SMOL, formulas.weights(SMOL, "q5_k_m"))
    assert (
        guess.high_ms == pytest.approx(1.5 * guess.ms)
        and "± 50 % or more, since no measured band covers" in guess.note()
    )
    assert "± 5 %" not in guess.note()  # one band, the wider


def test_the_nearest_format_is_of_near_bits() -> None:
    known = {"q8_0": 1.0, "q4_0": 1.0, "q6_k": 1.0, "f16": 1.0}
    wanted = {"q4_k": "q4_0", "q5_k": "q6_k", "bf16": "f16", "f32": "f16", "iq4_nl": "q4_0", "q8_0": "q8_0"}
    assert {name: predict.nearest(name, known) for name in wanted} == wanted


def test_rows_as_weigh_would_write_them() -> None:
    band = Band(phase="decode", median=0.03, p90=0.1, rows=20, how="one architecture left out at a time")
    device = DEVICE.model_copy(update={"rates": (TRUTH.model_copy(update={"bands": (band,), "load": 1e9}),)})
    found = predict.predict_rows(SMOL, Q8, device, pack="a" * 64, variant="gguf", threads=1, prompt=64, new=16)
    by = {r.phase: r for r in found}
    assert set(by) == {"prefill", "decode", "load"} and all(r.source == "predicted" for r in found)
    assert by["decode"].low_ms == pytest.approx(by["decode"].p50_ms / 1.1)
    assert by["decode"].p95_ms == by["decode"].high_ms == pytest.approx(by["decode"].p50_ms * 1.1)
    assert by["prefill"].units == 64 and by["load"].size == {} and by["load"].p50_ms == pytest.approx(143.0, rel=0.01)
    assert all(r.device.rates == () for r in found)
    measured = by["decode"].model_copy(update={"source": "measured", "when": ""})
    assert latest([measured, by["decode"].model_copy(update={"when": "9"})]) == [measured]  # a measured value wins


def test_a_device_without_rates_names_what_it_has() -> None:
    with pytest.raises(HedgerowError, match="probe it there"):
        predict.rates_for(DEVICE, 1)
    device = DEVICE.model_copy(update={"rates": (TRUTH,)})
    with pytest.raises(HedgerowError, match="no rates for 4 threads: it has made with 1"):
        predict.rates_for(device, 4)
    probed = TRUTH.model_copy(update={"runtime": {"library": "llama.cpp", "version": "1"}})
    alone = probed.model_copy(update={"decode": {}, "prefill": {}, "threads": 2})  # only the plain bandwidth
    with pytest.raises(HedgerowError, match=r"it has llama\.cpp with 1$"):
        predict.rates_for(device.model_copy(update={"rates": (probed, alone)}), 4)
    with pytest.raises(HedgerowError, match=r"of llama\.cpp"):
        predict.rates_for(device, 1, {"name": "llama.cpp"})


def test_peers() -> None:
    assert predict.roofline_decode(Q8, 1e9) == formulas.weight_bytes(Q8) / 1e9
    assert predict.roofline_prefill(100, 10, 1e3) == 2.0
    assert predict.scaled_nearest(90, [(10, 1.0), (100, 2.0)]) == pytest.approx(1.8)
    with pytest.raises(HedgerowError, match="no other model"):
        predict.scaled_nearest(1, [])


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_rates_that_no_device_has_are_one_line(phase: str) -> None:
    with pytest.raises(HedgerowError, match="'q9' is no format of elements"):
        check(Rates, {"threads": 1, "runtime": {}, phase: {"q9": 1e9}}, "device.json")
    for value in (float("nan"), -1.0, 0.0, float("inf")):
        with pytest.raises(HedgerowError, match=r"device\.json"):
            check(Rates, {"threads": 1, "runtime": {}, phase: {"q8_0": value}}, "device.json")
    never = Rates(threads=1, runtime={}, **{phase: {"q8_0": 1e-300}}, step_s=1e308, prefill_s=1e308)  # type: ignore[arg-type]
    with pytest.raises(HedgerowError, match="would take for ever"):
        getattr(predict, phase)(never, geometry("smol"), formulas.weights(geometry("smol"), "q8_0"), 8)


def test_a_noisy_rate_is_said_and_widens_the_band() -> None:
    noisy = TRUTH.model_copy(update={"noisy": ("rate of decode of q8_0",)})
    found = predict.decode(noisy, SMOL, Q8)
    assert found.ms == predict.decode(TRUTH, SMOL, Q8).ms and "the noisy rate of decode of q8_0" in found.note()
    assert found.high_ms == pytest.approx(1.5 * found.ms)
    assert "noisy" not in predict.prefill(noisy, SMOL, Q8, 64).note()
