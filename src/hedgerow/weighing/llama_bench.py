"""Rows in the columns of llama-bench's JSON, so that both can be laid side by side.

What this engine cannot tell is null; nothing is filled with a default that was not in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev
from typing import Any

from hedgerow.cost import Cost, formulas

FIELDS = (
    "build_commit", "build_number", "cpu_info", "gpu_info", "backends", "model_filename", "model_type",
    "model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "cpu_mask", "cpu_strict", "poll",
    "type_k", "type_v", "n_gpu_layers", "n_cpu_moe", "split_mode", "main_gpu", "no_kv_offload", "flash_attn",
    "devices", "tensor_split", "tensor_buft_overrides", "load_mode", "lazy_mode", "embeddings", "no_op_offload",
    "no_host", "repack", "fit_target", "fit_min_ctx", "n_prompt", "n_gen", "n_depth", "test_time", "avg_ns",
    "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts",
)  # fmt: skip


def records(costs: Iterable[Cost], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """One record for each prefill and decode row of one sequence; ``names``: digest -> file or Pack.

    A decode row of ours holds single steps at depths depth + prompt and on: n_gen = new tokens at n_depth = depth +
    prompt. As there, a time is that of all n_gen tokens: each ``new`` steps that follow each other are one sample.
    """
    return [
        _record(c, names) for c in costs if c.phase in ("prefill", "decode") and c.batch == 1 and "prompt" in c.size
    ]


def _record(c: Cost, names: Mapping[str, str]) -> dict[str, Any]:
    prefill = c.phase == "prefill"
    tokens = c.size["prompt"] if prefill else c.size.get("new", 1)
    whole = list(c.samples_ms) if prefill else _generations(c.samples_ms, tokens)
    mean_ms = c.mean_ms if prefill else c.mean_ms * tokens
    samples = [round(ms * 1e6) for ms in whole]
    rates = [tokens / (ms / 1e3) for ms in whole if ms > 0]
    known: dict[str, Any] = {
        "build_commit": c.runtime.get("version"),
        "cpu_info": c.device.cpu,
        "backends": "CPU" if c.runtime.get("library") == "llama.cpp" else c.runtime.get("library"),
        "model_filename": names.get(c.pack, c.pack[:12]),
        "model_type": c.variant,
        "model_size": formulas.weight_bytes(c.weights) if c.weights else c.weights_bytes,
        "model_n_params": c.weights.elements if c.weights else None,
        "n_ubatch": c.options.get("ubatch"),
        "n_threads": c.threads,
        "type_k": c.options.get("cache_k"),
        "type_v": c.options.get("cache_v"),
        "n_gpu_layers": 0,
        "flash_attn": {"on": 1, "off": 0}.get(c.runtime.get("flash", "")),
        "repack": c.runtime.get("repacked") != "off" if "repacked" in c.runtime else None,
        "n_prompt": c.size["prompt"] if prefill else 0,
        "n_gen": 0 if prefill else tokens,
        "n_depth": c.size.get("depth", 0) + (0 if prefill else c.size["prompt"]),
        "test_time": c.when,
        "avg_ns": round(mean_ms * 1e6),
        "stddev_ns": round(stdev(samples)) if len(samples) > 1 else 0,
        "avg_ts": sum(rates) / len(rates) if rates else tokens / (mean_ms / 1e3),
        "stddev_ts": stdev(rates) if len(rates) > 1 else 0.0,
        "samples_ns": samples,
        "samples_ts": rates,
    }
    return {name: known.get(name) for name in FIELDS}


def _generations(steps: Sequence[float], new: int) -> list[float]:
    """Sums of each ``new`` single steps that follow each other; what is left over at the end is no whole generation."""
    return [sum(steps[i : i + new]) for i in range(0, len(steps) - new + 1, new)]
