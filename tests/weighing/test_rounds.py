"""Rounds put together, energy from a plug, llama-bench's columns, files as subjects, and what changes under a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Clock, FakeEngine, FakeKind, install

from hedgerow.cost import Cost, Geometry, formulas
from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Held, Phase
from hedgerow.runtimes import random_gguf
from hedgerow.weighing import child, energy, llama_bench, measured_device, probing, weigh
from hedgerow.weighing.child import Unchanged, sweep
from hedgerow.weighing.imported import import_bench
from hedgerow.weighing.rounds import Gathered
from hedgerow.weighing.subjects import subject_of
from hedgerow.weighing.timing import row_key

SIZES = Geometry(
    layers=2, width=64, heads=2, kv_heads=1, head=32, ffn=128, gated=True, vocabulary=128, tied=True, positions=4096
)


def event(ms: list[float], **changes: Any) -> dict[str, Any]:
    base = {
        "phase": "decode",
        "size": {"prompt": 4},
        "batch": 1,
        "runtime": {"library": "x"},
        "units": 1.0,
        "unit": "token",
    }
    return {**base, "samples_ms": ms, "p50_ms": ms[0], "peak_bytes": 10, "noisy": False, "energy_j": None, **changes}


def test_every_sample_of_every_round_counts() -> None:
    found = Gathered()
    found.add(event([1.0, 2.0], peak_bytes=30, energy_j=2.0))
    found.add(event([9.0], phase="prefill"))
    found.add(event([3.0, 4.0, 5.0], energy_j=4.0))
    decode, prefill = found.rows()
    assert (decode["p50_ms"], decode["mean_ms"], decode["repeats"], decode["peak_bytes"]) == (3.0, 3.0, 5, 30)
    assert decode["samples_ms"] == [1, 2, 3, 4, 5] and decode["energy_j"] == 3.0
    assert decode["noisy"]  # p95 4.8 is more than 1.5 times 3
    assert "2 rounds" in decode["note"] and prefill["repeats"] == 1 and "note" not in prefill


def test_rows_of_another_build_or_option_are_not_mixed() -> None:
    found = Gathered()
    for more in (
        {},
        {"runtime": {"library": "y"}},
        {"options": {"cache_k": "q8_0"}},
        {"batch": 4},
        {"size": {"prompt": 8}},
    ):
        found.add(event([1.0], **more))
    assert len(found.rows()) == 5


# --- energy ----------------------------------------------------------------------------------------------------------
def test_energy_is_the_power_over_time() -> None:
    log = [(0.0, 10.0), (2.0, 20.0), (4.0, 20.0)]
    assert energy.joules(log, 0, 4) == pytest.approx(30 + 40)
    assert energy.joules(log, 1, 3) == pytest.approx(17.5 + 20)
    assert energy.joules(log, -1, 3) is None and energy.joules(log, 1, 5) is None and energy.joules([], 0, 1) is None


def test_a_plugs_log_is_read_with_either_kind_of_time(tmp_path: Path) -> None:
    file = tmp_path / "plug.csv"
    file.write_text("time,watts\n1970-01-01T00:00:10Z,5\n0,5\n20.0,5\n")
    assert energy.read_plug(file) == [(0.0, 5.0), (10.0, 5.0), (20.0, 5.0)]
    log = energy.read_plug(file)
    assert energy.of_call(log, 4.0, 8.0, 10, mean_ms=200.0) == pytest.approx(1.0)
    assert energy.of_call(log, 4.0, 80.0, 10, mean_ms=200.0) is None
    file.write_text("time,watts\n0,5\n10,5\n20,")  # the plug is writing
    assert energy.read_plug(file) == [(0.0, 5.0), (10.0, 5.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,watts\n0,five\n", "line 2"), ("when,power\n", "columns time and watts"),
        ("time,watts\n0,nan\n", "line 2.*no number"), ("time,watts\ninf,3\n", "no number"),
        ("time,watts\n0,3\n1,-5\n", "line 3.*-5 watts"), ("time,watts\n2026-01-01T10:00:00,3\n", "names no zone"),
        ("time,watts\n0," + "9" * 200_000 + "\n", "line \\d"), ("time,watts\n0\n", "line 2"), ("", "columns"),
    ],
)  # fmt: skip
def test_a_plugs_log_that_cannot_be_true_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "plug.csv"
    file.write_text(text)
    with pytest.raises(HedgerowError, match=says) as caught:
        energy.read_plug(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


# --- files as subjects -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_gguf.write(tmp_path_factory.mktemp("gguf") / "small.gguf", SIZES, "q8_0")


def test_a_file_is_weighed_and_remembered_by_its_digest(file: Path, tmp_path: Path) -> None:
    rows = weigh(file, settings={"cache_k": "q8_0", "cache_v": "q8_0"})
    assert {(c.phase, c.variant) for c in rows} >= {(p, "gguf-q8_0") for p in ("load", "ttft", "prefill", "decode")}
    decode = next(c for c in rows if c.phase == "decode")
    assert decode.options["cache_k"] == "q8_0" and decode.geometry == SIZES.model_copy(
        update={"architecture": "llama", "norm": "rmsnorm", **_named(decode)}
    )
    assert decode.samples_ms and len(decode.samples_ms) == decode.repeats
    assert set(decode.memory) == {"formula", "printed", "resident"}
    assert decode.memory["formula"].kv == formulas.kv_bytes(SIZES, int(decode.options["context"]), "q8_0", "q8_0")
    moved = tmp_path / "other.gguf"
    moved.write_bytes(file.read_bytes())
    assert len(subject_of(moved).costs) == len(rows)  # the same file elsewhere
    again = weigh(moved, settings={"cache_k": "q8_0", "cache_v": "q8_0"}, resume=True)
    assert {c.phase for c in again} == {"load"}
    assert {c.file_sha256 for c in rows} == {subject_of(file).digest}
    records = llama_bench.records(rows, {rows[0].pack: "small.gguf"})
    assert all(set(r) == set(llama_bench.FIELDS) for r in records) and json.dumps(records)
    spoken = json.loads(json.dumps(records))
    (tmp_path / "ours.json").write_text(json.dumps(spoken))
    device = import_bench(tmp_path / "ours.json", [file])  # what we write in llama-bench's columns means the same
    assert {r.threads for r in device.rates} == {1}
    prefill = next(r for r in records if r["n_prompt"] == 16)
    assert prefill["n_gen"] == 0 and prefill["avg_ts"] > 0 and prefill["model_n_params"] == decode.weights.elements  # type: ignore[union-attr]


def test_a_generation_in_llama_benchs_columns_is_the_time_of_all_its_tokens() -> None:
    steps = tuple(float(ms) for ms in (1, 2, 3, 4, 5, 6, 7))
    row = {"pack": "p", "variant": "gguf-q8_0", "device": measured_device(), "runtime": {}, "threads": 1,
           "unit": "token", "phase": "decode", "size": {"prompt": 8, "new": 3, "depth": 4}, "repeats": 7,
           "p50_ms": 4.0, "p95_ms": 7.0, "mean_ms": 4.0, "samples_ms": steps}  # fmt: skip
    (record,) = llama_bench.records([Cost.model_validate(row)], {})
    assert (record["n_gen"], record["n_depth"], record["n_prompt"]) == (3, 12, 0)
    assert record["samples_ns"] == [6_000_000, 15_000_000] and record["avg_ns"] == 12_000_000
    assert record["avg_ts"] == pytest.approx((500 + 200) / 2)


def _named(row: Cost) -> dict[str, Any]:
    """What a header says besides sizes."""
    assert row.geometry is not None
    return row.geometry.model_dump(include={"norm", "activation", "architecture", "biases"})


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(10))
    for path in (tmp_path / "x.gguf", tmp_path / "none", tmp_path):
        with pytest.raises(HedgerowError) as caught:
            weigh(path)
        assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused(file: Path) -> None:
    with pytest.raises(HedgerowError, match="has no setting 'cache_q'"):
        weigh(file, settings={"cache_q": "f16"})


# --- a sweep ---------------------------------------------------------------------------------------------------------
def test_a_row_is_refused_when_something_changed_under_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    same = Unchanged([model])
    assert same() == ""
    model.write_bytes(b"three")
    assert same() == "the file changed meanwhile"
    monkeypatch.setattr(child.device, "governor", lambda: {"governor": "powersave"})
    before = Unchanged([])
    monkeypatch.setattr(child.device, "governor", lambda: {"governor": "performance"})
    assert before() == "governor changed from powersave to performance meanwhile"

    clock = Clock()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.001 * units))
    events = list(sweep(engine, FakeKind(), "quick", 10.0, None, None, clock, same=before))  # type: ignore[arg-type]
    assert {e["event"] for e in events} == {"skipped"} and "is refused: governor changed" in events[0]["why"]


def test_rows_that_are_there_already_are_left_out() -> None:
    clock = Clock()
    engine = FakeEngine(wait=lambda phase, units: clock.wait(0.001 * units))
    done = frozenset({row_key("prefill", {"words": 4}, 8, {}, engine.runtime)})
    kept = list(sweep(engine, FakeKind(), "quick", 10.0, None, None, clock, done=done))  # type: ignore[arg-type]
    every = list(sweep(engine, FakeKind(), "quick", 10.0, None, None, clock))  # type: ignore[arg-type]
    assert len(kept) == len(every) - 1
    assert ("prefill", 8) not in {(e["phase"], e["batch"]) for e in kept}


def test_what_a_phase_holds_stands_in_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    held = Held(options={"ubatch": 64}, memory=lambda: {"printed": formulas.Memory(kv=7)}, geometry=SIZES)
    monkeypatch.setattr(
        FakeEngine, "phases", lambda self, inputs, size: [Phase("decode", 1.0, lambda: None, held=held)]
    )
    rows = list(sweep(FakeEngine(), FakeKind(), "quick", 1.0, None, None, before=child.device.resident()))  # type: ignore[arg-type]
    assert rows[0]["options"] == {"ubatch": 64} and rows[0]["geometry"]["layers"] == 2
    assert rows[0]["memory"]["printed"]["kv"] == 7 and rows[0]["memory"]["resident"]["total"] >= 0


# --- the probe -------------------------------------------------------------------------------------------------------
def test_a_probe_gives_rates_that_a_fleet_file_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FORMATS", ("f16", "q8_0", "q4_0"))
    monkeypatch.setattr(
        probing, "WIDE", probing.WIDE.model_copy(update={"width": 256, "heads": 4, "kv_heads": 4, "ffn": 512})
    )
    monkeypatch.setattr(probing, "DEPTH", 64)
    monkeypatch.setattr(probing, "LONG", 160)
    monkeypatch.setattr(probing, "last_cache", lambda: 1 << 20)
    said: list[str] = []
    found = probing.probe(threads=[1], tell=said.append)
    assert found.fingerprint == measured_device().fingerprint
    rates = next(r for r in found.rates if r.threads == 1)
    assert {"f16", "q8_0"} <= set(rates.decode) and set(rates.prefill) >= {"f16"}
    assert all(1e7 < r < 1e12 for r in rates.decode.values()) and rates.bandwidth and rates.bandwidth > 1e8
    assert rates.source == "probed" and rates.runtime["library"] == "llama.cpp" and rates.when
    assert said and not list(Path().glob("hedgerow-probe-*"))


def taken(*rounds: list[float], name: str = "f16") -> probing._Taken:
    return probing._Taken(seconds={(name, "decode", 0): list(rounds)})


def test_of_several_rounds_the_quiet_one_counts_and_unsteady_times_are_noisy() -> None:
    quiet, busy = [1e-3, 1.1e-3, 1.0e-3], [0.3, 0.27, 0.34]
    disturbed = taken(busy, quiet, quiet)
    assert disturbed.best() == {("f16", "decode", 0): 1e-3}
    assert probing.noisy({1: disturbed}) == {1: {("f16", "decode")}}
    assert probing.noisy({1: taken(quiet, quiet, quiet)}) == {1: set()}


def test_more_threads_that_are_slower_are_noisy_however_steady() -> None:
    fast, slow, nearly = [1e-3] * 3, [1.3e-3] * 3, [1.1e-3] * 3
    assert probing.noisy({1: taken(fast), 2: taken(slow)}) == {1: set(), 2: {("f16", "decode")}}
    assert probing.noisy({1: taken(fast), 2: taken(nearly)}) == {1: set(), 2: set()}
    thin = {1: taken(fast, name="thin-8"), 2: taken(slow, name="thin-8")}  # too little work to divide
    assert probing.noisy(thin) == {1: set(), 2: set()}


def test_a_noisy_rate_carries_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FORMATS", ("f16",))
    times = taken([1e-3, 1e-3, 9e-3])
    times.models["f16"] = probing.WIDE, formulas.weights(probing.WIDE, "f16")
    said: list[str] = []
    (bad,) = probing.noisy({1: times}).values()
    rates = probing._rates(times, bad, 1, 1e10, "", said.append)
    assert rates.noisy == ("rate of decode of f16",) and said == ["f16, 1 thread: 1 ms a step (noisy: decode)"]


def test_the_last_cache_is_read(tmp_path: Path) -> None:
    for name, text in (("index0", "32K"), ("index3", "8M\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "size").write_text(text)
    assert probing.last_cache(tmp_path) == 8 << 20
    assert probing.last_cache(tmp_path / "none") == 32 << 20
