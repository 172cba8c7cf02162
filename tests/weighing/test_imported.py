"""Rates from what llama-bench wrote on a device that cannot install hedgerow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gguf_made import llama

from hedgerow.cost import Geometry, Rates, Weights, formulas, predict
from hedgerow.errors import HedgerowError
from hedgerow.weighing import catalogue, headers, imported

TRUTH = Rates(
    threads=4, runtime={}, decode={"q8_0": 12e9, "f16": 12e9, "q4_0": 11e9, "q6_k": 11.5e9}, step_s=2e-3, layer_s=1e-4,
    prefill={"q8_0": 60e9, "f16": 20e9, "q4_0": 80e9}, prefill_layer_s=3e-4, head=50e9,
)  # fmt: skip
MIXES = {"q8_0": "Q8_0", "q4_0": "Q4_0", "f16": "F16"}
NAMES = {
    "SmolLM-135M": "llama 134.52M",
    "Qwen2-0.5B": "qwen2 0.5B",
    "SmolLM-360M": "llama 360M",
    "Llama-3.2-1B": "llama 1B",
}


def bench(sizes: Geometry, held: Weights, model_type: str, file: str, **more: Any) -> list[dict[str, Any]]:
    """The two rows that llama-bench -p 128 -n 32 would write on the made-up phone."""
    fixed: dict[str, Any] = {
        "build_commit": "abc1234", "build_number": 6000, "cpu_info": "Cortex-X3", "gpu_info": "", "backends": "CPU",
        "model_filename": f"/data/local/{file}", "model_type": model_type, "model_size": formulas.weight_bytes(held),
        "model_n_params": held.elements, "n_batch": 2048, "n_ubatch": 512, "n_threads": 4, "type_k": "f16",
        "type_v": "f16", "n_gpu_layers": 0, "flash_attn": False, "n_depth": 0, "test_time": "2026-01-01T00:00:00Z",
        "stddev_ns": 1, "avg_ts": 1.0, "stddev_ts": 0.1, "samples_ts": [], "some_new_field": {"a": 1}, **more,
    }  # fmt: skip
    pre = predict.prefill(TRUTH, sizes, held, 128).ms * 1e6
    dec = predict.decode(TRUTH, sizes, held, 16).ms * 1e6 * 32
    return [
        {**fixed, "n_prompt": 128, "n_gen": 0, "avg_ns": 2 * pre, "samples_ns": [pre, pre, 4 * pre]},
        {**fixed, "n_prompt": 0, "n_gen": 32, "avg_ns": dec},
    ]


def phone(tmp_path: Path, **more: Any) -> Path:
    rows = []
    for name, shown in NAMES.items():
        sizes = catalogue.model(name).geometry
        for mix, word in MIXES.items():
            rows += bench(sizes, formulas.weights(sizes, mix), f"{shown} {word}", f"{name}.{word}.gguf", **more)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(rows))
    return path


def test_rates_come_back_and_predict_a_model_that_never_ran_there(tmp_path: Path) -> None:
    device = imported.import_bench(phone(tmp_path), name="phone", cores=8, memory_bytes=8 << 30)
    assert (device.name, device.cpu, device.cores, device.memory_bytes) == ("phone", "Cortex-X3", 8, 8 << 30)
    (rates,) = device.rates
    assert (rates.threads, rates.source, rates.assumed) == (4, "imported", ())
    assert rates.runtime == {"name": "llama.cpp", "version": "6000", "build": "abc1234", "backends": "CPU"}
    other = catalogue.model("Qwen2.5-1.5B").geometry
    held = formulas.weights(other, "q8_0")
    for call, tokens in ((predict.decode, 16), (predict.prefill, 128)):
        assert call(rates, other, held, tokens).ms == pytest.approx(call(TRUTH, other, held, tokens).ms, rel=0.02)
    assert {b.phase for b in rates.bands} == {"decode", "prefill"}


def test_json_lines_and_other_thread_counts(tmp_path: Path) -> None:
    rows = json.loads(phone(tmp_path).read_text()) + json.loads(phone(tmp_path, n_threads=2).read_text())
    lines = tmp_path / "bench.jsonl"
    lines.write_text("\n".join(json.dumps(r) for r in rows))
    assert sorted(r.threads for r in imported.import_bench(lines).rates) == [2, 4]


def test_the_file_itself_gives_the_geometry(tmp_path: Path) -> None:
    file = llama(tmp_path / "mine.gguf")
    h = headers.read(file)
    path = tmp_path / "one.json"
    path.write_text(json.dumps(bench(h.geometry, h.weights, "llama ?B F16", "mine.gguf")))
    (rates,) = imported.import_bench(path, [tmp_path]).rates
    assert not any("one block" in a for a in rates.assumed) and "1 model only" in rates.assumed[0]
    (guessed,) = imported.import_bench(path).rates
    assert "sizes of mine.gguf, taken as one block of its parameters" in guessed.assumed
    note = predict.decode(guessed, h.geometry, h.weights).note()
    assert "assumed" in note and note.count("±") == 1 and "± 50 % or more, since" in note


@pytest.mark.parametrize(
    ("text", "mix"),
    [("qwen2 1.5B Q4_K - Medium", "q4_k_m"), ("llama 7B Q8_0", "q8_0"), ("gemma 2B Q2_K - Medium", "q2_k"),
     ("llama 1B all F32", "f32"), ("phi2 3B Q3_K - Large", "q3_k_l"), ("llama 8B IQ2_XS - 2.3125 bpw", None),
     ("", None)],
)  # fmt: skip
def test_the_names_of_llama_bench(text: str, mix: str | None) -> None:
    assert imported.mix_of(text) == mix


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"avg_ns": 0}, "row 3: avg_ns"),
        ({"avg_ns": "fast"}, "row 3: avg_ns"),
        ({"avg_ns": None}, "row 3: 'avg_ns' is missing"),
        ({"n_threads": -4}, "row 3: n_threads"),
        ({"model_size": 10**30}, "row 3: model_size"),
        ({"samples_ns": [5.0, -1.0]}, "row 3: samples_ns"),
        ({"model_filename": 7}, "row 3: model_filename"),
    ],
)
def test_a_broken_row_is_named_by_its_number(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = phone(tmp_path)
    rows = json.loads(path.read_text())
    rows[2].update(change)
    path.write_text(json.dumps(rows))
    with pytest.raises(HedgerowError, match=says):
        imported.import_bench(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "0 rows"), ("[]", "0 rows"), ("[1]", "row 1: expected a JSON object"), ("{}", "row 1: 'model_filename'"),
     ("| model | size |", "row 1: not JSON; run llama-bench with -o json"), ("[" * 100_000, "not JSON"),
     ('{"a": NaN}', "row 1")],
)  # fmt: skip
def test_a_file_that_is_none_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(HedgerowError, match=says):
        imported.import_bench(path)
    with pytest.raises(HedgerowError, match="missing"):
        imported.import_bench(tmp_path / "absent.json")


def test_a_file_of_mixed_tests_only_is_one_line(tmp_path: Path) -> None:
    path = phone(tmp_path)
    rows = [{**r, "n_prompt": 128, "n_gen": 32} for r in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    with pytest.raises(HedgerowError, match="plain prompt"):
        imported.import_bench(path)


@pytest.mark.parametrize("words", [("F16",), ("Q8_0",), ("Q4_K - Medium",), ("F16", "Q4_0")])
def test_rows_of_one_model_say_only_how_time_goes_with_bytes_and_operations(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    sizes, rows = catalogue.model("Qwen2-0.5B").geometry, []
    for word in words:
        held = formulas.weights(sizes, imported.mix_of(f"x {word}") or "")
        rows += bench(sizes, held, f"qwen2 0.5B {word}", f"{word}.gguf")
    path = tmp_path / "one.json"
    path.write_text(json.dumps(rows))
    (rates,) = imported.import_bench(path).rates
    constants = ("step_s", "layer_s", "attention_s", "prefill_s", "prefill_layer_s", "prefill_attention_s")
    assert all(getattr(rates, name) == 0 for name in constants)
    assert any("step" in a and "as 0" in a and "decode and prefill" in a for a in rates.assumed)
    held = formulas.weights(sizes, imported.mix_of(f"x {words[0]}") or "")
    here = predict.decode(rates, sizes, held, 16).ms, predict.prefill(rates, sizes, held, 128).ms
    assert here[0] == pytest.approx(1e3 * rows[1]["avg_ns"] / 32 / 1e9, rel=0.02)
    assert here[1] == pytest.approx(1e3 * rows[0]["samples_ns"][0] / 1e9, rel=0.02)
    large = catalogue.model("Qwen2.5-1.5B").geometry
    more = formulas.weights(large, imported.mix_of(f"x {words[0]}") or "")
    bytes_ratio = sum(formulas.step_bytes(more).values()) / sum(formulas.step_bytes(held).values())
    there = predict.decode(rates, large, more, 16), predict.prefill(rates, large, more, 128)
    assert there[0].ms / here[0] == pytest.approx(bytes_ratio, rel=0.15) and bytes_ratio > 2.5
    assert there[1].ms / here[1] == pytest.approx(large.body / sizes.body, rel=0.15)
    for p in there:
        assert p.high_ms >= 1.5 * p.ms and p.note().count("±") == 1 and "± 50 % or more" in p.note()
