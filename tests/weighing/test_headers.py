"""Headers: read whole without a weight, and never believed further than the file reaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_made import llama, raw, tensor
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hedgerow.cost import formulas
from hedgerow.errors import HedgerowError
from hedgerow.weighing import headers

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 96, "max_position_embeddings": 128,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_gguf_file_by_its_header(whole: Path) -> None:
    h = headers.read(whole)
    g = h.geometry
    assert (h.name, h.layout, h.complete) == ("tiny", "gguf", True)
    assert (g.layers, g.width, g.heads, g.kv_heads, g.head, g.ffn, g.gated) == (2, 64, 4, 2, 16, 96, True)
    assert (g.vocabulary, g.tied, g.positions, g.norm, g.attention) == (96, True, 128, "rmsnorm", "gqa")
    assert h.weights.elements == formulas.parameters(g)
    assert h.weights == formulas.weights(g, "f16").model_copy(update={"parts": h.weights.parts})
    assert formulas.weight_bytes(h.weights) <= h.file_bytes


def test_no_weight_is_read(whole: Path, tmp_path: Path) -> None:
    """The same header over a sparse file of the right length gives the same answer."""
    data = whole.read_bytes()
    start = len(data) - formulas.weight_bytes(headers.read(whole).weights)
    sparse = tmp_path / "sparse.gguf"
    with open(sparse, "wb") as f:
        f.write(data[:start])
        f.truncate(len(data))
    assert headers.read(sparse).geometry == headers.read(whole).geometry


def test_a_stated_head_size_and_latent_attention_are_believed(tmp_path: Path) -> None:
    h = headers.read(llama(tmp_path / "a.gguf", llama__attention__key_length=256))
    assert h.geometry.head == 256
    more = {"llama__attention__kv_lora_rank": 32, "llama__rope__dimension_count": 8, "llama__attention__key_length": 24,
            "llama__attention__value_length": 16}  # fmt: skip
    latent = headers.read(llama(tmp_path / "b.gguf", **more)).geometry.latent
    assert latent is not None and (latent.rank, latent.rope, latent.nope, latent.value) == (32, 8, 16, 16)


def config(tmp_path: Path, **more: Any) -> Path:
    tmp_path.mkdir(exist_ok=True, parents=True)
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **more}))
    return tmp_path


def test_a_name_that_would_move_the_cursor_is_shown_harmless(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.gguf"
    for held, shown in ((b"\x1b[2J", "?[2J"), (b"    ", "file")):
        file.write_bytes(whole.read_bytes().replace(b"\x04" + bytes(7) + b"tiny", b"\x04" + bytes(7) + held, 1))
        assert headers.read(file).name == shown


def test_a_folder_without_weights_is_calculated_and_says_so(tmp_path: Path) -> None:
    h = headers.read(config(tmp_path))
    assert (h.layout, h.complete, h.weights.mix.get("bf16")) == ("hf-folder", False, h.geometry.body + 96 * 64)


def test_a_folder_with_weights_is_what_they_are(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    net = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in LLAMA.items() if k not in ("model_type", "torch_dtype")}))
    net.save_pretrained(tmp_path)
    h = headers.read(tmp_path)
    assert h.complete and h.weights.mix == {"f32": formulas.parameters(h.geometry)}
    assert sum(h.weights.parts["ffn"].values()) == h.geometry.ffn_body
    assert sum(h.weights.parts["attention"].values()) == h.geometry.attention_body


def test_weights_of_another_model_are_one_line(tmp_path: Path) -> None:
    folder = config(tmp_path)
    save_file({"model.embed_tokens.weight": np.zeros((8, 8), np.float32)}, folder / "model.safetensors")
    with pytest.raises(HedgerowError, match="one of them is of another model"):
        headers.read(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"model_type": "bert"}, "no decoder"), ({"model_type": None}, "model_type"), ({"hidden_size": -1}, "hidden_size"),
     ({"num_hidden_layers": 10**9}, "num_hidden_layers"), ({"num_key_value_heads": 3}, "must divide"),
     ({"vocab_size": "many"}, "vocab_size"), ({"head_dim": None, "hidden_size": 66}, "not divisible"),
     ({"intermediate_size": True}, "intermediate_size"), ({"num_attention_heads": [4, 4, 4]}, "3 layers")],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_one_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(HedgerowError, match=says):
        headers.read(config(tmp_path, **change))


@pytest.mark.parametrize(
    ("model_type", "more", "wanted"),
    [
        ("gemma2", {"head_dim": 256, "sliding_window": 32}, {"head": 256, "window": 32, "windowed": (0,)}),
        ("mistral", {"sliding_window": 32}, {"window": 32, "windowed": None}),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": False}, {"window": None, "gated": True}),
        ("gpt_neox", {"tie_word_embeddings": False}, {"gated": False, "tied": False, "architecture": "gptneox"}),
        ("qwen", {"kv_channels": 16, "num_key_value_heads": None}, {"ffn": 48, "kv_heads": 4}),
        ("falcon", {"multi_query": True, "num_key_value_heads": None, "num_kv_heads": 1}, {"kv_heads": 1}),
    ],
)
def test_families_name_their_sizes_differently(
    tmp_path: Path, model_type: str, more: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = headers.read(config(tmp_path, model_type=model_type, **more)).geometry
    assert {key: getattr(found, key) for key in wanted} == wanted


def test_a_pack_of_a_language_model_and_of_none(tmp_path: Path) -> None:
    for name, model in (("lm", {"net": "transformer", "config": LLAMA, "max_tokens": 128}), ("other", {"net": "unet"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pack.toml").write_text("")
        (tmp_path / name / "model.json").write_text(json.dumps(model))
    assert headers.read(tmp_path / "lm").geometry.layers == 2
    with pytest.raises(HedgerowError, match="Pack of no language model"):
        headers.read(tmp_path / "other")


def test_what_is_not_there_or_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="there is no file or folder"):
        headers.read(tmp_path / "absent.gguf")
    with pytest.raises(HedgerowError, match="holds no model"):
        headers.read(tmp_path)
    for name in "ab":
        llama(tmp_path / f"{name}.gguf")
    with pytest.raises(HedgerowError, match="2 GGUF files: name one"):
        headers.read(tmp_path)


def test_a_broken_gguf_file_and_one_that_names_no_architecture_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    for data, says in (
        (raw(tensors=10**15), "promises 1,000,000,000,000,000 tensors"),
        (raw(tensors=1, body=tensor("t", (4, 4)) + b"\0" * 99), "names no architecture"),
    ):
        file.write_bytes(data)
        with pytest.raises(HedgerowError, match=says):
            headers.read(file)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6))
@example(changes=[(8, 255), (12, 255)])
def test_a_damaged_header_gives_a_model_or_one_line(
    whole: Path, tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(whole.read_bytes())
    for position, value in changes:
        data[position] = value
    file = tmp_path / "damaged.gguf"
    file.write_bytes(data)
    try:
        headers.read(file)
    except HedgerowError as e:
        assert "\n" not in str(e)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8),
    st.lists(st.integers(-5, 10**9), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [*LLAMA, "head_dim", "sliding_window", "layer_types", "sliding_window_pattern", "kv_lora_rank", "q_lora_rank",
        "qk_rope_head_dim", "ffn_multipliers", "ffn_dim_divisor", "text_config", "multi_query",
        "hidden_act"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(KEYS), ODD, min_size=1, max_size=4), name=st.sampled_from(
    ["llama", "gemma2", "qwen", "openelm", "gpt2", "minicpm3", "falcon"]))  # fmt: skip
def test_an_odd_configuration_gives_a_geometry_or_one_line(changes: dict[str, Any], name: str) -> None:
    from hedgerow.cost import configs

    try:
        found = configs.from_config({**LLAMA, "model_type": name, **changes}, "config.json")
        assert formulas.parameters(found) > 0 and formulas.kv_bytes(found, 100) > 0
    except HedgerowError as e:
        assert "\n" not in str(e) and len(str(e)) < 400


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(
    ["block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length",
     "attention.key_length", "context_length", "attention.sliding_window", "attention.sliding_window_pattern",
     "attention.kv_lora_rank", "rope.dimension_count", "attention.value_length", "vocab_size"]), ODD, max_size=4),
    name=st.sampled_from(["llama", "gemma3", "phi3", "deepseek2"]))  # fmt: skip
def test_odd_metadata_gives_a_geometry_or_one_line(changes: dict[str, Any], name: str) -> None:
    from hedgerow.cost import configs

    plain = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4, "feed_forward_length": 96}
    fields = {"general.architecture": name, **{f"{name}.{k}": v for k, v in {**plain, **changes}.items()}}
    try:
        found = configs.from_gguf(fields, {"token_embd.weight": (96, 64), "blk.0.ffn_up.weight": (96, 64)}, "a.gguf")
        assert formulas.parameters(found) > 0
    except HedgerowError as e:
        assert "\n" not in str(e) and len(str(e)) < 400
