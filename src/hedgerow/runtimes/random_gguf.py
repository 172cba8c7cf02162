"""GGUF files with random weights: a model of any shape to measure cost with, never capability.

Written as the architecture ``llama`` without a vocabulary of words (speed needs numbers of tokens only), float16, then
in any other format by llama.cpp's own quantiser. Values repeat after a million: kernels do not look at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.cost import Geometry, formulas
from hedgerow.errors import HedgerowError
from hedgerow.runtimes.llama import quantise

_DRAWN = 1 << 20


def write(path: str | Path, sizes: Geometry, format: str = "f16", seed: int = 0) -> Path:
    """Write a random model of these sizes; returns the path.

    ``sizes`` must be of plain Llama form: one number of heads for all layers, gated FFN, no window, no latent.
    Raises HedgerowError for other sizes, an unknown format, or when gguf (to write) or llama.cpp (to quantise) is
    missing.
    """
    path = Path(path)
    plain = isinstance(sizes.heads, int) and isinstance(sizes.kv_heads, int) and isinstance(sizes.ffn, int)
    if not plain or not sizes.gated or sizes.window or sizes.latent or sizes.learned_positions or sizes.shared_ffn:
        raise HedgerowError("random weights are written for plain Llama shapes only: equal layers, gated, no window")
    wide = path.with_name(f".{path.stem}.f16.gguf")  # interrupted, no half of a file bears the final name
    try:
        _write_f16(wide, sizes, seed)
        if format == "f16":
            wide.replace(path)
        else:
            quantise(wide, path, format)
    finally:
        wide.unlink(missing_ok=True)
    return path


def _write_f16(path: Path, sizes: Geometry, seed: int) -> None:
    try:
        import gguf
    except ImportError as e:
        raise HedgerowError("writing a GGUF file needs gguf: pip install 'hedgerow[build]'") from e
    writer = gguf.GGUFWriter(path, "llama")
    _fields(writer, sizes)
    drawn = (np.random.default_rng(seed).standard_normal(_DRAWN) * 0.02).astype(np.float16)
    for tensor in formulas.tensors(sizes, "f16"):
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, np.ones(tensor.shape, np.float32))
        else:
            writer.add_tensor(tensor.name, np.resize(drawn, tensor.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _fields(writer: Any, sizes: Geometry) -> None:
    writer.add_name("random weights")
    writer.add_file_type(1)
    writer.add_context_length(sizes.positions)
    writer.add_embedding_length(sizes.width)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.ffn)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_key_length(sizes.head)
    writer.add_value_length(sizes.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(sizes.head)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(sizes.vocabulary)
    writer.add_tokenizer_model("none")
