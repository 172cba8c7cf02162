"""Insights: every one ends in a verdict that follows from its rule, and the page says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hedgerow.cost import Cost, Device, Geometry, Rates, formulas, predict
from hedgerow.run import load_results
from hedgerow.weighing import catalogue, insights, insights_cost

ROOT = Path(__file__).parents[2]
DEVICE = Device(name="made", machine="x86_64", cpu="made", cores=2, memory_bytes=8 << 30, fingerprint="d" * 12)
WANTED = {
    "A1": "confirmed", "A2": "confirmed", "D1": "not testable here", "D2": "confirmed", "C1": "refuted",
    "C2": "confirmed", "C3": "confirmed", "C4": "not testable here", "K1": "not testable here", "R1": "confirmed",
    "R2": "confirmed", "R3": "confirmed", "Q1": "confirmed", "Q2": "confirmed", "Q3": "refuted", "H1": "confirmed",
    "H2": "not testable here", "H3": "refuted", "B1": "confirmed", "B2": "refuted", "T1": "not testable here",
}  # fmt: skip


def test_every_insight_ends_in_its_verdict() -> None:
    found = insights.all_insights()
    assert {i.id: i.verdict for i in found if not i.id.endswith("d")} == WANTED
    assert {i.verdict for i in found if i.id.endswith("d")} == {"not testable here"}
    assert all(i.found and i.data and i.claim for i in found)


def test_numbers_that_the_survey_states_come_out_again() -> None:
    by = {i.id: i.found for i in insights.all_insights()}
    assert "25.4 % more parameters" in by["R1"] and "31.9 % faster" in by["R1"]
    assert "Qwen1.5-0.5B 68 % (with the compute buffer 91 %)" in by["B2"]


def test_a_verdict_follows_from_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data, other verdict: nothing is written by hand."""
    known = catalogue.load()
    swapped = {}
    for name, m in known.model.items():
        scores = m.scores.model_copy(update={g: 100 - v for g in catalogue.GROUPS if (v := getattr(m.scores, g))})
        swapped[name] = m.model_copy(update={"scores": scores})
    monkeypatch.setattr(catalogue, "load", lambda: known.model_copy(update={"model": swapped}))
    assert {insights.c1().verdict, insights.c2().verdict, insights.c3().verdict} == {"refuted"}
    data = {**catalogue.published(), "phi_1_5": {
        "prefill_ms": {"f16": 9.0, "q4_k_m": 3.0, "q3_k": 4.0, "q5_k": 8.0, "q6_k": 8.0, "q8_0": 7.0},
        "decode_ms": {"f16": 9.0, "q4_k_m": 8.0, "q3_k": 8.5, "q5_k": 8.8, "q6_k": 8.8, "q8_0": 8.7},
        "prefill_at": {"8": {"f16": 2.0, "q4_k_m": 1.0}, "50": {"f16": 3.0, "q4_k_m": 1.0}}}}  # fmt: skip
    monkeypatch.setattr(catalogue, "published", lambda: data)
    assert (insights_cost.q1().verdict, insights_cost.q2().verdict) == ("refuted", "refuted")
    assert insights_cost.q3().verdict == "confirmed"


def test_a_constant_engine_counted_wrongly_gives_the_published_curve_and_counted_step_by_step_is_flat() -> None:
    steps = [79.5] * 48
    curve = insights_cost.counted(steps)
    assert curve[0] == 0.0  # one token has no decode step
    assert curve == pytest.approx([79.5 * (n - 1) / n for n in range(1, 49)])
    assert len(set(steps)) == 1


def rows() -> list[Cost]:
    """Two shapes of equal size and six formats on a made-up device on which every layer costs much."""
    truth = Rates(
        threads=1,
        runtime={},
        decode={"f16": 36e9, "q8_0": 34e9, "q5_k": 34e9, "q6_k": 34e9, "q4_k": 33e9, "q3_k": 20e9},
        prefill={"f16": 177e9, "q8_0": 139e9, "q5_k": 90e9, "q6_k": 95e9, "q4_k": 200e9, "q3_k": 99e9},
        layer_s=5e-5,
        prefill_layer_s=1e-2,
    )
    found = []
    for layers, width in ((32, 512), (8, 1024)):
        sizes = Geometry(
            layers=layers, width=width, heads=8, kv_heads=8, head=width // 8, ffn=4 * width, gated=False,
            vocabulary=1024, tied=True, architecture="llama",
        )  # fmt: skip
        for mix in ("f16", "q8_0", "q4_k_s", "q3_k_s", "q5_k_s", "q6_k"):
            held = formulas.weights(sizes, mix)
            times = [("decode", {"depth": 0}, predict.decode(truth, sizes, held).ms)]
            times += [("prefill", {"prompt": n}, predict.prefill(truth, sizes, held, n).ms) for n in (16, 128)]
            fixed = {"pack": "", "variant": mix, "device": DEVICE, "runtime": {}, "threads": 1, "unit": "token"}
            for phase, size, ms in times:
                spread = {"p50_ms": ms, "p95_ms": ms, "mean_ms": ms, "size": size, "phase": phase}
                found.append(Cost.model_validate({**fixed, **spread, "geometry": sizes, "weights": held}))
    return found


def test_rows_of_a_device_decide_what_they_can() -> None:
    found = {i.id: i for i in insights_cost.device_insights(rows())}
    assert found["R1d"].verdict == found["R2d"].verdict == found["Q1d"].verdict == "confirmed"
    assert found["Q2d"].verdict == "refuted"  # here the fixed cost hides the gain of short prompts
    assert "rows on made, 1 threads" in found["R1d"].data
    only = {i.id: i.verdict for i in insights_cost.device_insights(rows()[:3])}
    assert set(only.values()) == {"not testable here"}


def test_the_page_says_what_the_code_says() -> None:
    """docs/slm.md is drawn from results/, and results/ hold what the code finds today (without rows of a device)."""
    page = (ROOT / "docs" / "slm.md").read_text(encoding="utf-8")
    kept = {r.config["id"]: r.metrics for r in load_results(ROOT / "results", "slm", "insights")}
    for insight in insights.all_insights():
        if not insight.id.endswith("d"):
            assert kept[insight.id] == {k: v for k, v in insight.model_dump(mode="json").items() if k != "id"}, (
                insight.id
            )
        line = next(x for x in page.splitlines() if x.startswith(f"| {insight.id} |"))
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        said = kept[insight.id]
        assert cells[1:] == [said[k] for k in ("claim", "verdict", "found", "rule", "data")]


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    from hedgerow.report.tables import make_tables

    systems = ROOT / "src" / "hedgerow" / "systems"
    assert make_tables(ROOT / "results", [ROOT / "docs" / "slm.md"], systems, check_only=True) == []
