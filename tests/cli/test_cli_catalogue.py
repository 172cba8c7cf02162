"""``catalogue``: rows for people and for programs, own files by their header, and what does not fit."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from cli_said import Run


def gguf(path: Path) -> Path:
    """A small whole model, written by the reference library."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    for add, value in ((writer.add_block_count, 1), (writer.add_embedding_length, 64), (writer.add_head_count, 4),
                       (writer.add_head_count_kv, 2), (writer.add_feed_forward_length, 96),
                       (writer.add_context_length, 4096)):  # fmt: skip
        add(value)
    writer.add_name("mine")
    shapes = {"token_embd": (96, 64), "blk.0.attn_q": (64, 64), "blk.0.attn_k": (32, 64), "blk.0.attn_v": (32, 64),
              "blk.0.attn_output": (64, 64), "blk.0.ffn_gate": (96, 64), "blk.0.ffn_up": (96, 64),
              "blk.0.ffn_down": (64, 96)}  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_question_of_the_survey_in_one_line(run: Run) -> None:
    asked = ("catalogue", "--max-params", "500M", "--attention", "gqa", "--fits", "4GiB@2048")
    said = run(*asked)
    assert said.code == 0 and said.err == ""
    for words in ("SmolLM-135M", "59 models in version 1", "70 in versions 2 and 3", "7 of the table's 68",
                  "No coding score", "2,048 tokens of context"):  # fmt: skip
        assert words in said.out, words
    assert "Qwen1.5-0.5B" not in said.out and "Left out" not in said.out
    longer = run(*asked[:-1], "4GiB@4096").out  # more than the positions that some of them were made for
    assert "Shown here: 2 of" in longer and "positions are fewer than 4,096: SmolLM-135M (2,048)" in longer
    what = run(*asked, "--json").json
    first = what["entries"][0]
    assert first["name"] == "SmolLM-135M" and first["parameters"] == 134_515_008
    assert first["memory"]["total"] == sum(first["memory"][k] for k in ("weights", "kv", "compute", "other"))
    assert first["scores"] == {"commonsense": 43.0, "problem_solving": 40.1, "mathematics": 2.3}
    assert "5-shot" in first["scores_source"] and what["query"]["context"] == 2048


def test_few_rows_are_explained_with_what_sources_do_not_agree_on(run: Run) -> None:
    out = run("catalogue", "--name", "phi-3-mini-4k-instruct").out
    assert "authors' table GQA; 32 (MHA) (published config)" in out and "3,300·10⁹ tokens; data: not open" in out


def test_an_own_file_that_fits_and_one_that_does_not(run: Run, tmp_path: Path) -> None:
    file = gguf(tmp_path / "mine.gguf")
    said = run("catalogue", file, "--fits", "64MiB@1000")
    assert said.code == 0 and "fits" in said.out and "mine" in said.out and "SmolLM" not in said.out.split("Counts")[0]
    beside = run("catalogue", file, "--survey", "--max-params", "200M")
    assert "mine" in beside.out and "SmolLM-135M" in beside.out
    long = run("catalogue", file, "--fits", "64MiB@5000")
    assert (
        long.code == 1 and "has 4,096 positions, fewer than the 5,000" in long.err and "too few positions" in long.out
    )
    assert run("weigh", file, "--fits", "64MiB@4096").code == 0 and run("weigh", file, "--fits", "64MiB@4097").code == 1
    assert "4,096 positions, fewer than the 8,192" in run("catalogue", file, "--context", "8192").out
    small = run("catalogue", file, "--fits", "100kB@1000")
    assert small.code == 1 and "does not fit" in small.out
    assert "needs" in small.err and "available" in small.err and "not loaded" in small.err
    assert "tok/s" not in small.out + small.err and "per second" not in small.out + small.err
    assert run("catalogue", file, "--fits", "100kB@1000", "--json").json["fits"][0]["fits"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--attention", "mqx"), ("attention",)),
        (("--format", "q4km"), ("did you mean 'q4_k_m'",)),
        (("--cache", "q8"), ("no type of the KV cache is called 'q8'", "q8_0, q4_0, q4_1")),
        (("--fits", "much"), ("no size of memory",)),
        (("--max-params", "big"), ("no number of parameters",)),
        (("--owner", "Gogle"), ("did you mean 'google'",)),
        (("nowhere.gguf",), ("no file or folder nowhere.gguf",)),
    ],
)
def test_bad_questions_are_one_line(run: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    run("catalogue", *arguments).failed(*words)


def test_a_header_that_promises_10_to_the_15_elements_is_one_line(run: Run, tmp_path: Path) -> None:
    name = struct.pack("<Q", 1) + b"t"
    tensor = name + struct.pack("<IQQIQ", 2, 10**8, 10**7, 1, 0)
    (tmp_path / "huge.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor)
    run("catalogue", tmp_path / "huge.gguf").failed("promises 1,000,000,000,000,000 elements", "refused")


def test_no_row_is_said_and_no_fault(run: Run) -> None:
    said = run("catalogue", "--max-params", "1M")
    assert said.code == 0 and "No model passes this query." in said.out


def test_times_on_a_probed_device_are_predicted_with_band_and_method_and_never_for_what_does_not_fit(
    run: Run, tmp_path: Path
) -> None:
    rates = {"threads": 1, "runtime": {"name": "llama.cpp"}, "decode": {"q8_0": 1e10}, "prefill": {"q8_0": 5e10},
             "bands": [{"phase": "decode", "median": 0.03, "p90": 0.1, "rows": 9, "how": "held out"}]}  # fmt: skip
    device = {"name": "phone", "machine": "aarch64", "cpu": "", "cores": 8, "memory_bytes": 1 << 30,
              "fingerprint": "c" * 12, "rates": [rates]}  # fmt: skip
    file = tmp_path / "device.json"
    file.write_text(json.dumps(device))
    asked = ("catalogue", "--name", "SmolLM-135M", "--name", "Llama-3.2-3B", "--format", "q8_0", "--on", file)
    what = {e["name"]: e for e in run(*asked, "--json").json["entries"]}
    found = what["SmolLM-135M"]["predicted"]["decode"]
    read = 134_479_872 * 34 / 32 + 35_136 * 4  # every matrix once, the tied head among them, and the vectors
    assert found["ms"] == pytest.approx(1e3 * read / 1e10) and found["high_ms"] == pytest.approx(1.1 * found["ms"])
    assert what["Llama-3.2-3B"]["predicted"] == {}
    said = run(*asked).out
    assert "nothing of this was measured" in said and "hedgerow weigh PACK --threads 1" in said
    assert "does not fit" in next(x for x in said.split("Predicted on")[1].splitlines() if "Llama-3.2-3B" in x)
    run(*asked, "--threads", "4").failed("no rates for 4 threads", "llama.cpp with 1")


def test_weigh_answers_whether_it_fits_before_anything_is_loaded(run: Run, tmp_path: Path) -> None:
    file = gguf(tmp_path / "mine.gguf")
    said = run("weigh", file, "--fits", "64MiB@1000")
    assert said.code == 0 and "Does it fit?" in said.out and "per second" not in said.out
    small = run("weigh", file, "--fits", "100kB@1000")
    assert small.code == 1 and "does not fit" in small.out and "not loaded" in small.err
    assert run("weigh", file, "--fits", "64MiB@1000", "--json").json["fits"] is True
    run("weigh", "--fits", "64MiB@1000").failed("--fits needs models", code=2)


def test_weigh_imports_a_device_that_cannot_install_hedgerow(run: Run, tmp_path: Path) -> None:
    fixed = {"model_filename": "SmolLM2-135M.Q8_0.gguf", "model_type": "llama 134.52M Q8_0", "n_threads": 4,
             "model_size": 142_944_768 + 80_640, "model_n_params": 134_515_008, "cpu_info": "Cortex-X3"}  # fmt: skip
    rows = [{**fixed, "n_prompt": 128, "n_gen": 0, "avg_ns": 2e9}, {**fixed, "n_prompt": 0, "n_gen": 32, "avg_ns": 1e9}]
    bench, device = tmp_path / "bench.json", tmp_path / "phone.json"
    bench.write_text(json.dumps(rows))
    said = run("weigh", "--import", bench, "--output", device)
    assert said.code == 0 and "Cortex-X3, 4 threads, q8_0; assumed: cost of a layer" in said.err
    run("catalogue", "--fits", f"{device}@4096").failed("states no memory: add memory_bytes", "--fits 8GiB@4096")
    run("weigh", "--import", bench, "--output", device, "--device-memory", "8GiB")
    assert run("catalogue", "--name", "SmolLM-135M", "--fits", f"{device}@2048").code == 0
    asked = run("catalogue", "--name", "SmolLM-135M", "--format", "q8_0", "--on", device, "--threads", "4", "--json")
    step = asked.json["entries"][0]["predicted"]["decode"]
    assert step["ms"] == pytest.approx(1e3 / 32, rel=0.05)  # the same network as the one that ran
    bench.write_text(json.dumps([rows[0], {**rows[1], "avg_ns": -1}]))
    run("weigh", "--import", bench, "--output", tmp_path / "never.json").failed("row 2: avg_ns")
    assert not (tmp_path / "never.json").exists()


def test_slips_of_weigh_are_one_line_each(run: Run, tmp_path: Path) -> None:
    run("weigh", "nofile.gguf").failed("there is no file nofile.gguf")
    run("weigh", "nofile.gguf", "--limit", "3").failed("--limit is of --suite", code=2)
    file = gguf(tmp_path / "mine.gguf")
    said = run("weigh", file, "--energy", "nofile.csv")
    said.failed("nofile.csv cannot be read as a plug's log: No such file")
    assert said.err.count("nofile.csv") == 1
