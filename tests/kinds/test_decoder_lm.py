"""Decoder language models: cache, generation and likelihood against plain transformers; GGUF there and back."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants

from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_engine, decoder_lm
from hedgerow.kinds.decoder_engine import OnnxDecoder, TorchDecoder
from hedgerow.pack import Pack

PROMPTS = ["Rice", "growing of rice in fields", "a", "wholesale trade of barley, and so on"]
CODE = tiny.tokenizer(encoder=False)


@pytest.fixture(scope="module")
def net() -> Any:
    return tiny.llama()


@pytest.fixture(scope="module")
def pack(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    path = tmp_path_factory.mktemp("decoder") / "p"
    return decoder_lm.save_decoder(path, tiny.info("x", "decoder-lm"), net, CODE, dtype="float32")


@pytest.fixture(scope="module")
def engine(pack: Pack) -> TorchDecoder:
    found = decoder_lm.KIND.load(pack, "torch", 1)
    assert isinstance(found, TorchDecoder)
    return found


def all_logits(net: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = net(input_ids=torch.tensor([ids])).logits[0].numpy()
    return logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


# --- cache ------------------------------------------------------------------------------------------------------------
def test_steps_with_a_cache_equal_one_pass(net: Any, engine: TorchDecoder) -> None:
    ids = np.array([[30, 41, 52, 63, 74, 85, 96]])
    whole = all_logits(net, ids[0].tolist())
    cache, logits = engine.prefill(ids[:, :3])
    assert logits.shape == (1, tiny.VOCABULARY)  # the last row only, however long the prompt is
    for at in range(3, 7):
        assert np.allclose(logits[0].numpy(), whole[at - 1], atol=1e-4)
        cache, logits = engine.decode(cache, ids[:, at], np.ones((1, at + 1), dtype=np.int64))
    assert np.allclose(logits[0].numpy(), whole[6], atol=1e-4)


def test_prefill_makes_logits_for_one_row_only(engine: TorchDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a prompt of 512 tokens would be charged for 512 rows of the vocabulary."""
    seen = []
    head = engine.net.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    engine.prefill(np.full((2, 50), 40))
    handle.remove()
    assert seen == [(2, 1, tiny.VOCABULARY)]


def test_each_timed_step_is_one_token_at_the_right_depth(engine: TorchDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    depths, prompts = [], []
    decode, prefill = engine.decode, engine.prefill

    def spy(cache: Any, last: np.ndarray, mask: np.ndarray) -> Any:
        depths.append((cache.get_seq_length(), mask.shape[1], len(last)))
        return decode(cache, last, mask)

    monkeypatch.setattr(engine, "decode", spy)
    monkeypatch.setattr(engine, "prefill", lambda ids, *more: prompts.append(ids.shape) or prefill(ids, *more))
    phases = {p.name: p for p in engine.phases(["rice", "a longer prompt than that"], {"prompt": 10, "new": 3})}
    assert (phases["prefill"].units, phases["decode"].units) == (20, 2)
    for _ in range(7):
        phases["decode"].prepare()
        phases["decode"].run()
    assert depths == [(d, d + 1, 2) for d in (10, 11, 12, 10, 11, 12, 10)] and prompts == [(2, 10)] * 3


def test_operations_of_a_step_are_those_at_the_mean_depth(engine: TorchDecoder) -> None:
    size = {"prompt": 10, "new": 3}
    from hedgerow.kinds.transformer_flops import forward

    sizes = engine._body.sizes
    step = engine.flops("decode", size, 2)
    assert step is not None
    assert step.count == np.mean([forward(sizes, 2, 1, past=p, logits=1) for p in (10, 11, 12)])
    assert engine.flops("nothing", size, 1) is None


# --- generation -------------------------------------------------------------------------------------------------------
def test_greedy_generation_equals_that_of_transformers(net: Any, engine: TorchDecoder) -> None:
    """Prompts of different lengths in one padded batch against one prompt at a time in transformers."""
    for prompt, (text, read, new, stop) in zip(PROMPTS, engine.generate(PROMPTS, 12), strict=True):
        ids = engine._body.tokens([prompt])[0]
        out = net.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0,
        )[0, len(ids) :].tolist()  # fmt: skip
        wanted = out[: out.index(2)] if 2 in out else out
        assert (text, read, new) == (engine._body.tokens.decode(wanted), len(ids), len(wanted))
        assert stop == ("end" if 2 in out else "length")
    assert engine.generate(PROMPTS, 12) == [engine.generate([p], 12)[0] for p in PROMPTS]


def test_an_end_token_ends(net: Any, pack: Pack) -> None:
    engine = decoder_lm.KIND.load(pack, "torch", 1)
    assert isinstance(engine, TorchDecoder)
    first = int(all_logits(net, engine._body.tokens(["Rice"])[0])[-1].argmax())
    ended = TorchDecoder(dataclasses.replace(engine._body, ends=frozenset({first})), engine.net, 1)
    assert ended.generate(["Rice"], 5) == [("", 4, 0, "end")]


def test_drawing_follows_the_temperature() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1]]))
    for temperature in (1.0, 2.0):
        rng = np.random.default_rng(0)
        drawn = Counter(int(decoder_engine.choose(logits, temperature, rng)[0]) for _ in range(8000))
        wanted = np.exp(logits[0] / temperature) / np.exp(logits[0] / temperature).sum()
        assert np.allclose([drawn[i] / 8000 for i in range(3)], wanted, atol=0.02)
    assert decoder_engine.choose(logits, 0, np.random.default_rng(0)).tolist() == [0]


def test_a_seed_gives_the_same_text(engine: TorchDecoder) -> None:
    one, again, other = (engine.generate(["Rice"], 20, 1.0, seed) for seed in (1, 1, 2))
    assert one == again != other


def test_lengths_that_do_not_fit(engine: TorchDecoder) -> None:
    assert engine.generate(["x" * 700], 12)[0][1] == 500  # the end of the prompt stays, and 12 new tokens have room
    assert engine.generate(["x" * 700], 12) == engine.generate(["y" * 200 + "x" * 500], 12)
    for bad in (0, -1, 512, 10**9):
        with pytest.raises(HedgerowError, match="'new' must lie between 1 and 511"):
            engine.generate(["a"], bad)
    for bad in (-0.1, float("nan")):
        with pytest.raises(HedgerowError, match="'temperature'"):
            engine.generate(["a"], 3, bad)


# --- likelihood -------------------------------------------------------------------------------------------------------
def test_likelihood_by_brute_force(net: Any, engine: TorchDecoder) -> None:
    pairs = [
        ("Rice", " is"),
        ("growing of", " rice"),
        ("a", "b"),
        ("", "rice"),
        ("long prompt " * 10, " and more of it"),
    ]
    for (prompt, continuation), found in zip(pairs, engine.loglikelihood(pairs), strict=True):
        ids = engine._body.tokens([prompt + continuation])[0]
        ids = ids if prompt else [1, *ids]  # the start token stands before a text that has no prompt
        count = len(engine._body.tokens([continuation])[0])
        logp = log_softmax(all_logits(net, ids))
        chosen = [logp[len(ids) - count - 1 + i, ids[len(ids) - count + i]] for i in range(count)]
        best = [int(logp[len(ids) - count - 1 + i].argmax()) for i in range(count)]
        assert found.tokens == count and found.logprob == pytest.approx(sum(chosen), abs=1e-3)
        assert found.greedy == (best == ids[-count:])


def test_likelihoods_of_parts_add_up(engine: TorchDecoder) -> None:
    whole, first, second = engine.loglikelihood([("Rice", " is grown"), ("Rice", " is"), ("Rice is", " grown")])
    assert whole.logprob == pytest.approx(first.logprob + second.logprob, abs=1e-3)
    assert whole.tokens == first.tokens + second.tokens


def test_what_is_generated_is_the_likeliest(engine: TorchDecoder) -> None:
    prompts = [chr(c) for c in range(33, 127)]
    made = [
        (p, text)
        for p, (text, _, _, _) in zip(prompts, engine.generate(prompts, 1), strict=True)
        if text.isascii() and text
    ]
    assert len(made) > 5  # the others made a byte that is no character on its own
    assert all(found.greedy for found in engine.loglikelihood(made))
    others = [(p, "z" if text != "z" else "y") for p, text in made]
    assert not any(found.greedy for found in engine.loglikelihood(others))


def test_prompt_and_continuation_are_cut_into_tokens_together(net: Any, tmp_path: Path) -> None:
    """A token over the border belongs to the continuation: 'xa' + 'b' is x, ab and not x, a, b."""
    code = json.loads(CODE)
    vocabulary = code["model"]["vocab"]
    vocabulary["ab"] = vocabulary.pop("ÿ")  # its number is free for the new one
    code["model"]["merges"] = [["a", "b"]]
    made = decoder_lm.save_decoder(tmp_path / "p", tiny.info("x", "decoder-lm"), net, json.dumps(code), dtype="float32")
    engine = decoder_lm.KIND.load(made, "torch", 1)
    assert isinstance(engine, TorchDecoder)
    found = engine.loglikelihood([("xa", "b")])[0]
    x, ab = vocabulary["x"], vocabulary["ab"]
    assert found.tokens == 1 and found.logprob == pytest.approx(log_softmax(all_logits(net, [x]))[0, ab], abs=1e-3)


def test_continuations_that_cannot_be_scored(engine: TorchDecoder) -> None:
    with pytest.raises(HedgerowError, match="empty"):
        engine.loglikelihood([("a", "")])
    with pytest.raises(HedgerowError, match="has 600 tokens; this model reads 512"):
        engine.loglikelihood([("a", "x" * 600)])
    long = engine.loglikelihood([("y" * 900, "xyz")])[0]
    assert long.tokens == 3
    assert long.logprob == pytest.approx(engine.loglikelihood([("y" * 509, "xyz")])[0].logprob, abs=1e-4)


# --- vectors ----------------------------------------------------------------------------------------------------------
def test_vectors_are_the_mean_of_the_last_hidden_states(net: Any, engine: TorchDecoder) -> None:
    for prompt, vector in zip(PROMPTS, engine.encode(PROMPTS), strict=True):
        with torch.no_grad():
            hidden = net.model(input_ids=torch.tensor(engine._body.tokens([prompt]))).last_hidden_state[0].numpy()
        assert np.allclose(vector, hidden.mean(axis=0), atol=1e-4)


def test_half_the_bits(pack: Pack, engine: TorchDecoder) -> None:
    half = decoder_lm.KIND.load(pack, "torch", 1, precision="bfloat16")
    a, b = engine.encode(PROMPTS), half.encode(PROMPTS)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert 0.99 < cosine.min() < 1 and half.weights_bytes < 0.6 * engine.weights_bytes


def test_the_form_without_a_cache_says_so(pack: Pack) -> None:
    body = decoder_lm._body(pack, 1)
    form = OnnxDecoder(body, lambda ids, mask: np.ones((len(ids), 32), np.float32), {}, 0)
    assert form.encode(["a", "b"]).shape == (2, 32)
    with pytest.raises(HedgerowError, match=r"key-value cache.*torch form") as caught:
        form.predict(["a"], {})
    assert "\n" not in str(caught.value)
    assert [p.name for p in form.phases(["a"], {"prompt": 7, "new": 3})] == ["encode"]
    assert form.flops("decode", {"prompt": 7, "new": 3}, 1) is None
    wrong = OnnxDecoder(body, lambda ids, mask: np.ones((len(ids), 31), np.float32), {}, 0)
    with pytest.raises(HedgerowError, match="wrong length"):
        wrong.encode(["a"])


def test_special_tokens_outside_the_vocabulary_leave_no_pack(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match=f"{tmp_path}/p: model.json names token 400 of 260"):
        decoder_lm.save_decoder(tmp_path / "p", tiny.info("x", "decoder-lm"), tiny.llama(eos_token_id=400), CODE)
    assert list(tmp_path.glob("*p*")) == []


# --- GGUF -------------------------------------------------------------------------------------------------------------
LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def rotated(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of Q and K as llama.cpp keeps them: the two halves of each head interleaved."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, net: Any, kind: GGMLQuantizationType, architecture: str = "llama") -> Path:
    config, state = net.config, {k: v.numpy() for k, v in net.state_dict().items()}
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = json.loads(CODE)["model"]["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*list(vocabulary)[:-1], "ab"])  # the last byte gives its number to the one merge
    writer.add_token_types([3] * 4 + [1] * (len(vocabulary) - 4))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)

    def add(name: str, array: np.ndarray) -> None:
        if array.ndim == 2 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(f"{name}.weight", quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", array)

    add("token_embd", state["model.embed_tokens.weight"])
    add("output_norm", state["model.norm.weight"])
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for short, long in LAYER.items():
            array = state[f"model.layers.{layer}.{long}.weight"]
            add(f"blk.{layer}.{short}", rotated(array, heads[short]) if short in heads else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_becomes_the_same_model(net: Any, engine: TorchDecoder, tmp_path: Path) -> None:
    """Also its rotary layout: a reader that forgets to undo it would speak fluent nonsense."""
    file = write_gguf(tmp_path / "m.gguf", net, GGMLQuantizationType.F32)
    made = decoder_lm.from_gguf(file, tmp_path / "p", tiny.info("x", "decoder-lm"), dtype="float32")
    arrays = made.arrays()
    for name, value in net.state_dict().items():
        assert name == "lm_head.weight" or np.array_equal(arrays[name], value.numpy()), name
    loaded = decoder_lm.KIND.load(made, "torch", 1)
    assert isinstance(loaded, TorchDecoder)
    assert loaded._body.tokens(PROMPTS) == engine._body.tokens(PROMPTS)
    assert loaded._body.tokens(["ab", "ba"]) == [[tiny.VOCABULARY - 1], engine._body.tokens(["ba"])[0]]
    assert np.array_equal(loaded.encode(PROMPTS), engine.encode(PROMPTS))
    assert loaded._body.ends == {2} and loaded._body.start == 1


@pytest.mark.parametrize(("kind", "nats"), [
    (GGMLQuantizationType.F16, 0.005), (GGMLQuantizationType.Q8_0, 0.05), (GGMLQuantizationType.Q4_1, 1.0),
])  # fmt: skip
def test_quantised_blocks_are_expanded(kind: GGMLQuantizationType, nats: float, tmp_path: Path) -> None:
    """|Δ log p| a token against float32; the random net is far more sensitive to 4 bits than a trained one."""
    net = tiny.llama(initializer_range=0.1)
    file = write_gguf(tmp_path / "m.gguf", net, kind)
    made = decoder_lm.from_gguf(file, tmp_path / "p", tiny.info("x", "decoder-lm"))
    loaded = decoder_lm.KIND.load(made, "torch", 1)
    assert isinstance(loaded, TorchDecoder)
    pairs = [(p, " and rice") for p in PROMPTS]
    plain = TorchDecoder(loaded._body, net, 1).loglikelihood(pairs)
    for one, two in zip(plain, loaded.loglikelihood(pairs), strict=True):
        assert 0 < abs(one.logprob - two.logprob) / one.tokens < nats
    assert made.json("model.json")["config"].get("quantization_config") is None


def test_files_that_are_no_gguf(net: Any, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", net, GGMLQuantizationType.F32).read_bytes()
    for number, data in enumerate((b"", b"GGUF", b"not it" * 50, whole[:2000])):
        (tmp_path / f"{number}.gguf").write_bytes(data)
        with pytest.raises(HedgerowError) as caught:
            decoder_lm.from_gguf(tmp_path / f"{number}.gguf", tmp_path / "p", tiny.info("x", "decoder-lm"))
        assert "\n" not in str(caught.value)
    write_gguf(tmp_path / "other.gguf", net, GGMLQuantizationType.F32, architecture="mamba")
    with pytest.raises(HedgerowError, match="'mamba' is not one that this kind builds"):
        decoder_lm.from_gguf(tmp_path / "other.gguf", tmp_path / "p", tiny.info("x", "decoder-lm"))
    with pytest.raises(HedgerowError, match="nowhere"):
        decoder_lm.from_gguf(tmp_path / "nowhere.gguf", tmp_path / "p", tiny.info("x", "decoder-lm"))
    assert not (tmp_path / "p").exists()
