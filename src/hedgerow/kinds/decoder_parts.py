"""Time of a decoder by part (attention, FFN, head, embedding) in torch, beside the operations of each by formula.

Hooks around the modules take the time; what lies between them (norms, residual sums, the loop itself) is 'other'. The
clock is wall time of one process on the threads that the form was loaded with; a hook costs some microseconds a module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np

from hedgerow.cost import formulas
from hedgerow.errors import HedgerowError
from hedgerow.kinds.decoder_engine import TorchDecoder

PARTS = ("attention", "ffn", "head", "embedding", "other")
_ATTENTION, _FFN = ("self_attn", "attn"), ("mlp",)


def by_part(
    engine: Any, prompt: int, repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """{'prefill', 'decode'} -> part -> {'ms', 'share', 'flops'}: medians over ``repeats`` after one warm-up.

    Decode is one step after ``prompt`` tokens. Attention's operations hold its projections and its scores. Raises
    HedgerowError for a form other than torch: only there can each part be timed from outside.
    """
    if not isinstance(engine, TorchDecoder):
        raise HedgerowError("time by operator is measured on the torch form: other engines run a model as one call")
    ids = np.random.default_rng(0).integers(0, engine.geometry.vocabulary, (1, prompt))
    mask = np.ones((1, prompt + 1), dtype=np.int64)
    taken: dict[str, list[dict[str, float]]] = {"prefill": [], "decode": []}
    with _timed(engine.net, clock) as spent:
        for _ in range(1 + repeats):
            cache: Any = None
            for phase in taken:
                spent.update(dict.fromkeys(PARTS, 0.0))
                start = clock()
                if phase == "prefill":
                    cache, _logits = engine.prefill(ids)
                else:
                    engine.decode(cache, ids[:, -1], mask)
                whole = clock() - start
                named = {part: spent[part] for part in PARTS[:-1]}
                taken[phase].append({**named, "other": max(0.0, whole - sum(named.values())), "whole": whole})
    return {phase: _summed(engine, rows[1:], prompt, phase) for phase, rows in taken.items()}


def _summed(engine: TorchDecoder, rows: list[dict[str, float]], prompt: int, phase: str) -> dict[str, dict[str, float]]:
    count = formulas.flops_by_part(engine.geometry, *((prompt, 0) if phase == "prefill" else (1, prompt)))
    flops = {**count, "attention": count["attention"] + count["scores"], "other": 0.0}
    middle = {part: median(row[part] for row in rows) for part in PARTS}
    total = sum(middle.values()) or 1.0
    return {p: {"ms": middle[p] * 1e3, "share": middle[p] / total, "flops": flops.get(p, 0.0)} for p in PARTS}


@contextmanager
def _timed(net: Any, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds by part, added up by hooks while the block runs."""
    spent = dict.fromkeys(PARTS, 0.0)
    handles = []
    for module, part in _modules(net):
        began: list[float] = []

        def enter(_module: Any, _inputs: Any, at: list[float] = began) -> None:
            at.append(clock())

        def leave(_module: Any, _inputs: Any, _outputs: Any, at: list[float] = began, name: str = part) -> None:
            spent[name] += clock() - at.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def _modules(net: Any) -> Iterator[tuple[Any, str]]:
    yield net.get_input_embeddings(), "embedding"
    yield net.get_output_embeddings(), "head"
    for name, module in net.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in _ATTENTION:
            yield module, "attention"
        elif last in _FFN:
            yield module, "ffn"
