"""Formats of weights: how many bytes a block of elements takes, and which mix a named quantisation really is.

The block table equals ``gguf.GGML_QUANT_SIZES`` (a test says so). A name such as Q4_K_M is a rule, not a format:
:func:`assigned` follows llama.cpp's (``llama_tensor_get_type``), including what happens to rows that a block of 256
does not divide: then the "4-bit" file of a model of width 576 is mostly Q5_0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hedgerow.cost.weights import Tensor, Weights
from hedgerow.errors import HedgerowError, did_you_mean

BLOCKS: dict[str, tuple[int, int]] = {  # format of the elements -> (elements in a block, bytes of a block)
    "f64": (1, 8), "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "i8": (1, 1), "i16": (1, 2), "i32": (1, 4),
    "i64": (1, 8), "f8_e4m3": (1, 1), "f8_e5m2": (1, 1),
    "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34), "q8_1": (32, 40),
    "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176), "q6_k": (256, 210),
    "q8_k": (256, 292), "iq4_nl": (32, 18), "iq4_xs": (256, 136), "iq3_s": (256, 110), "iq3_xxs": (256, 98),
    "iq2_s": (256, 82), "iq2_xs": (256, 74), "iq2_xxs": (256, 66), "iq1_m": (256, 56), "iq1_s": (256, 50),
    "tq1_0": (256, 54), "tq2_0": (256, 66), "mxfp4": (32, 17), "nvfp4": (64, 36), "q1_0": (128, 18),
}  # fmt: skip
NUMBERS: dict[int, str] = {  # GGUF's number of an element type -> its name here
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1", 10: "q2_k", 11: "q3_k",
    12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s",
    20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64",
    29: "iq1_m", 30: "bf16", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0",
}  # fmt: skip
CACHES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")  # what llama.cpp keeps K and V in

# Rows that the block does not divide fall back to these, and rows that 32 does not divide to f16.
_FALLBACK = {
    "q2_k": "q4_0", "q3_k": "q4_0", "iq4_xs": "iq4_nl", "iq3_s": "iq4_nl", "iq3_xxs": "iq4_nl", "iq2_s": "iq4_nl",
    "iq2_xs": "iq4_nl", "iq2_xxs": "iq4_nl", "iq1_m": "iq4_nl", "iq1_s": "iq4_nl", "tq1_0": "q4_0", "tq2_0": "q4_0",
    "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0",
}  # fmt: skip
MIXES: dict[str, str] = {  # name of a quantisation -> the format that most matrices get
    "f32": "f32", "f16": "f16", "bf16": "bf16", "q4_0": "q4_0", "q4_1": "q4_1", "q5_0": "q5_0", "q5_1": "q5_1",
    "q8_0": "q8_0", "q2_k": "q2_k", "q3_k_s": "q3_k", "q3_k_m": "q3_k", "q3_k_l": "q3_k", "q4_k_s": "q4_k",
    "q4_k_m": "q4_k", "q5_k_s": "q5_k", "q5_k_m": "q5_k", "q6_k": "q6_k",
}  # fmt: skip


def known(name: str, among: Iterable[str] = MIXES) -> str:
    """``name`` in small letters when it is ``among`` the known ones; HedgerowError with the nearest otherwise."""
    small = name.strip().lower().replace("-", "_")
    if small not in among:
        if among is CACHES:
            raise HedgerowError(f"no type of the KV cache is called '{name}': take one of {', '.join(CACHES)}")
        raise HedgerowError(f"no weight format is called '{name}'{did_you_mean(small, among)}")
    return small


def bytes_of(elements: float, name: str) -> float:
    """Bytes of that many elements of one format: elements / block · bytes of the block."""
    block, size = BLOCKS[known(name, BLOCKS)]
    return elements / block * size


def total_bytes(mix: Mapping[str, float]) -> int:
    """Σ over formats of elements / block · bytes of the block."""
    return round(sum(bytes_of(n, name) for name, n in mix.items()))


def bits_per_weight(weights: Weights) -> float:
    """True bits an element, over all tensors of the file."""
    return 8 * total_bytes(weights.mix) / weights.elements if weights.elements else 0.0


def mix_line(weights: Weights) -> str:
    """'58 % q5_0, 22 % q8_0, 10 % q4_k, 10 % q6_k; 6.13 bits a weight'. Shares of less than 0.5 % are left out."""
    total = max(1, weights.elements)
    shares = [f"{100 * n / total:.0f} % {name}" for name, n in weights.mix.items() if n >= 0.005 * total]
    return f"{', '.join(shares)}; {bits_per_weight(weights):.2f} bits a weight"


def fitting(name: str, row: int) -> str:
    """The format that rows of ``row`` elements get when ``name`` was meant for them."""
    if row % BLOCKS[name][0] == 0:
        return name
    other = _FALLBACK.get(name, "f16")
    return other if row % BLOCKS[other][0] == 0 else "f16"


def assigned(tensor: Tensor, mix: str, *, layer: int, layers: int, shared: int, tied: bool) -> str:
    """The element format that llama.cpp's quantiser gives to one tensor under the name ``mix``.

    ``shared``: query heads a key-value head serves (H/K); ``tied``: the embedding serves as head. Vectors stay f32.
    Without an importance matrix, for models of no more than 8 B parameters without experts.
    """
    base = MIXES[known(mix)]
    if base in ("f32", "f16", "bf16"):
        return base if len(tensor.shape) > 1 else "f32"
    if len(tensor.shape) < 2 or tensor.part == "other":
        return "f32"
    row = tensor.shape[-1]
    return fitting(_meant(tensor, known(mix), base, layer, layers, shared, tied, row), row)


def _meant(tensor: Tensor, mix: str, base: str, layer: int, layers: int, shared: int, tied: bool, row: int) -> str:
    part, name = tensor.part, tensor.name
    if part == "head" or (part == "embedding" and tied):
        if row % BLOCKS[base][0]:
            return "q8_0"
        return base if base == "q8_0" else "q6_k"
    if part == "embedding":
        return base
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if "attn_qkv" in name:
        return {"q3_k_m": "q4_k", "q3_k_l": "q4_k", "q4_k_m": "q5_k", "q5_k_m": "q6_k"}.get(mix, base)
    if "attn_v" in name:
        first = {"q2_k": "q4_k" if shared >= 4 else "q3_k", "q3_k_m": "q5_k" if layer < 2 else "q4_k", "q3_k_l": "q5_k"}
        if mix in ("q4_k_m", "q5_k_m"):
            return "q6_k" if more else base
        return "q5_k" if mix == "q4_k_s" and layer < 4 else first.get(mix, base)
    if "ffn_down" in name:
        first = {"q2_k": "q3_k", "q3_k_m": "q5_k" if layer < layers // 16 else "q4_k", "q3_k_l": "q5_k"}
        if mix in ("q4_k_m", "q5_k_m"):
            return "q6_k" if more else base
        return "q5_k" if mix == "q4_k_s" and layer < layers // 8 else first.get(mix, base)
    if "attn_output" in name:
        return {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}.get(mix, base)
    return base
