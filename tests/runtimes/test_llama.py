"""llama.cpp through the installed binding, on files of a few hundred kilobytes with random weights."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hedgerow.cost import Geometry, formulas
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import gguf_header, llama, llama_log, random_gguf
from hedgerow.runtimes.llama import Llama, Options, open_gguf, quantise

SIZES = Geometry(
    layers=2, width=256, heads=4, kv_heads=2, head=64, ffn=512, gated=True, vocabulary=320, tied=True, positions=512
)
IDS = np.random.default_rng(3).integers(0, 320, 60).tolist()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", SIZES)


@pytest.fixture(scope="module")
def model(file: Path) -> Llama:
    return open_gguf(file, Options(context=128))


def test_a_prompt_in_one_piece_or_in_two_or_step_by_step_gives_the_same_logits(model: Llama) -> None:
    model.clear()
    whole = model.prefill(IDS)
    assert whole.shape == (320,) and np.isfinite(whole).all()
    model.clear()
    model.feed([IDS[:40]], 0, "none")
    pieces = model.prefill(IDS[40:], depth=40)
    model.rewind(58)
    for at in (58, 59):
        model.step([IDS[at]], at)
    assert np.abs(pieces - whole).max() < 2e-2 * np.abs(whole).max()
    assert np.abs(model.last() - whole).max() < 2e-2 * np.abs(whole).max()


def test_log_probabilities_are_those_of_each_row_asked_alone(model: Llama) -> None:
    logp, best = model.logprobs(IDS[:20], 5)
    for i in range(5):
        model.clear()
        row = model.prefill(IDS[: 15 + i]).astype(np.float64)
        alone = row[IDS[15 + i]] - row.max() - np.log(np.exp(row - row.max()).sum())
        assert logp[i] == pytest.approx(alone, abs=2e-3)
        assert best[i] == (row.argmax() == IDS[15 + i])
    with pytest.raises(HedgerowError, match="each needs one before it"):
        model.logprobs(IDS[:4], 4)


def test_many_rows_of_logits_are_taken_a_part_at_a_time(model: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = model.logprobs(IDS, 50)
    monkeypatch.setattr(llama, "ROWS", 7)
    parts, _ = model.logprobs(IDS, 50)
    assert np.abs(whole - parts).max() < 5e-3


def test_a_saved_cache_comes_back(model: Llama) -> None:
    model.clear()
    model.feed([IDS[:30]], 0, "none")
    kept = model.save()
    first = model.prefill(IDS[30:40], 30)
    model.clear()
    model.feed([IDS[20:50]], 0, "none")
    model.restore(kept)
    assert np.array_equal(model.prefill(IDS[30:40], 30), first)


def test_several_sequences_answer_as_each_alone(file: Path) -> None:
    model = open_gguf(file, Options(context=64, sequences=3))
    rows = [IDS[i : i + 12] for i in (0, 12, 24)]
    model.feed(rows)
    together = [model.last(s) for s in range(3)]
    model.step([row[0] for row in rows], 12)
    stepped = [model.last(s) for s in range(3)]
    model.adapt(sequences=1)
    for row, first, second in zip(rows, together, stepped, strict=True):
        model.clear()
        assert np.abs(model.prefill(row) - first).max() < 2e-2
        model.step([row[0]], 12)
        assert np.abs(model.last() - second).max() < 2e-2
    with pytest.raises(HedgerowError, match="do not fit 1 sequences"):
        model.feed(rows)
    with pytest.raises(HedgerowError, match="do not fit the context of 64"):
        model.feed([IDS + IDS])
    model.close()


def test_hidden_states_are_averaged_over_the_text(file: Path) -> None:
    model = open_gguf(file, Options(context=64, ubatch=64, hidden=True))
    whole = model.vectors([IDS[:20], IDS[20:25]])
    assert whole.shape == (2, 256)
    assert np.abs(whole[0] - whole[1]).max() > 0.1
    model.adapt(ubatch=8)  # in three pieces
    assert np.abs(model.vectors([IDS[:20]])[0] - whole[0]).max() < 2e-2
    model.close()


@pytest.mark.parametrize(("cache", "bytes_each"), [("f16", 2.0), ("q8_0", 34 / 32), ("q4_0", 18 / 32)])
def test_the_log_tells_the_buffers(file: Path, cache: str, bytes_each: float) -> None:
    model = open_gguf(file, Options(context=256, cache_k=cache, cache_v=cache))
    held = model.buffers
    assert held.kv == pytest.approx(2 * 2 * 2 * 64 * 256 * bytes_each, abs=0.006 * 2**20)  # printed to 0.01 MiB
    assert held.kv == pytest.approx(formulas.kv_bytes(SIZES, 256, cache, cache), abs=0.006 * 2**20)
    assert held.weights == pytest.approx(formulas.weight_bytes(model.contents.weights), abs=0.006 * 2**20)
    assert held.compute and held.output is not None
    model.close()


def test_the_repacked_formats_are_those_whose_bytes_add_up() -> None:
    held = formulas.weights(SIZES, "q4_k_m")
    contents = gguf_header.Contents({}, tuple(formulas.tensors(SIZES, "q4_k_m")), 0)
    assert len(held.mix) == 3  # q4_k, q6_k, f32
    size = formulas.repacked_bytes(held, ("q4_k",))
    assert llama._repacked(contents, size + 3000) == ("q4_k",)
    assert llama._repacked(contents, None) == ()


def test_a_repacked_format_is_held_twice_and_can_be_opened_without(file: Path, tmp_path: Path) -> None:
    small = tmp_path / "q4.gguf"
    quantise(file, small, "q4_0")
    twice, once = open_gguf(small), open_gguf(small, Options(repack=False))
    assert once.buffers.repacked is None and once.describe()["repacked"] == "off"
    if twice.buffers.repacked is None:
        assert twice.describe()["repacked"] == "nothing of this file"
    else:
        assert "q4_0" in twice.describe()["repacked"]
    for model in (twice, once):
        model.close()


def test_quantising_gives_the_mix_that_the_formats_say(file: Path, tmp_path: Path) -> None:
    for name in ("q8_0", "q4_0", "q4_k_m", "q6_k"):
        target = tmp_path / f"{name}.gguf"
        quantise(file, target, name)
        assert gguf_header.read(target).weights.mix == formulas.weights(SIZES, name).mix
    with pytest.raises(HedgerowError, match="did you mean 'q4_k_m'"):
        quantise(file, tmp_path / "x.gguf", "q4_k_n")
    assert not list(tmp_path.glob(".*"))


def test_it_says_which_build_it_is(model: Llama) -> None:
    told = model.describe()
    assert told["library"] == "llama.cpp" and told["version"] and told["binding"] and told["compiled_for"]
    assert told.keys() >= {"cpu_features", "repacked", "flash"}


def broken(file: Path, target: Path, change: str) -> Path:
    data = bytearray(file.read_bytes())
    at = data.index(b"output_norm.weight")
    if change == "no model":
        data[:4] = b"PK\x03\x04"
    elif change == "empty":
        data = bytearray()
    elif change == "cut off":
        data = data[: len(data) // 2]
    elif change == "cut in the header":
        data = data[:100]
    elif change == "version":
        data[4:8] = struct.pack("<I", 9)
    elif change == "promise":
        data[8:16] = struct.pack("<Q", 1 << 60)
    elif change == "elements":
        data[at + 18 + 4 : at + 18 + 12] = struct.pack("<Q", 10**15)
    elif change == "type":
        data[at + 18 + 12 : at + 18 + 16] = struct.pack("<I", 99)
    elif change == "architecture":
        data = data.replace(b"\x05\x00\x00\x00\x00\x00\x00\x00llama", b"\x05\x00\x00\x00\x00\x00\x00\x00xlama", 1)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no model", "is no GGUF file"),
        ("empty", "is no GGUF file"),
        ("cut off", "is cut off"),
        ("cut in the header", "is cut off"),
        ("version", "version 9"),
        ("promise", "promises 1,152,921,504,606,846,976 tensors"),
        ("elements", "promises 1,000,000,000,000,000 elements"),
        ("type", "element type 99"),
        ("architecture", "cannot be opened by llama.cpp"),
    ],
)
def test_a_bad_file_is_one_line(file: Path, tmp_path: Path, change: str, says: str) -> None:
    with pytest.raises(HedgerowError, match=re.escape(says)) as caught:
        open_gguf(broken(file, tmp_path / "bad.gguf", change))
    assert "\n" not in str(caught.value) and "bad.gguf" in str(caught.value)


def test_bad_options_are_one_line(file: Path) -> None:
    for options, says in ((Options(cache_k="q9"), "q9"), (Options(flash="maybe"), "maybe"), (Options(threads=0), "1")):
        with pytest.raises(HedgerowError, match=says):
            open_gguf(file, options)
    narrow = random_gguf.write(file.with_name("narrow.gguf"), SIZES.model_copy(update={"heads": 16, "head": 16}))
    with pytest.raises(HedgerowError, match=r"cannot be opened by llama\.cpp: .*16"):
        open_gguf(narrow, Options(cache_k="q8_0", cache_v="q8_0"))
    with pytest.raises(HedgerowError, match="there is no file"):
        open_gguf(file.with_name("absent.gguf"))


def test_a_process_that_leaves_a_model_open_ends_well(file: Path) -> None:
    code = f"from hedgerow.runtimes.llama import open_gguf; m = open_gguf({str(file)!r}); m.prefill([1, 2, 3])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_log_lines_are_added_up() -> None:
    lines = [
        "load_tensors:   CPU_Mapped model buffer size =    85.30 MiB",
        "load_tensors:   CPU_REPACK model buffer size =    57.00 MiB",
        "llama_kv_cache:        CPU KV buffer size =    22.50 MiB",
        "llama_kv_cache:        CPU KV buffer size =     1.50 MiB",
        "sched_reserve:        CPU compute buffer size =   102.51 MiB",
        "llama_context:        CPU  output buffer size =     0.19 MiB",
    ]
    held = llama_log.buffers(lines)
    assert (held.weights, held.repacked, held.kv) == (round(85.3 * 2**20), 57 * 2**20, 24 * 2**20)
    assert (held.compute, held.output) == (round(102.51 * 2**20), round(0.19 * 2**20))
    assert llama_log.buffers([]).kv is None


def test_sizes_that_no_plain_llama_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="plain Llama shapes"):
        random_gguf.write(tmp_path / "x.gguf", SIZES.model_copy(update={"gated": False}))
