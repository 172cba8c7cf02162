"""Small GGUF files for tests, written by the reference library or byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np


def llama(path: Path, layers: int = 2, width: int = 64, vocabulary: int = 96, **more: Any) -> Path:
    """A whole Llama of random F16 weights with 4 heads on 2, head size 16, FFN 96."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_feed_forward_length(96)
    writer.add_context_length(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list([f"token{i}" for i in range(vocabulary)])
    for key, value in more.items():
        writer.add_uint32(key.replace("__", "."), value)
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (0.02 * rng.standard_normal(shape)).astype(np.float16))

    add("token_embd.weight", vocabulary, width)
    for i in range(layers):
        add(f"blk.{i}.attn_q.weight", width, width)
        add(f"blk.{i}.attn_k.weight", width // 2, width)
        add(f"blk.{i}.attn_v.weight", width // 2, width)
        add(f"blk.{i}.attn_output.weight", width, width)
        add(f"blk.{i}.ffn_gate.weight", 96, width)
        add(f"blk.{i}.ffn_up.weight", 96, width)
        add(f"blk.{i}.ffn_down.weight", width, 96)
        writer.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def raw(tensors: int = 0, fields: int = 0, body: bytes = b"", version: int = 3, magic: bytes = b"GGUF") -> bytes:
    """A header with the counts it claims, whatever follows."""
    return magic + struct.pack("<IQQ", version, tensors, fields) + body


def tensor(name: str, shape: tuple[int, ...], kind: int = 1, offset: int = 0) -> bytes:
    """The description of one tensor; ``shape`` as the file writes it, columns first."""
    dims = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
    return text(name) + dims + struct.pack("<IQ", kind, offset)
