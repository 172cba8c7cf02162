"""Forms for llama.cpp: the same answers as torch within each format's tolerance, whatever the architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import hedgerow as hr
from hedgerow.cost import formats, formulas
from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_export, decoder_gguf, decoder_lm, gguf_write, transformer
from hedgerow.kinds.text_continuations import PAIRS
from hedgerow.pack import Pack, open_pack

TOLERANCE = {"f16": 0.005, "f32": 0.005, "q8_0": 0.05, "q4_0": 0.05}  # of |difference in log p| a token, median
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
ROOM = {"vocab_size": tiny.VOCABULARY, "intermediate_size": 128, "max_position_embeddings": 512}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.1}
LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    **{"original_max_position_embeddings": 32, "rope_theta": 10000.0},
}


def make(name: str) -> Any:
    """A random net whose weights are float16 numbers already, so that the file holds them exactly."""
    import transformers as tf

    torch.manual_seed(0)
    every = {**SIZES, **ROOM, **SPECIAL}
    nets = {
        "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**every, attention_bias=True, tie_word_embeddings=False)),
        "llama3": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**every, rope_parameters=LLAMA3)),
        "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**every, head_dim=32, sliding_window=400)),
        "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**every)),
        "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**every, head_dim=32)),
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(vocab_size=tiny.VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=512, **SPECIAL)
        ),
    }
    net = nets[name]().eval()
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 1:  # biases and norms begin as 0 and 1, which would hide that one was forgotten
                p.add_(torch.randn_like(p) * 0.1)
            p.copy_(p.half().float())
    return net


def packed(name: str, path: Path) -> Pack:
    return decoder_lm.save_decoder(path, tiny.info(name, "decoder-lm"), make(name), tiny.tokenizer(encoder=False))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A Llama with each form."""
    made = packed("llama", tmp_path_factory.mktemp("packs") / "llama")
    for form in ("gguf-f16", "gguf-q8_0", "gguf-q4_0"):
        made = decoder_lm.KIND.export(made, form)
    return made


@pytest.mark.parametrize("name", ["llama", "llama3", "mistral", "qwen2", "qwen3", "gpt2"])
def test_each_architecture_answers_like_torch(name: str, tmp_path: Path) -> None:
    made = decoder_lm.KIND.export(packed(name, tmp_path / name), "gguf-f16")
    details = made.variant("gguf-f16").details
    assert details["logp_difference_median"] <= TOLERANCE["f16"], details
    assert details["logp_difference_largest"] <= 10 * TOLERANCE["f16"] and details["continuations"] == len(PAIRS)


def test_forgetting_the_order_of_rows_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_write, "paired", lambda array, heads: array)
    made = decoder_lm.KIND.export(packed("llama", tmp_path / "pack"), "gguf-f16")
    assert made.variant("gguf-f16").details["logp_difference_median"] > 3 * TOLERANCE["f16"]


def test_pairs_of_rows_are_those_that_llama_cpp_rotates_together() -> None:
    """Row i of a head is rotated with row i + h/2 in transformers, with its neighbour in llama.cpp."""
    rows = np.arange(2 * 8)[:, None]  # two heads of eight
    assert gguf_write.paired(rows, 2)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


@pytest.mark.parametrize("name", ["q8_0", "q4_0"])
def test_a_quantised_file_answers_like_its_own_numbers_in_torch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left when the loss of quantising is taken out: the kernels, which round activations too."""
    words = tiny.tokenizer(encoder=False)  # a vocabulary without merges is none that transformers can convert back
    monkeypatch.setattr(transformer, "_converted_tokenizer", lambda folder, **more: words)
    form = f"gguf-{name}"
    first = decoder_lm.KIND.export(packed("qwen2", tmp_path / "first"), form)
    file = first.variant_folder(form) / "model.gguf"
    again = decoder_lm.from_gguf(file, tmp_path / "again", tiny.info("again", "decoder-lm"), "float32", keep=True)
    assert list(again.variants) == [form]
    base, found = (hr.open(again, f).engine.loglikelihood(PAIRS) for f in ("torch", form))  # type: ignore[attr-defined]
    assert decoder_export.distance(base, found)["logp_difference_median"] <= TOLERANCE[name]


def test_the_mix_is_told_by_element(pack: Pack) -> None:
    details = pack.variant("gguf-q4_0").details
    sizes = hr.open(pack, "gguf-q4_0").engine.geometry  # type: ignore[attr-defined]
    expected = formulas.weights(sizes, "q4_0").mix
    assert {k: v for k, v in details["elements"].items() if k != "f32"} == {
        k: v for k, v in expected.items() if k != "f32"
    }
    assert f"{details['bits_per_weight']:.2f} bits a weight" in details["mix"]
    assert 4.5 < details["bits_per_weight"] < 6.5  # not the 4 of its name
    assert formats.bytes_of(32, "q4_0") == 18


def test_generation_is_that_of_torch(pack: Pack) -> None:
    prompts = ["Rice is grown", "a", "In 2024 there were 12 of them"]
    ours, theirs = (hr.open(pack, form).predict(prompts, new=10) for form in ("gguf-f16", "torch"))
    assert [a["text"] for a in ours] == [a["text"] for a in theirs]
    assert [(a["prompt_tokens"], a["new_tokens"], a["stop"]) for a in ours] == [
        (a["prompt_tokens"], a["new_tokens"], a["stop"]) for a in theirs
    ]
    engine = hr.open(pack, "gguf-f16")
    drawn = engine.predict(prompts, new=10, temperature=1.0, seed=3)
    assert drawn == engine.predict(prompts, new=10, temperature=1.0, seed=3) != ours


@pytest.mark.parametrize("text", ["\n    return x", "  a  b", "\n\n", "x \n", "é漢"])
def test_a_files_own_tokenizer_keeps_what_a_text_begins_with(pack: Pack, text: str) -> None:
    """The binding strips it: then an answer's first line lost its indent, and a continuation's border moved."""
    words = decoder_gguf.open_file(pack.variant_folder("gguf-f16") / "model.gguf", 1)._body.tokens
    ids = words([text], special=False)[0]
    assert words.decode(ids) == text
    held, ends = words.spans(text)
    assert ends[-1] == len(text) and ends == sorted(ends) and len(held) == len(ends)


def test_special_tokens_that_do_not_exist_are_none() -> None:
    key = "tokenizer.ggml.eos_token_id"
    found = [decoder_gguf._token({key: v}, "eos", 10) for v in (0, 9, 10, -1, "2", [3], True, 2.0)]
    assert found == [0, 9, *[None] * 6] and decoder_gguf._token({}, "eos", 10) is None


def test_a_longer_text_gets_a_larger_context(pack: Pack) -> None:
    engine: Any = hr.open(pack, "gguf-f16").engine
    long = "growing of rice and barley on rented land " * 8
    assert len(engine.predict([long], {"new": 4, "temperature": 0.0, "seed": 0})[0]["text"]) >= 1
    assert engine._llama.options.context == 512
    vectors = engine.encode(["rice", long])
    base: Any = hr.open(pack, "torch").engine
    assert np.abs(vectors - base.encode(["rice", long])).max() < 0.02


def test_phases_have_the_depth_that_they_say(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = hr.open(pack, "gguf-q8_0").engine
    fed: list[tuple[str, int, int]] = []
    feed, step = engine._llama.feed, engine._llama.step
    monkeypatch.setattr(
        engine._llama,
        "feed",
        lambda rows, at=0, logits="last": (fed.append((logits, at, len(rows[0]))), feed(rows, at, logits)),
    )
    monkeypatch.setattr(engine._llama, "step", lambda t, at: (fed.append(("step", at, len(t))), step(t, at)))
    phases = {p.name: p for p in engine.phases(["rice", "barley"], {"prompt": 10, "new": 2, "depth": 20})}
    assert list(phases) == ["prefill", "decode"] and (phases["prefill"].units, phases["decode"].units) == (20, 2)
    for _ in range(2):
        phases["prefill"].prepare()
        phases["prefill"].run()
    assert fed == [("none", 0, 20), ("last", 20, 10), ("last", 20, 10)]
    fed.clear()
    for _ in range(3):
        phases["decode"].prepare()
        phases["decode"].run()
    assert fed == [("last", 20, 10), ("step", 30, 2), ("step", 31, 2), ("last", 20, 10), ("step", 30, 2)]
    assert [p.name for p in engine.phases(["rice"], {"prompt": 4, "new": 2})] == ["ttft", "prefill", "decode"]


def test_rows_say_what_was_set_and_what_is_held(pack: Pack) -> None:
    settings = {"cache_k": "q8_0", "cache_v": "q8_0", "ubatch": 64, "context": 512}
    engine: Any = decoder_lm.KIND.load(pack, "gguf-q8_0", 1, **settings)
    held = engine.phases(["rice"], {"prompt": 4, "new": 2})[0].held
    assert held.options == {"context": 512, "ubatch": 64, "cache_k": "q8_0", "cache_v": "q8_0"}
    memory = held.memory()
    assert memory["formula"].kv == formulas.kv_bytes(engine.geometry, 512, "q8_0", "q8_0")
    assert memory["printed"].kv > 0 and memory["printed"].weights > 0
    assert held.file_sha256 == pack.variant("gguf-q8_0").files["model.gguf"].sha256
    with pytest.raises(HedgerowError, match="q9"):
        decoder_lm.KIND.load(pack, "gguf-q8_0", 1, cache_k="q9")
    with pytest.raises(HedgerowError, match="'torch' has no setting 'ubatch'"):
        decoder_lm.KIND.load(pack, "torch", 1, ubatch=64)


def test_what_cannot_be_written_is_one_line(pack: Pack) -> None:
    with pytest.raises(HedgerowError, match="cannot be exported to 'gguf-q4_9'"):
        decoder_lm.KIND.export(pack, "gguf-q4_9")
    config = {**pack.json("model.json")["config"]}
    sizes = hr.open(pack, "torch").engine._body.sizes  # type: ignore[attr-defined]
    words = pack.file("tokenizer.json").read_text()
    for changed, says in (
        ({"model_type": "mamba"}, "'mamba' is not written as GGUF"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "'yarn'"),
        ({"use_sliding_window": True}, "sliding window"),
    ):
        with pytest.raises(HedgerowError, match=says):
            gguf_write.write(pack.path.parent / "x.gguf", "x", {**config, **changed}, sizes, {}, words, {})
    other = json.loads(words)
    other["model"]["type"] = "Unigram"
    with pytest.raises(HedgerowError, match="'Unigram' without byte-level BPE"):
        gguf_write.vocabulary(json.dumps(other), 260)


def test_a_damaged_form_is_refused(pack: Pack, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(pack.path, tmp_path / "pack")
    file = tmp_path / "pack" / "variants" / "gguf-f16" / "model.gguf"
    data = file.read_bytes()
    file.unlink()  # it may be hard-linked
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(HedgerowError, match=r"has .* bytes instead of"):
        open_pack(tmp_path / "pack")
