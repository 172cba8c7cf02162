"""A made-up device whose rates are known, and rows that it would give."""

from __future__ import annotations

import random
from typing import Any

from hedgerow.cost import Cost, Device, Geometry, Rates, formulas, predict

SHAPES = {  # (layers, width, heads, kv heads, ffn, vocabulary): about equal size, different shape
    "smol": (30, 576, 9, 3, 1536, 49152),
    "mha": (30, 576, 9, 9, 1408, 49152),
    "deep": (64, 384, 6, 2, 1024, 49152),
    "wide": (8, 1024, 16, 4, 4096, 49152),
    "words": (16, 512, 8, 4, 1536, 151936),
    "square": (12, 768, 12, 12, 3072, 32000),
}
TRUTH = Rates(
    threads=1,
    runtime={"name": "made"},
    decode={"f16": 36e9, "q8_0": 34e9, "q4_0": 30e9},
    prefill={"f16": 177e9, "q8_0": 139e9, "q4_0": 304e9},
    step_s=0.9e-3,
    layer_s=19e-6,
    attention_s=0.29e-9,
    prefill_s=0.4e-3,
    prefill_layer_s=60e-6,
    prefill_attention_s=0.02e-9,
    head=120e9,
)
DEVICE = Device(name="made", machine="x86_64", cpu="made", cores=2, memory_bytes=8 << 30, fingerprint="d" * 12)


def geometry(name: str) -> Geometry:
    layers, width, heads, kv, ffn, vocabulary = SHAPES[name]
    return Geometry(
        layers=layers, width=width, heads=heads, kv_heads=kv, head=64, ffn=ffn, gated=True, vocabulary=vocabulary,
        tied=True, norm="rmsnorm", architecture="llama",
    )  # fmt: skip


def rows(
    noise: float = 0.0, seed: int = 0, names: Any = tuple(SHAPES), mixes: Any = ("f16", "q8_0", "q4_0")
) -> list[Cost]:
    """Cost rows of every shape and format, decode at two depths and prefill at two lengths."""
    rng = random.Random(seed)
    found = []
    for name in names:
        for mix in mixes:
            sizes = geometry(name)
            held = formulas.weights(sizes, mix)
            times = [("decode", {"depth": d}, predict.decode(TRUTH, sizes, held, d).ms) for d in (0, 512)]
            times += [("prefill", {"prompt": p}, predict.prefill(TRUTH, sizes, held, p).ms) for p in (16, 128, 512)]
            for phase, size, ms in times:
                ms *= 1 + noise * rng.gauss(0, 1)
                found.append(
                    Cost(
                        pack="", variant=f"{name}-{mix}", device=DEVICE, runtime=TRUTH.runtime, threads=1, unit="token",
                        phase=phase, size=size, p50_ms=ms, p95_ms=ms, mean_ms=ms, geometry=sizes, weights=held,
                    )
                )  # fmt: skip
    return found
