"""Costs: which row counts, what follows between and beyond measured batches, and for a device that nobody weighed."""

from __future__ import annotations

from typing import Any

import pytest

from hedgerow.cost import Cost, Device, latency_at, latest, scaled

HERE = Device(name="here", machine="x86_64", cpu="c", cores=2, memory_bytes=1, fingerprint="aaaaaaaaaaaa")
THERE = Device(name="there", machine="", cpu="", cores=1, memory_bytes=1, fingerprint="bbbbbbbbbbbb")


def cost(**more: Any) -> Cost:
    values: dict[str, Any] = {
        "pack": "a" * 64, "variant": "numpy", "device": HERE, "runtime": {"numpy": "2"}, "threads": 1, "unit": "text",
        "phase": "run", "p50_ms": 2.0, "p95_ms": 3.0, "mean_ms": 2.5, "min_ms": 1.0, "energy_j": 0.5, "when": "1",
    }  # fmt: skip
    return Cost(**{**values, **more})


def test_a_slower_device_takes_every_time_longer_and_is_assumed() -> None:
    row = scaled(cost(), THERE, 4.0, "taken as four times slower")
    assert (row.p50_ms, row.p95_ms, row.mean_ms, row.min_ms) == (8.0, 12.0, 10.0, 4.0)
    assert (row.source, row.device, row.note) == ("assumed", THERE, "taken as four times slower")
    assert row.energy_j is None  # nothing follows for it from a speed
    assert scaled(cost(min_ms=None), THERE, 4.0, "").min_ms is None


def test_the_newest_measured_row_counts() -> None:
    rows = [cost(when="1", p50_ms=1.0), cost(when="3", p50_ms=3.0), cost(when="2", p50_ms=2.0)]
    rows.append(cost(when="9", p50_ms=9.0, source="assumed"))
    assert [r.p50_ms for r in latest(rows)] == [3.0]
    apart = {"variant": "onnx", "device": THERE, "runtime": {"numpy": "3"}, "threads": 2, "phase": "load", "batch": 8,
             "size": {"words": 4}, "pack": "b" * 64}  # fmt: skip
    assert len(latest([cost(), *(cost(**{name: value}) for name, value in apart.items())])) == 1 + len(apart)


def test_latency_is_linear_between_the_measured_batches_and_beyond_the_last() -> None:
    rows = [cost(batch=b, p50_ms=t, p95_ms=2 * t) for b, t in ((1, 10.0), (9, 18.0), (33, 66.0))]
    found = {batch: latency_at(rows, batch) for batch in (1, 5, 9, 21, 33, 43)}
    assert found == pytest.approx({1: 10.0, 5: 14.0, 9: 18.0, 21: 42.0, 33: 66.0, 43: 86.0})
    assert latency_at(rows, 5, "p95") == pytest.approx(28.0)
    assert latency_at(rows[:1], 3) == pytest.approx(30.0)  # one row: in proportion, never less than itself
    assert latency_at(rows[1:2], 1) == pytest.approx(18.0)
    assert latency_at([], 1) is None


def test_a_measured_row_beats_a_predicted_one_and_that_an_assumed_one() -> None:
    rows = [
        cost(source=source, when=when) for source, when in (("assumed", "3"), ("predicted", "2"), ("measured", "1"))
    ]
    assert [r.source for r in latest(rows)] == ["measured"]
    assert [r.source for r in latest(rows[:2])] == ["predicted"]
    apart = [cost(options={"cache_k": "f16"}), cost(options={"cache_k": "q8_0"})]
    assert len(latest(apart)) == 2
