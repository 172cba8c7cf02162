"""A decoder's arrays and tokenizer -> GGUF, the file of llama.cpp.

Written are the families of Llama, Mistral, Qwen2, Qwen3 and GPT-2 with a byte-level BPE tokenizer; what does not fit
is refused in one line. Trap: llama.cpp rotates neighbouring pairs in its Llama graph and transformers the two halves
of a head, so rows of Q and K change places there (and only there); without it the answers are fluent nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.transformer import Geometry

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2"}
_TRANSPOSED = (".attn.c_attn.weight", ".attn.c_proj.weight", ".mlp.c_fc.weight", ".mlp.c_proj.weight")
_NORMAL, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5  # llama.cpp's types of token
# Regular expressions that cut a text before merging, and llama.cpp's names of them (tokenizer.ggml.pre).
_CUTS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "llama-bpe",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen2",
}


def write(
    path: Path,
    name: str,
    config: Mapping[str, Any],
    sizes: Geometry,
    arrays: Mapping[str, np.ndarray],
    tokenizer_json: str,
    special: Mapping[str, int | None],
    wide: bool = False,
) -> list[str]:
    """Write the file; matrices as float16 (``wide``: float32), vectors as float32. Returns remarks for the reader.

    ``special``: 'bos', 'eos', 'pad' -> token number or None. Raises HedgerowError for an architecture, a scaling of
    positions or a tokenizer that is not written.
    """
    try:
        import gguf
    except ImportError as e:
        raise HedgerowError("writing a GGUF file needs gguf: pip install 'hedgerow[build]'") from e
    model_type = str(config.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise HedgerowError(f"'{model_type}' is not written as GGUF (written are {', '.join(ARCHITECTURES)})")
    architecture = ARCHITECTURES[model_type]
    words = vocabulary(tokenizer_json, sizes.vocabulary)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(0 if wide else 1)
    _sizes(writer, config, sizes, architecture)
    remarks = _words(writer, words, special)
    factors = _rope(writer, config, sizes) if architecture != "gpt2" else None
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    names = gguf.get_tensor_name_map(_arch(gguf, architecture), sizes.layers)
    for own, array in arrays.items():
        theirs = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise HedgerowError(f"array '{own}' has no place in a GGUF file of '{architecture}'")
        matrix = array.ndim > 1 and "position" not in theirs
        placed = _placed(own, array, sizes, architecture)
        kind = np.float16 if matrix and not wide else np.float32
        writer.add_tensor(theirs, np.ascontiguousarray(placed.astype(kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return remarks


def _arch(gguf: Any, name: str) -> Any:
    return next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def _sizes(writer: Any, config: Mapping[str, Any], sizes: Geometry, architecture: str) -> None:
    window = config.get("sliding_window")
    if config.get("use_sliding_window"):
        raise HedgerowError("a sliding window of attention is not written as GGUF for this architecture")
    longest = sizes.positions
    if config.get("model_type") == "mistral" and isinstance(window, int):
        longest = min(longest, window)  # up to there the window changes nothing, and llama.cpp knows none here
    writer.add_context_length(longest)
    writer.add_embedding_length(sizes.width)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.ffn)
    writer.add_head_count(sizes.heads)
    writer.add_vocab_size(sizes.vocabulary)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(float(config.get("layer_norm_epsilon", 1e-5)))
        return
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_key_length(sizes.head)
    writer.add_value_length(sizes.head)
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    writer.add_rope_dimension_count(sizes.head)


def _rope(writer: Any, config: Mapping[str, Any], sizes: Geometry) -> np.ndarray | None:
    """The base, and Llama 3's factors [h/2] where the file has them."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = float(told.get("rope_theta") or config.get("rope_theta") or 10000.0)
    writer.add_rope_freq_base(base)
    kind = told.get("rope_type") or told.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise HedgerowError(
            f"positions scaled by the rule '{kind}' are not written as GGUF ('default' and 'llama3' are)"
        )
    factor, low, high = (float(told[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    first = float(told["original_max_position_embeddings"])
    waves = 2 * np.pi * base ** (np.arange(0, sizes.head, 2) / sizes.head)
    smooth = (first / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(waves < first / high, 1.0, np.where(waves > first / low, factor, between)).astype(np.float32)


def _placed(name: str, array: np.ndarray, sizes: Geometry, architecture: str) -> np.ndarray:
    """An array in llama.cpp's layout."""
    if architecture == "gpt2":
        return array.T if name.endswith(_TRANSPOSED) else array
    if architecture == "llama":
        for part, heads in ((".q_proj.", sizes.heads), (".k_proj.", sizes.kv_heads)):
            if part in name:
                return paired(array, heads)
    return array


def paired(array: np.ndarray, heads: int | tuple[int, ...]) -> np.ndarray:
    """Rows of each head from (first half, second half) to neighbouring pairs: row i of a half of n goes to 2 i."""
    if not isinstance(heads, int):
        raise HedgerowError("layers with different numbers of heads are not written as GGUF")
    rows = array.shape[0] // heads
    return array.reshape(heads, 2, rows // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


# --- the tokenizer ---------------------------------------------------------------------------------------------------
def vocabulary(tokenizer_json: str, size: int) -> dict[str, Any]:
    """Tokens, their types, merges, the name of the cutting rule and whether a text begins with a start token.

    HedgerowError for a tokenizer that is no byte-level BPE.
    """
    whole = json.loads(tokenizer_json)
    model = whole.get("model", {})
    cut = whole.get("pre_tokenizer") or {}
    steps = cut.get("pretokenizers", [cut])
    if model.get("type") != "BPE" or model.get("byte_fallback") or steps[-1].get("type") != "ByteLevel":
        raise HedgerowError(f"a tokenizer of type '{model.get('type')}' without byte-level BPE is not written as GGUF")
    tokens, types = [f"[PAD{i}]" for i in range(size)], [_UNUSED] * size
    added = {token["id"]: token for token in whole.get("added_tokens", [])}
    numbers = {**model["vocab"], **{token["content"]: number for number, token in added.items()}}
    for token, number in numbers.items():
        if number >= size:
            raise HedgerowError(f"the tokenizer names token {number}, the net has {size}")
        tokens[number] = token
        types[number] = _NORMAL if number not in added else _CONTROL if added[number].get("special") else _USER
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges", [])]
    post = whole.get("post_processor") or {}
    parts = [post, *post.get("processors", [])]
    single: list[Any] = next((p["single"] for p in parts if p.get("type") == "TemplateProcessing"), [])
    return {
        "tokens": tokens,
        "types": types,
        "merges": merges or [f"{tokens[0]} {tokens[1]}"],  # none at all is refused; this pair never meets
        "pre": _pre(steps),
        "starts": bool(single) and "SpecialToken" in single[0],
        "ends": bool(single) and "SpecialToken" in single[-1],
    }


def _pre(steps: list[dict[str, Any]]) -> str | None:
    """llama.cpp's name of the way a text is cut before merging; None when it has none that we know."""
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        return _CUTS.get(str(steps[0].get("pattern", {}).get("Regex")))
    return None


def _words(writer: Any, words: Mapping[str, Any], special: Mapping[str, int | None]) -> list[str]:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words["pre"] or "gpt-2")
    writer.add_token_list(words["tokens"])
    writer.add_token_types(words["types"])
    writer.add_token_merges(words["merges"])
    writer.add_add_bos_token(words["starts"])
    writer.add_add_eos_token(words["ends"])
    setters = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id, "pad": writer.add_pad_token_id}
    for name, number in special.items():
        if number is not None:
            setters[name](number)
    if words["pre"] is None:
        return ["llama.cpp has no name for how this tokenizer cuts texts: give the file token numbers, not text"]
    return []
