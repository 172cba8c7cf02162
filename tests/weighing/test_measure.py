"""weigh: what is kept when something goes wrong, what is refused, and what a row says. The process is a fake here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import Clock, FakeEngine, FakeKind, FakeTask, install, make_pack

from hedgerow.cost import Cost
from hedgerow.errors import HedgerowError
from hedgerow.weighing import Step, child, device, measure, measured_device, weigh
from hedgerow.weighing.child import sweep
from hedgerow.weighing.timing import row_key


@pytest.fixture(autouse=True)
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def row(phase: str = "prefill", **changes: Any) -> dict[str, Any]:
    base = {"event": "row", "phase": phase, "units": 4, "repeats": 5, "p50_ms": 2.0, "p95_ms": 2.5, "mean_ms": 2.1}
    rest = {"unit": "word", "runtime": {"library": "fake"}, "size": {"words": 4} if phase != "load" else {}}
    return {**base, **rest, "min_ms": 1.9, "peak_bytes": 10_000, "noisy": False, **changes}


class Script:
    """Stands for the measuring process: yields what the test says, for each form in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, of_form: Mapping[str, list[Any]]) -> None:
        self.orders: list[Mapping[str, Any]] = []
        self.of_form = of_form
        monkeypatch.setattr(measure, "events", self)

    def __call__(self, order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.orders.append(order)
        for event in self.of_form[order["variant"]]:
            if isinstance(event, BaseException):
                raise event
            if not order.get("load_only") or event["phase"] == "load":
                yield dict(event)


def test_rows_name_pack_form_device_and_go_into_the_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = make_pack(tmp_path / "p")
    script = Script(monkeypatch, {form: [row("load"), row()] for form in ("numpy", "numpy-int8")})
    rows = weigh(pack, threads=2)
    assert [(c.variant, c.phase) for c in rows] == [
        (form, phase) for form in ("numpy", "numpy-int8") for phase in ("load", "prefill")
    ]
    assert {c.pack for c in rows} == {pack.digest}
    assert {c.device for c in rows} == {measured_device()}
    assert {c.disk_bytes for c in rows} == {1000, 250}
    assert all(c.threads == 2 and c.when and c.source == "measured" for c in rows)
    assert [Cost.model_validate(line) for line in pack.costs] == rows
    first, second = (order["seconds"] for order in script.orders)
    share = measure.PACK_SECONDS["quick"]
    assert first == pytest.approx(share / 2, abs=1.0)
    assert first < second <= share  # what the first form left is there for the second


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), HedgerowError("it broke")])
def test_what_was_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> None:
    pack = make_pack(tmp_path / "p")
    Script(monkeypatch, {"numpy": [row("load"), row(), stop, row("decode")], "numpy-int8": [row("load")]})
    with pytest.raises(type(stop)):
        weigh(pack)
    kept = [(line["variant"], line["phase"]) for line in pack.costs]
    # after Ctrl-C nothing more is measured; after a form that failed the others still are
    after = [] if isinstance(stop, KeyboardInterrupt) else [("numpy-int8", "load")]
    assert kept == [("numpy", "load"), ("numpy", "prefill"), *after]


def test_a_failed_form_is_told_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    broken = [HedgerowError("it broke")]
    Script(monkeypatch, {"numpy": broken, "numpy-int8": broken})
    with pytest.raises(HedgerowError, match=r"it broke \(and 1 more\)"):
        weigh(make_pack(tmp_path / "p"), progress=steps.append)
    assert [s.variant for s in steps if s.problem] == ["numpy", "numpy-int8"]


def test_a_skipped_cell_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    skipped = {"event": "skipped", "size": {"words": 16}, "batch": 32, "why": "one call would take about 9 s"}
    Script(monkeypatch, {"numpy": [row("load"), skipped]})
    rows = weigh(make_pack(tmp_path / "p"), ["numpy"], progress=steps.append)
    assert len(rows) == 1
    assert [s.text for s in steps if s.problem] == ["16 words, batch 32: one call would take about 9 s"]


def test_the_full_grid_loads_in_five_fresh_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([500.0, 100.0, 300.0, 200.0, 400.0])

    class Loads(Script):
        def __call__(self, order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
            for event in super().__call__(order):
                ms = next(times)
                yield {**event, "p50_ms": ms, "p95_ms": ms, "mean_ms": ms, "repeats": 1, "peak_bytes": int(ms)}

    Loads(monkeypatch, {"numpy": [row("load")]})
    (load,) = weigh(make_pack(tmp_path / "p"), ["numpy"], grid="full")
    assert (load.repeats, load.p50_ms, load.mean_ms, load.min_ms, load.peak_bytes) == (5, 300.0, 300.0, 100.0, 500)
    assert load.noisy  # 480 is more than 1.5 times 300


def test_too_large_for_memory_is_refused_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = make_pack(tmp_path / "p")
    script = Script(monkeypatch, {"numpy": [row("load")]})
    monkeypatch.setattr(FakeKind, "disk_bytes", lambda self, pack, variant: 7 << 40)
    with pytest.raises(HedgerowError, match=r"needs about 8,466,\d+ MB .* are available; it was not loaded"):
        weigh(pack, ["numpy"])
    assert script.orders == [] and pack.costs == []


def test_memory_of_an_earlier_measurement_counts_too(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    measure.refuse_if_too_large(pack, "numpy", available=1200)
    with pytest.raises(HedgerowError, match="available"):
        measure.refuse_if_too_large(pack, "numpy", available=1000)
    pack.add_evidence("costs.jsonl", {"variant": "numpy", "phase": "load", "peak_bytes": 9000})
    with pytest.raises(HedgerowError, match="available"):
        measure.refuse_if_too_large(pack, "numpy", available=1200)


def test_unknown_words_get_suggestions(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    with pytest.raises(HedgerowError, match="did you mean 'quick'"):
        weigh(pack, grid="quik")  # type: ignore[arg-type]
    with pytest.raises(HedgerowError, match="did you mean 'numpy-int8'"):
        weigh(pack, ["numpy-int4"])
    with pytest.raises(HedgerowError, match="threads"):
        weigh(pack, threads=0)


def test_with_a_task_every_form_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = make_pack(tmp_path / "p")
    Script(monkeypatch, {form: [row("load")] for form in ("numpy", "numpy-int8")})
    asked: list[str] = []
    real = FakeEngine.predict
    monkeypatch.setattr(FakeEngine, "predict", lambda self, *a: asked.append(self.variant) or real(self, *a))
    weigh(pack, task=FakeTask())
    assert [line["variant"] for line in pack.scores] == ["numpy", "numpy-int8"]
    assert pack.scores[1]["against"]["difference"]["value"] == pytest.approx(-0.2)
    assert asked == ["numpy", "numpy-int8"]


def test_without_a_task_nothing_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = make_pack(tmp_path / "p")
    Script(monkeypatch, {"numpy": [row("load")]})
    weigh(pack, ["numpy"])
    assert pack.scores == []


def test_a_sweep_measures_every_phase_of_every_cell() -> None:
    clock = Clock()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.001 * units))
    rows = list(sweep(engine, FakeKind(), "quick", 60.0, load_peak=1 << 40, load=0.0, clock=clock))
    assert {(r["phase"], r["size"]["words"], r["batch"]) for r in rows} == {
        (phase, *cell) for phase in ("prefill", "decode") for cell in [(1, 1), (4, 1), (16, 1), (4, 8), (4, 32)]
    }
    assert all(r["p50_ms"] == r["p95_ms"] == pytest.approx(r["units"]) for r in rows)
    prefill = next(r for r in rows if r["phase"] == "prefill" and r["batch"] == 8)
    assert (prefill["units"], prefill["flops"], prefill["flops_cover"]) == (32, 64.0, "all")
    assert prefill["peak_bytes"] == 1 << 40  # loading is part of a fresh process


@pytest.mark.parametrize(("each", "skipped"), [(0.001, []), (0.05, [32]), (0.5, [1, 8, 32]), (500.0, [1, 8, 32])])
def test_a_sweep_leaves_out_what_cannot_end_but_never_the_usual_cell(each: float, skipped: list[int]) -> None:
    clock, kind = Clock(), FakeKind()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(each * units))
    events = list(sweep(engine, kind, "quick", 20.0, load_peak=None, load=0.0, clock=clock))
    assert [e["batch"] for e in events if e["event"] == "skipped"] == skipped
    usual = [e for e in events if e["event"] == "row" and e["size"] == kind.unit.usual and e["batch"] == 1]
    assert {e["phase"] for e in usual} == {"prefill", "decode"}
    if each < 1:
        assert clock.now < 2 * 20.0


@pytest.mark.parametrize("forms", [1, 2, 3])
def test_a_quick_grid_of_slow_models_ends_in_time(forms: int) -> None:
    """Three Packs of up to three forms, 0.12 s a usual text and 2 s to load: what is within our hands ends in 45 s."""
    spent, jobs = 0.0, 3 * forms
    for number in range(jobs):
        clock = Clock()
        engine = FakeEngine(wait=lambda phase, units, clock=clock: clock.wait(0.03 * units))
        left = (3 * measure.PACK_SECONDS["quick"] - spent) / (jobs - number) - 2.0
        list(sweep(engine, FakeKind(), "quick", max(left, 2.0), None, 0.0, clock))
        spent += 2.0 + clock.now
    assert spent <= 45


def test_energy_is_that_of_one_call_warm_up_included(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), [0]

    def wait(phase: str, units: int) -> None:
        calls[0] += 1
        clock.wait(0.01)

    class Meter:
        """Ten joules a call."""

        def __init__(self) -> None:
            self.before = calls[0]

        def joules(self) -> float:
            return 10.0 * (calls[0] - self.before)

    monkeypatch.setattr(device, "EnergyMeter", Meter)
    rows = list(sweep(FakeEngine(wait=wait), FakeKind(), "quick", 60.0, None, 0.0, clock))
    assert {r["energy_j"] for r in rows} == {10.0}
    assert {r["energy_j"] for r in _sweep_without_counters(monkeypatch)} == {None}


def _sweep_without_counters(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(device.EnergyMeter, "joules", lambda self: None)
    clock = Clock()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.01))
    return list(sweep(engine, FakeKind(), "quick", 60.0, None, 0.0, clock))


@pytest.mark.parametrize(
    ("stalled", "load", "noisy"),
    [
        (0.0, 99.0, False),
        (0.24, 0.0, False),
        (0.26, 0.0, True),
        (None, 0.5, False),
        (None, 99.0, True),
        (None, None, False),
    ],
)
def test_a_row_is_noisy_when_others_wanted_the_cpu(
    stalled: float | None, load: float | None, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the time in which somebody waited; where the kernel does not say, more tasks than cores."""
    now = iter([100.0, 110.0])
    seen = iter([5_000_000, None if stalled is None else 5_000_000 + round(stalled * 10 * 1e6)])
    monkeypatch.setattr(child.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(device, "cpu_stall_us", lambda: next(seen))
    monkeypatch.setattr(child.os, "cpu_count", lambda: 2)
    assert child.Stall().noisy(load) is noisy


def test_a_peak_is_that_of_its_own_cell() -> None:
    block = bytearray(1) * (96 << 20)
    del block
    _, before = device.process_memory()
    child.reset_peak()
    now, after = device.process_memory()
    assert before is not None and after is not None and now is not None
    if not os.access("/proc/self/clear_refs", os.W_OK):
        assert after >= before  # such a kernel only knows the peak since the start
        return
    assert after < before - (64 << 20)
    assert after <= now + (16 << 20)


@pytest.mark.parametrize("grid", ["quick", "full"])
def test_a_plugs_energy_reaches_the_rows_of_either_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: Any
) -> None:
    plug = tmp_path / "plug.csv"
    plug.write_text("time,watts\n0,5\n")
    seen: list[str] = []

    def later(order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield row("load")
        yield {**row(), "began": 10.0, "ended": 20.0, "calls": 4}
        yield {**row("decode"), "began": 20.0, "ended": 900.0, "calls": 4}
        plug.write_text("time,watts\n0,5\n100,5\n2")  # the log grows while we measure; its last line is being written

    monkeypatch.setattr(measure, "events", later)
    rows = weigh(make_pack(tmp_path / "p"), ["numpy"], grid, plug=plug, progress=lambda step: seen.append(step.text))
    joules = {c.phase: c.energy_j for c in rows}
    assert joules == {"load": None, "prefill": pytest.approx(5 * 2.1 / 1e3), "decode": None}
    assert sum("does not reach over decode" in text for text in seen) == measure.ROUNDS[grid]


def test_a_plugs_log_that_breaks_meanwhile_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug = tmp_path / "plug.csv"
    with pytest.raises(HedgerowError, match="cannot be read as a plug's log"):
        weigh(make_pack(tmp_path / "p"), plug=plug)
    plug.write_text("time,watts\n0,5\n")

    def later(order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield {**row(), "began": 10.0, "ended": 20.0, "calls": 4}
        plug.write_text("gone")

    monkeypatch.setattr(measure, "events", later)
    seen: list[str] = []
    rows = weigh(make_pack(tmp_path / "q"), ["numpy"], plug=plug, progress=lambda step: seen.append(step.text))
    assert [c.energy_j for c in rows] == [None] and any(text.startswith("no energy: ") for text in seen)


def test_rows_that_are_there_already_do_not_hide_how_long_a_call_takes() -> None:
    """Resumed after batch 8: a cell without a new time must not say that calls take none."""
    clock, kind = Clock(), FakeKind()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.05 * units))
    known = frozenset(row_key(phase, kind.unit.usual, 8, {}, engine.runtime) for phase in ("prefill", "decode"))
    events = list(sweep(engine, kind, "quick", 20.0, None, 0.0, clock, done=known))
    assert [e["batch"] for e in events if e["event"] == "skipped"] == [32]
    assert 8 not in {e["batch"] for e in events if e["event"] == "row"}


def test_a_weight_of_a_pack_that_changes_is_seen_and_its_evidence_is_not(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    (pack.path / "more.safetensors").write_bytes(b"12345678")
    same = child.Unchanged([pack.path])
    pack.add_evidence("costs.jsonl", {"a": 1})
    assert same() == ""
    (pack.path / "more.safetensors").write_bytes(b"123456789")
    assert same() == "the file changed meanwhile"
