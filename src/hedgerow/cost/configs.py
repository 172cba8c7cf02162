"""A decoder's geometry read from what its file says of itself: a Hugging Face config.json, or GGUF's metadata.

Nothing of a file is run, and every size is bounded; a key that is missing or absurd is one line naming it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hedgerow.cost.geometry import Geometry
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import check

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model", "model_dim", "dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_query_heads")
_FFN = ("intermediate_size", "ffn_dim", "n_inner")
_ACTIVATION = ("hidden_act", "hidden_activation", "activation_function", "activation_fn_name")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_context_length", "seq_length")
_UNGATED = frozenset({"gpt2", "gpt_neox", "opt", "bloom", "phi", "gpt_neo", "gptj", "falcon", "codegen", "gpt_bigcode"})
_LEARNED = {"gpt2": 0, "opt": 2, "gpt_neo": 0, "gpt_bigcode": 0}  # table of positions, and rows that no token uses
_TIED = frozenset({"gpt2", "opt", "bloom", "gemma", "gemma2", "gemma3_text", "gemma3", "openelm", "gpt_neo", "falcon"})
_LAYERNORM = _UNGATED | {"stablelm", "olmo", "mpt"}
_PATTERN = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gpt-oss": 2, "gpt_oss": 2}  # every n-th sees all
_GGUF_NAMES = {
    "gpt_neox": "gptneox", "phi": "phi2", "gemma3_text": "gemma3", "gpt_oss": "gpt-oss", "mistral": "llama",
}  # fmt: skip
_ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "t5", "bart", "clip", "whisper", "vit"})


def from_config(config: Mapping[str, Any], where: str) -> Geometry:
    """The geometry of a decoder's configuration as transformers writes it; HedgerowError names what is wrong."""
    name = config.get("model_type")
    if not isinstance(name, str) or not name:
        raise HedgerowError(f"{where}: no 'model_type', so this is no configuration of a language model")
    if name in _ENCODERS:
        raise HedgerowError(f"{where}: '{name}' is no decoder; its costs are measured, not calculated")
    if isinstance(config.get("text_config"), Mapping):  # a model of several kinds of input: its language part
        return from_config({"model_type": name, **config["text_config"]}, where)
    layers, width = _size(config, _LAYERS, where), _size(config, _WIDTH, where)
    if layers > 4096:
        raise HedgerowError(f"{where}: 'layers' is {layers}, which no small model has; refused")
    heads = _per_layer(config, _HEADS, where)
    plain = heads if isinstance(heads, int) else heads[0]
    head = config.get("head_dim") or config.get("kv_channels") or (width // plain if plain else 0)
    if not config.get("head_dim") and isinstance(heads, int) and width % heads:
        raise HedgerowError(f"{where}: width {width} is not divisible by {heads} heads, and no 'head_dim' is stated")
    stated = (config[k] for k in ("num_key_value_heads", "num_kv_heads") if config.get(k) is not None)
    kv = next(stated, 1 if config.get("multi_query") else heads)
    ffn = _ffn(config, name, width, layers, where)
    gated = name not in _UNGATED and config.get("ffn_with_glu", True) is not False
    positions = _size(config, _POSITIONS, where, 2048)
    data: dict[str, Any] = {
        "layers": layers, "width": width, "heads": heads, "kv_heads": kv, "head": head,
        "ffn": ffn, "gated": gated, "vocabulary": _size(config, ("vocab_size",), where),
        "tied": bool(config.get("tie_word_embeddings", config.get("share_input_output_layers", name in _TIED))),
        "positions": positions, "biases": name in _UNGATED or name.startswith("qwen"),
        "learned_positions": positions + _LEARNED[name] if name in _LEARNED else 0,
        "norm": "layernorm" if name in _LAYERNORM else "rmsnorm",
        "activation": str(next((config[k] for k in _ACTIVATION if config.get(k)), "")),
        "architecture": _GGUF_NAMES.get(name, name), "latent": _latent(config),
    }  # fmt: skip
    return check(Geometry, {**data, **_window(config, name, layers)}, where)


def _size(config: Mapping[str, Any], keys: Sequence[str], where: str, default: int | None = None) -> int:
    key, value = next(((k, config[k]) for k in keys if config.get(k) is not None), (keys[0], default))
    if value is None:
        raise HedgerowError(f"{where}: '{keys[0]}' is missing")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000_000:
        raise HedgerowError(f"{where}: '{key}' must be a whole number from 1 to 10,000,000 (got {str(value)[:40]!r})")
    return value


def _per_layer(config: Mapping[str, Any], keys: Sequence[str], where: str) -> int | list[int]:
    value = next((config[k] for k in keys if config.get(k) is not None), None)
    if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
        return value
    return _size(config, keys, where)


def _ffn(config: Mapping[str, Any], name: str, width: int, layers: int, where: str) -> int | list[int]:
    multipliers = config.get("ffn_multipliers")  # OpenELM: one for each layer, rounded to a divisor
    if isinstance(multipliers, list) and len(multipliers) == layers and len(multipliers) > 2:
        divisor = _size(config, ("ffn_dim_divisor",), where, 256)
        try:
            return [_divisible(float(m) * width, divisor) for m in multipliers]
        except (TypeError, ValueError, OverflowError) as e:
            raise HedgerowError(f"{where}: 'ffn_multipliers' must be numbers") from e
    if name == "qwen":  # the first Qwen counts gate and up projection together
        return _size(config, ("intermediate_size",), where) // 2
    default = 4 * width if name in ("gpt2", "bloom", "falcon", "gpt_bigcode", "gpt_neo", "codegen", "gptj") else None
    return _size(config, _FFN, where, default)


def _divisible(value: float, divisor: int) -> int:
    """OpenELM's rounding: to the nearest multiple, never more than 10 % down."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _latent(config: Mapping[str, Any]) -> dict[str, Any] | None:
    if not config.get("kv_lora_rank"):
        return None
    return {
        "rank": config["kv_lora_rank"],
        "rope": config.get("qk_rope_head_dim"),
        "nope": config.get("qk_nope_head_dim"),
        "value": config.get("v_head_dim") or config.get("qk_nope_head_dim"),
        "query_rank": config.get("q_lora_rank") or 0,
    }


def _window(config: Mapping[str, Any], name: str, layers: int) -> dict[str, Any]:
    """The sliding window and its layers; {} where every layer sees everything."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return {}
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        found = [i for i, k in enumerate(kinds) if k == "sliding_attention"]
        return {"window": window, "windowed": found} if found else {}
    period = config.get("sliding_window_pattern") or _PATTERN.get(name, 0)
    if isinstance(period, int) and period > 0:
        return {"window": window, "windowed": [i for i in range(layers) if i % period < period - 1]}
    return {"window": window}


# --- GGUF ------------------------------------------------------------------------------------------------------------
def from_gguf(fields: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> Geometry:
    """The geometry that a GGUF file's metadata states; ``names``: tensor name -> shape, rows first."""
    name = fields.get("general.architecture")
    if not isinstance(name, str):
        raise HedgerowError(f"{where}: the header names no architecture")

    def get(key: str, default: Any = None) -> Any:
        return fields.get(f"{name}.{key}", default)

    layers = get("block_count")
    if layers is None:
        near = did_you_mean("block_count", [k.partition(".")[2] for k in fields if k.startswith(f"{name}.")])
        raise HedgerowError(f"{where}: '{name}.block_count' is missing{near if len(near) < 60 else ''}")
    width, heads = get("embedding_length"), get("attention.head_count")
    kv = get("attention.head_count_kv", heads)
    plain = max(heads) if isinstance(heads, list) and heads else heads
    head = get("attention.key_length") or (width // plain if _whole(width) and _whole(plain) and plain else None)
    embedding = names.get("token_embd.weight", ())
    tokens = fields.get("tokenizer.ggml.tokens")
    vocabulary = embedding[0] if len(embedding) == 2 else get("vocab_size") or tokens
    first = next((n.partition(".")[2].partition(".")[0] for n in names if n.endswith(".ffn_up.weight")), "0")
    gated = any(n.endswith(".ffn_gate.weight") for n in names) or _wide_up(names, first, get("feed_forward_length"))
    data = {
        "layers": layers, "width": width, "heads": heads, "kv_heads": kv, "head": head,
        "ffn": get("feed_forward_length"), "gated": gated, "vocabulary": vocabulary,
        "tied": "output.weight" not in names, "positions": get("context_length", 2048),
        "learned_positions": names["position_embd.weight"][0] if "position_embd.weight" in names else 0,
        "biases": any(n.endswith(".bias") for n in names),
        "norm": "layernorm" if get("attention.layer_norm_epsilon") is not None else "rmsnorm", "architecture": name,
        "latent": _gguf_latent(get, plain, names),
    }  # fmt: skip
    return check(Geometry, {**data, **_gguf_window(get, name, layers)}, where)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _wide_up(names: Mapping[str, tuple[int, ...]], layer: str, ffn: Any) -> bool:
    """Whether the up projection holds the gate too (phi-3): twice as many rows as the FFN is wide."""
    shape = names.get(f"blk.{layer}.ffn_up.weight", ())
    return _whole(ffn) and len(shape) == 2 and shape[0] == 2 * ffn


def _gguf_latent(get: Any, heads: Any, names: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    rank = get("attention.kv_lora_rank")
    if not rank:
        return None
    rope, key = get("rope.dimension_count"), get("attention.key_length_mla") or get("attention.key_length")
    value = get("attention.value_length_mla") or get("attention.value_length")
    nope = key - rope if _whole(key) and _whole(rope) else None
    return {
        "rank": rank,
        "rope": rope,
        "nope": nope,
        "value": value,
        "query_rank": get("attention.q_lora_rank") or 0,
    }


def _gguf_window(get: Any, name: str, layers: Any) -> dict[str, Any]:
    """Only for architectures whose layers alternate: for others llama.cpp does not use the window that is stated."""
    window, pattern = get("attention.sliding_window"), get("attention.sliding_window_pattern")
    if not _whole(window) or not _whole(layers) or layers > 4096:
        return {}
    if isinstance(pattern, list) and len(pattern) == layers:
        return {"window": window, "windowed": [i for i, on in enumerate(pattern) if on]}
    period = pattern if _whole(pattern) else _PATTERN.get(name)
    return {"window": window, "windowed": [i for i in range(layers) if i % period < period - 1]} if period else {}
