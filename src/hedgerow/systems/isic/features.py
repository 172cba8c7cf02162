"""Vectors of a frozen trunk, computed once a text and kept in the user's cache.

One forward pass a text serves all splits, seeds and heads. The cache holds shards: safetensors files in which the texts
themselves travel beside their vectors, so a vector can never be paired with another text (we once saved keys apart, in
an order that hung on Python's hash seed, and nothing failed). A broken run loses one shard at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.kinds import open as open_model
from hedgerow.pack import Pack, read_arrays, write_arrays

SHARD = 2048  # texts in one file: about 3 MB of MiniLM vectors, under a minute of SmolLM2

Encode = Callable[[list[str]], np.ndarray]
Progress = Callable[[int, int], None]


def shard_folder(digest: str, form: str) -> Path:
    """Where the vectors of one form of one trunk are kept."""
    return files.cache_dir() / "features" / f"{digest[:16]}-{form}"


def load(folder: Path) -> tuple[list[str], np.ndarray]:
    """All cached texts and their vectors [n, d]; an unreadable shard is dropped, it is only a cache."""
    texts: list[str] = []
    parts: list[np.ndarray] = []
    for path in sorted(folder.glob("*.safetensors")):
        arrays = read_arrays(path)
        keys = json.loads(arrays["texts"].tobytes().decode())
        if len(keys) != len(arrays["vectors"]):
            path.unlink()
            continue
        texts += keys
        parts.append(arrays["vectors"].astype(np.float32))
    return texts, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def compute(folder: Path, texts: Sequence[str], encode: Encode, progress: Progress | None = None) -> np.ndarray:
    """Vectors [n, d] float32 of ``texts`` in their order, taken from the shards in ``folder`` or computed and kept.

    New texts are sorted by (length, text): batches are of even length, and the order does not hang on a hash seed.
    """
    known, vectors = load(folder)
    have = {text: row for row, text in enumerate(known)}
    fresh = sorted({t for t in texts if t not in have}, key=lambda t: (len(t), t))
    parts = [vectors] if len(known) else []
    for start in range(0, len(fresh), SHARD):
        chunk = fresh[start : start + SHARD]
        made = np.asarray(encode(chunk), np.float32)
        name = files.digest(chunk)[:16]
        keys = np.frombuffer(json.dumps(chunk, ensure_ascii=False).encode(), np.uint8)
        write_arrays(folder / f"{name}.safetensors", {"vectors": made, "texts": keys})
        for text in chunk:
            have[text] = len(have)
        parts.append(made)
        if progress:
            progress(min(start + SHARD, len(fresh)), len(fresh))
    stacked = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return stacked[[have[t] for t in texts]]


def of_pack(
    trunk: Pack, texts: Sequence[str], *, form: str = "torch", bf16: bool = False, threads: int = 1,
    progress: Progress | None = None,
) -> np.ndarray:  # fmt: skip
    """Cached vectors [n, d] of ``texts`` by a trunk Pack; ``bf16`` runs torch under autocast (3 times as fast here).

    The precision is part of the cache's key, since vectors of two precisions differ in the third digit.
    """
    folder = shard_folder(trunk.digest, form + ("-bf16" if bf16 else ""))
    engine: list[Any] = []  # loaded when the first text is missing, not before

    def encode(chunk: list[str]) -> np.ndarray:
        if not engine:
            engine.append(open_model(trunk, variant=form, threads=threads).engine)
        with _autocast(bf16):
            return np.asarray(engine[0].encode(chunk), np.float32)

    return compute(folder, texts, encode, progress)


def _autocast(on: bool) -> Any:
    if not on:
        return nullcontext()
    import torch

    return torch.autocast("cpu", torch.bfloat16)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one [n, d], so that a product is a cosine; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
