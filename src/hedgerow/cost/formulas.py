"""Parameters, operations and bytes of a decoder by closed formula (slm survey, arXiv 2409.15790, and llama.cpp).

Every number here is exact arithmetic on sizes: nothing is measured. What an engine prints stands beside it in tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hedgerow.cost import formats
from hedgerow.cost.geometry import Geometry
from hedgerow.cost.records import Memory
from hedgerow.cost.weights import Tensor, Weights
from hedgerow.errors import HedgerowError

# Architectures whose file keeps Q, K and V as one matrix: quantisers treat it as one.
FUSED = frozenset({"gpt2", "gptneox", "bloom", "phi3", "qwen", "openelm", "falcon"})
TWICE = frozenset({"bloom"})  # whose converted file holds the tied matrix a second time, as head
UBATCH = 512  # llama.cpp's default micro-batch
Rule = Literal["2024", "2026"]


# --- parameters ------------------------------------------------------------------------------------------------------
def parameters(sizes: Geometry) -> int:
    """Stored parameters N = B + T·V·d + norms and learned positions; a shared FFN counts once.

    Biases are left out: less than 0.1 % (0.4 % at the smallest).
    """
    ffn = sizes.ffn_body // sizes.layers if sizes.shared_ffn else sizes.ffn_body
    tables = (1 if sizes.tied else 2) * sizes.vocabulary * sizes.width + sizes.learned_positions * sizes.width
    norms = (2 * sizes.layers + 1) * sizes.width * (2 if sizes.norm == "layernorm" else 1)
    return sizes.attention_body + ffn + tables + norms


def tensors(sizes: Geometry, mix: str = "f16") -> list[Tensor]:
    """The tensor list that llama.cpp's converter and quantiser would write for these sizes and the format ``mix``.

    Names are GGUF's; biases are left out. Raises HedgerowError for an unknown format.
    """
    d, found, tied = sizes.width, [], sizes.tied and sizes.architecture not in TWICE

    def add(name: str, *shape: int, layer: int = 0, shared: int = 1) -> None:
        if 0 in shape:  # a layer without attention has no such array
            return
        plain = Tensor(name=name, format="f32", shape=shape)
        kind = formats.assigned(plain, mix, layer=layer, layers=sizes.layers, shared=shared, tied=tied)
        found.append(plain.model_copy(update={"format": kind}))

    add("token_embd.weight", sizes.vocabulary, d)
    if sizes.learned_positions:
        found.append(Tensor(name="position_embd.weight", format="f32", shape=(sizes.learned_positions, d)))
    for i, (heads, kv, ffn) in enumerate(zip(sizes.heads_of, sizes.kv_heads_of, sizes.ffn_of, strict=True)):
        more = {"layer": i, "shared": heads // kv if kv else 1}
        for name, rows, row in _attention(sizes, heads, kv):
            add(f"blk.{i}.attn_{name}.weight", rows, row, **more)
        if i == 0 or not sizes.shared_ffn:
            for name in ("gate", "up") if sizes.gated else ("up",):
                add(f"blk.{i}.ffn_{name}.weight", ffn, d, **more)
            add(f"blk.{i}.ffn_down.weight", d, ffn, **more)
        add(f"blk.{i}.attn_norm.weight", d)
        add(f"blk.{i}.ffn_norm.weight", d)
    add("output_norm.weight", d)
    if not sizes.tied or sizes.architecture in TWICE:
        add("output.weight", sizes.vocabulary, d)
    return found


def _attention(sizes: Geometry, heads: int, kv: int) -> list[tuple[str, int, int]]:
    """(name, rows, elements of a row) of a layer's projections."""
    d, h, m = sizes.width, sizes.head, sizes.latent
    if m is None:
        if sizes.architecture in FUSED:
            return [("qkv", (heads + 2 * kv) * h, d), ("output", d, heads * h)]
        return [("q", heads * h, d), ("k", kv * h, d), ("v", kv * h, d), ("output", d, heads * h)]
    query = heads * (m.nope + m.rope)
    queries = [("q_a", m.query_rank, d), ("q_b", query, m.query_rank)] if m.query_rank else [("q", query, d)]
    keys = [("kv_a_mqa", m.cached, d), ("kv_b", heads * (m.nope + m.value), m.rank)]
    return [*queries, *keys, ("output", d, heads * m.value)]


def weights(sizes: Geometry, mix: str = "f16") -> Weights:
    """Elements by part and format of a model of these sizes in the format ``mix``."""
    return Weights.of(tensors(sizes, mix))


# --- operations ------------------------------------------------------------------------------------------------------
def flops_by_part(
    sizes: Geometry, new: int, past: float = 0, logits: int = 1, *, causal: bool = False
) -> dict[str, float]:
    """Operations of ``new`` tokens after ``past`` cached ones, a multiply-add counted as two.

    2·S·N_attn, 2·S·N_ffn and 2·R·V·d for R = ``logits`` rows; scores 4·Σ(H·h)·S·(P0 + S), the full square that engines
    and counters usually pay, or with ``causal`` only what is not masked: 4·Σ(H·h)·(S·P0 + S(S+1)/2). Looking up an
    embedding costs bytes, not operations. A layer with a sliding window sees at most that many positions.
    """
    scores = 0.0
    for layer, width in enumerate(score_widths(sizes)):
        scores += 4 * width * pairs(new, past, sizes.window_of(layer), causal)
    return {
        "attention": 2.0 * new * sizes.attention_body,
        "scores": scores,
        "ffn": 2.0 * new * sizes.ffn_body,
        "head": 2.0 * logits * sizes.vocabulary * sizes.width,
        "embedding": 0.0,
    }


def flops(sizes: Geometry, new: int, past: float = 0, logits: int = 1, *, causal: bool = False) -> float:
    """Sum of :func:`flops_by_part`: F = 2·S·B + 2·R·V·d + 4·Σ(H·h)·S·(P0 + S)."""
    return sum(flops_by_part(sizes, new, past, logits, causal=causal).values())


def score_widths(sizes: Geometry) -> list[float]:
    """H·h of every layer, the unit of attention over positions (for MLA the mean of key and value size times H)."""
    if sizes.latent is None:
        return [h * sizes.head for h in sizes.heads_of]
    m = sizes.latent
    return [h * (m.nope + m.rope + m.value) / 2 for h in sizes.heads_of]


def pairs(new: int, past: float, window: int | None, causal: bool) -> float:
    """Pairs of (new token, position seen)."""
    if window is not None and past + new > window:
        first = max(0.0, min(float(new), window - past))  # new tokens that still see everything before them
        full = first * past + first * (first + 1) / 2 + (new - first) * window
        return full if causal else float(new * min(past + new, window + new))
    return new * past + new * (new + 1) / 2 if causal else new * (past + new)


# --- bytes -----------------------------------------------------------------------------------------------------------
def weight_bytes(held: Weights) -> int:
    """Σ over tensors of elements / block · bytes of a block."""
    return formats.total_bytes(held.mix)


def step_bytes(held: Weights) -> dict[str, float]:
    """Bytes by format that one decode step reads: the body and the head, not the embedding that is looked up."""
    return {name: formats.bytes_of(n, name) for name, n in held.read_each_step().items()}


def repacked_bytes(held: Weights, repacked: tuple[str, ...]) -> int:
    """Bytes that a build holds a second time: matrices of the body (and an untied head) in formats it repacks."""
    total = 0.0
    for part in ("attention", "ffn", "head"):
        for name, n in held.parts.get(part, {}).items():  # type: ignore[call-overload]
            total += formats.bytes_of(n, name) if name in repacked else 0.0
    return round(total)


def kv_bytes(
    sizes: Geometry,
    context: int,
    cache_k: str = "f16",
    cache_v: str = "f16",
    *,
    ubatch: int = UBATCH,
    latent: bool = True,
) -> int:
    """The cache of keys and values for ``context`` allocated positions: Σ over layers of K·h·C·(b_k + b_v).

    A layer with a sliding window holds min(C, window + micro-batch) positions. MLA: L·C·(r_kv + h_rope)·b when the
    engine keeps the ``latent``, else the expanded heads; an engine may do either, so say which.
    """
    if context < 1:
        raise HedgerowError(f"a context holds at least 1 token, not {context}")
    k, v = (formats.bytes_of(1, formats.known(c, formats.CACHES)) for c in (cache_k, cache_v))
    total = 0.0
    for layer, (heads, kv) in enumerate(zip(sizes.heads_of, sizes.kv_heads_of, strict=True)):
        window = sizes.window_of(layer)
        rows = context if window is None else min(context, window + ubatch)
        if sizes.latent is None:
            total += rows * kv * sizes.head * (k + v)
        elif latent:
            total += rows * sizes.latent.cached * k
        else:
            m = sizes.latent
            total += rows * heads * ((m.nope + m.rope) * k + m.value * v)
    return round(total)


def compute_bytes(sizes: Geometry, context: int, *, ubatch: int = UBATCH, rule: Rule = "2026") -> int:
    """The compute buffer that llama.cpp reserves; U = micro-batch.

    '2024', without flash attention: max(U·V·4 + U·d·4, H·C·U·4 + 5·U·d·4). '2026', flash attention automatic:
    U·V·4 + 2·U·d·4. Reserved is not resident: only rows of logits that are asked for are touched.
    """
    u = min(ubatch, context)
    logits = 4 * u * sizes.vocabulary
    if rule == "2026":
        return logits + 8 * u * sizes.width
    scores = 4 * max(sizes.heads_of) * context * u
    return max(logits + 4 * u * sizes.width, scores + 20 * u * sizes.width)


def memory(
    sizes: Geometry,
    held: Weights,
    context: int,
    *,
    cache_k: str = "f16",
    cache_v: str = "f16",
    ubatch: int = UBATCH,
    rule: Rule = "2026",
    repacked: tuple[str, ...] = (),
) -> Memory:
    """Weights, KV cache, compute buffer and repacked copy of a loaded model; ``total`` is their sum.

    Left out, because no formula gives it: the runtime's own code and tokenizer (tens of MB in a process of its own).
    """
    parts = {
        "weights": weight_bytes(held),
        "kv": kv_bytes(sizes, context, cache_k, cache_v, ubatch=ubatch),
        "compute": compute_bytes(sizes, context, ubatch=ubatch, rule=rule),
        "other": repacked_bytes(held, repacked),
    }
    return Memory(**parts, total=sum(parts.values()))


def largest_context(
    sizes: Geometry, held: Weights, available: int, options: Mapping[str, str] | None = None
) -> int | None:
    """The longest context (of at most ``positions``) whose :func:`memory` fits ``available`` bytes; None if none."""
    low, high = 0, sizes.positions
    while low < high:
        middle = (low + high + 1) // 2
        needed = memory(sizes, held, middle, **(options or {})).total  # type: ignore[arg-type]
        low, high = (middle, high) if (needed or 0) <= available else (low, middle - 1)
    return low or None
