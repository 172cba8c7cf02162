"""Transformers of a Pack: operations against torch's counter, every architecture there and back, strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_lm, encoder, transformer
from hedgerow.kinds.transformer import DECODERS, ENCODERS, geometry
from hedgerow.kinds.transformer_flops import forward

BASE = {"vocab_size": tiny.VOCABULARY, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES: dict[str, dict[str, Any]] = {
    **{name: {**BASE, "intermediate_size": 40, "max_position_embeddings": 70} for name in (*ENCODERS, *DECODERS)},
    "distilbert": {"vocab_size": tiny.VOCABULARY, "dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40,
                   "max_position_embeddings": 70},
    "gpt2": {"vocab_size": tiny.VOCABULARY, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 70,
             "bos_token_id": 1, "eos_token_id": 2},
}  # fmt: skip
for grouped in ("llama", "mistral", "qwen2", "qwen3"):
    SIZES[grouped] |= {"num_key_value_heads": 2}
SIZES["qwen3"] |= {"head_dim": 10}  # not width / heads
SIZES["mistral"] |= {"tie_word_embeddings": False}


def made(name: str, attention: str = "eager") -> Any:
    """A random net of that architecture, as transformers builds it."""
    kin = {**ENCODERS, **DECODERS}[name]
    config = getattr(transformers, kin.config)(**SIZES[name], attn_implementation=attention)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    if name in ENCODERS:
        extra = {"add_pooling_layer": False} if kin.pooler else {}
        return getattr(transformers, kin.body)(config, **extra).eval()
    return getattr(transformers, kin.head)(config).eval()


def counted(net: Any, **inputs: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(**inputs)
    return int(counter.get_total_flops())


# --- operations -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize(("rows", "tokens"), [(1, 7), (3, 33)])
def test_operations_of_an_encoder(name: str, rows: int, tokens: int) -> None:
    net = made(name)
    sizes = geometry(transformer.saved_config(net.config), ENCODERS, "")
    ids = torch.randint(4, 200, (rows, tokens))
    assert counted(net, input_ids=ids, attention_mask=torch.ones_like(ids)) == forward(sizes, rows, tokens)


@pytest.mark.parametrize("name", sorted(DECODERS))
@pytest.mark.parametrize(
    ("rows", "new", "past", "logits"), [(1, 9, 0, 1), (2, 20, 0, 1), (2, 20, 0, 20), (1, 1, 20, 1), (3, 1, 5, 1)]
)
def test_operations_of_a_decoder(name: str, rows: int, new: int, past: int, logits: int) -> None:
    """Prefill, all logits, and decode steps after a cache."""
    net = made(name)
    sizes = geometry(transformer.saved_config(net.config), DECODERS, "")
    ids = torch.randint(4, 200, (rows, past + new))
    inputs: dict[str, Any] = {"input_ids": ids[:, past:], "logits_to_keep": logits}
    if past:
        cache = transformers.DynamicCache(config=net.config)
        with torch.no_grad():
            net(input_ids=ids[:, :past], cache=cache, use_cache=True)
        inputs |= {"cache": cache, "use_cache": True}
    assert counted(net, **inputs) == forward(sizes, rows, new, past, logits)


def test_fused_attention_hides_its_operations_from_the_counter() -> None:
    """Why operations are counted with eager attention: exactly the attention's share is missing otherwise."""
    ids = torch.randint(4, 200, (2, 50))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    sizes = geometry(transformer.saved_config(made("bert").config), ENCODERS, "")
    missing = counted(made("bert"), **inputs) - counted(made("bert", "sdpa"), **inputs)
    assert missing in (0, 2 * 4 * sizes.layers * sizes.heads * sizes.head * 50 * 50)


def test_parameters_of_the_body() -> None:
    """L (2dHh + 2dKh) + L g d f, counted a second way: from the arrays themselves."""
    for name in sorted({**ENCODERS, **DECODERS}):
        net = made(name)
        sizes = geometry(transformer.saved_config(net.config), {**ENCODERS, **DECODERS}, "")
        inside = [v for k, v in net.state_dict().items() if transformer._LAYER.search(k) and v.ndim == 2]
        assert sum(v.numel() for v in inside) == sizes.body, name


# --- there and back ---------------------------------------------------------------------------------------------------
def folder_of(name: str, path: Path) -> Any:
    net = made(name, "eager")
    net.save_pretrained(path)
    (path / "tokenizer.json").write_text(tiny.tokenizer(encoder=name in ENCODERS), encoding="utf-8")
    return net


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_encoder_folder_becomes_a_pack(name: str, tmp_path: Path) -> None:
    """Vectors are the mask-weighted mean of what transformers gives for each text alone."""
    net = folder_of(name, tmp_path / "hf")
    pack = encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info(name, "encoder"))
    engine = encoder.KIND.load(pack, "torch", 1)
    asked = ["rice", "growing of rice in fields", "a"]
    for text, vector in zip(asked, engine.encode(asked), strict=True):
        with torch.no_grad():
            hidden = net(input_ids=torch.tensor(engine.tokens([text]))).last_hidden_state[0].numpy()
        mean = hidden.mean(axis=0)
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert engine.model.max_tokens == 70 - ENCODERS[name].spare


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_decoder_folder_becomes_a_pack(name: str, tmp_path: Path) -> None:
    net = folder_of(name, tmp_path / "hf")
    pack = decoder_lm.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info(name, "decoder-lm"), dtype="float32")
    engine = decoder_lm.KIND.load(pack, "torch", 1)
    ids = np.array([[30, 40, 50, 60]])
    with torch.no_grad():
        logits = net(input_ids=torch.from_numpy(ids)).logits[:, -1].numpy()
    assert np.allclose(engine.prefill(ids)[1].numpy(), logits, atol=1e-5)


def test_published_settings_of_older_files_are_kept(tmp_path: Path) -> None:
    """A config.json that names rope_theta at the top, as Llama's did for years, gives that theta, not the default."""
    folder_of("llama", tmp_path / "hf")
    file = tmp_path / "hf" / "config.json"
    config = json.loads(file.read_text())
    config.pop("rope_parameters")
    file.write_text(json.dumps({**config, "rope_theta": 77.0}))
    pack = decoder_lm.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "decoder-lm"))
    assert pack.json("model.json")["config"]["rope_parameters"]["rope_theta"] == 77.0
    assert decoder_lm.KIND.load(pack, "torch", 1).net.config.rope_parameters["rope_theta"] == 77.0


def test_sentence_transformers_files_are_read(tmp_path: Path) -> None:
    folder_of("bert", tmp_path / "hf")
    (tmp_path / "hf" / "1_Pooling").mkdir()
    (tmp_path / "hf" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (tmp_path / "hf" / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    (tmp_path / "hf" / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    pack = encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "encoder"))
    model = pack.json("model.json")
    assert (model["pooling"], model["normalise"], model["max_tokens"]) == ("first", False, 9)
    answer = encoder.KIND.load(pack, "torch", 1).predict(["a text of many more tokens"], {})[0]
    assert answer["tokens"] == 9


# --- strangers --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "words"), [
    ({"model_type": "my-own"}, "'my-own' is not one that this kind builds"),
    ({"model_type": "bertt"}, "did you mean 'bert'"),
    ({"model_type": None}, "not one that this kind builds"),
    ({"model_type": "llama"}, "not one that this kind builds"),
    ({"num_hidden_layers": 10**9}, "no small model has"),
    ({"vocab_size": 2**70}, "no small model has"),
    ({"num_hidden_layers": 4_000}, "the arrays of 3 layers"),
    ({"hidden_size": 4_000_000}, "its net needs 260×4000000"),
    ({"intermediate_size": 9_000_000}, "its net needs"),
    ({"num_attention_heads": 7}, "not divisible"),
    ({"num_attention_heads": 0}, "whole number above 0"),
    ({"hidden_act": "os.system"}, ""),
])  # fmt: skip
def test_a_config_that_is_not_to_be_built(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder_of("bert", tmp_path / "hf")
    pack = encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "encoder"))
    model = pack.json("model.json")
    (pack.path / "model.json").write_text(json.dumps({**model, "config": {**model["config"], **change}}))
    with pytest.raises(HedgerowError) as caught:
        encoder.KIND.check(pack)
        encoder.KIND.load(pack, "torch", 1)
    assert words in str(caught.value)


def test_code_in_a_folder_is_never_run(tmp_path: Path) -> None:
    """A folder whose configuration asks for its own Python: read without it, or refused, and nothing of it runs."""
    folder_of("bert", tmp_path / "hf")
    evil = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "__init__.py"):
        (tmp_path / "hf" / name).write_text(evil)
    file = tmp_path / "hf" / "config.json"
    config = json.loads(file.read_text())
    auto = {"AutoConfig": "configuration_evil.C", "AutoModel": "modeling_evil.M"}
    file.write_text(
        json.dumps({**config, "auto_map": auto, "attn_implementation": "evil/kernel", "_attn_implementation": "evil/x"})
    )
    pack = encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "encoder"))
    assert "evil" not in (pack.path / "model.json").read_text()
    file.write_text(json.dumps({**config, "model_type": "evil", "auto_map": auto}))
    with pytest.raises(HedgerowError, match="not one that this kind builds"):
        encoder.from_folder(tmp_path / "hf", tmp_path / "other", tiny.info("x", "encoder"))
    assert not (tmp_path / "ran").exists()


def test_keys_that_lead_to_code_are_dropped_from_a_pack(tmp_path: Path) -> None:
    pack = tiny.encoder(tmp_path)
    model = pack.json("model.json")
    bad = {
        "_attn_implementation": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "quantization_config": {"quant_method": "evil"},
    }
    (pack.path / "model.json").write_text(json.dumps({**model, "config": {**model["config"], **bad}}))
    engine = encoder.KIND.load(pack, "torch", 1)
    assert engine.encode(["rice"]).shape == (1, 32)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder_of("bert", tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(HedgerowError, match="pickled ones are not read"):
        encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "encoder"))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_an_incomplete_folder_is_one_line(missing: str, tmp_path: Path) -> None:
    folder_of("bert", tmp_path / "hf")
    (tmp_path / "hf" / missing).unlink()
    with pytest.raises(HedgerowError, match=missing.replace(".", r"\.")):
        encoder.from_folder(tmp_path / "hf", tmp_path / "pack", tiny.info("x", "encoder"))
    assert not (tmp_path / "pack").exists()


def test_values_that_float16_cannot_hold(tmp_path: Path) -> None:
    net = tiny.llama()
    with torch.no_grad():
        net.model.norm.weight[0] = 1e6
    with pytest.raises(HedgerowError, match="too large for float16"):
        decoder_lm.save_decoder(tmp_path / "p", tiny.info("x", "decoder-lm"), net, tiny.tokenizer(encoder=False))
    pack = decoder_lm.save_decoder(
        tmp_path / "p", tiny.info("x", "decoder-lm"), net, tiny.tokenizer(encoder=False), dtype="float32"
    )
    assert decoder_lm.KIND.load(pack, "torch", 1).net.model.norm.weight[0] == 1e6
