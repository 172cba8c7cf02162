"""The 4-bit encoder: a file that the test writes comes back as its weights; a cut one is one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hedgerow.data.e5 import read_e5
from hedgerow.errors import HedgerowError

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁que", "ry", ":", "▁rice", "▁", "x", "▁fish"]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -2.5, -1.5, -3.0, -4.0, -6.0, -3.5]
WIDTH, LAYERS, HEADS, INNER, ROWS, POSITIONS = 32, 1, 2, 64, 13, 16
REWRITES = {"\x01": "", "\t": " ", "\u00a0": " ", "ﬁ": "fi"}


def block(values: np.ndarray) -> bytes:
    """32 weights in 4 bits, written value by value."""
    scale = np.float16(np.abs(values).max() / 7 or 1.0)
    q = np.clip(np.round(values / np.float32(scale)) + 8, 0, 15).astype(int)
    return scale.tobytes() + bytes(int(q[j]) | int(q[j + 16]) << 4 for j in range(16))


def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    found = {"emb.word": some(ROWS, WIDTH), "emb.pos": some(POSITIONS, WIDTH), "emb.type": some(2, WIDTH)}
    for name, shape in {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH),
                        "fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}.items():  # fmt: skip
        found |= {f"l0.{name}.w": some(*shape), f"l0.{name}.b": some(shape[0])}
    for name in ("emb.ln", "l0.aln", "l0.oln"):
        found |= {f"{name}.w": some(WIDTH), f"{name}.b": some(WIDTH)}
    return found


def write(path: Path, found: dict[str, np.ndarray]) -> Path:
    out = b"E5S1" + struct.pack("<8ifi", 1, WIDTH, LAYERS, HEADS, INNER, ROWS, POSITIONS, 2, 1e-12, 32)
    text = [p.encode() for p in PIECES]
    out += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    out += struct.pack(f"<{len(text) + 1}I", *np.cumsum([0, *map(len, text)]).tolist())
    out += struct.pack(f"<{len(text)}f", *SCORES) + b"".join(text)
    table = b"".join(struct.pack(f"<IB{len(v)}I", ord(c), len(v), *map(ord, v)) for c, v in sorted(REWRITES.items()))
    out += struct.pack("<iI", len(REWRITES), len(table)) + table
    four_bit = {n for n in found if n.endswith(("q.w", "k.w", "v.w", "ao.w", "fi.w", "fo.w")) or n == "emb.word"}
    data = {
        n: b"".join(block(row) for row in a.reshape(-1, 32)) if n in four_bit else a.tobytes() for n, a in found.items()
    }
    directory = 4 + sum(2 + len(n) + 21 for n in found)
    at = len(out) + directory
    out += struct.pack("<i", len(found))
    for name, array in found.items():
        out += struct.pack("<H", len(name)) + name.encode()
        out += struct.pack("<BIQQ", name in four_bit, array.size, at, len(data[name]))
        at += len(data[name])
    path.write_bytes(out + b"".join(data.values()))
    return path


def test_weights_come_back_within_half_a_step(tmp_path: Path) -> None:
    found = tensors(np.random.default_rng(0))
    e5 = read_e5(write(tmp_path / "e5.bin", found))
    words = e5.arrays["embeddings.word_embeddings.weight"]
    assert words.shape == (len(PIECES), WIDTH) and words.dtype == np.float32
    steps = np.abs(found["emb.word"]).max(axis=1, keepdims=True) / 7
    assert (np.abs(words - found["emb.word"][: len(PIECES)]) <= steps[: len(PIECES)] * 0.51).all()
    outer = e5.arrays["encoder.layer.0.output.dense.weight"]
    assert outer.shape == (WIDTH, INNER) and np.corrcoef(outer.ravel(), found["l0.fo.w"].ravel())[0, 1] > 0.99
    exact = e5.arrays["encoder.layer.0.attention.output.LayerNorm.weight"]
    assert np.array_equal(exact, found["l0.aln.w"])


def test_the_arrays_are_those_of_a_bert_and_nothing_is_missing(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    e5 = read_e5(write(tmp_path / "e5.bin", tensors(np.random.default_rng(1))))
    config = BertConfig(**{k: v for k, v in e5.config.items() if k != "model_type"})
    net = BertModel(config, add_pooling_layer=False)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in e5.arrays.items()}, strict=True)
    assert config.layer_norm_eps == pytest.approx(1e-12) and config.pad_token_id == 1


def test_the_tokenizer_cuts_by_score_and_sets_the_prefix(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    e5 = read_e5(write(tmp_path / "e5.bin", tensors(np.random.default_rng(2))))
    tokenizer = Tokenizer.from_str(e5.tokenizer)
    assert tokenizer.encode("rice").tokens == ["<s>", "▁que", "ry", ":", "▁rice", "</s>"]
    assert tokenizer.encode(" ﬁsh\t\x01rice\u00a0x ").tokens[4:-1] == ["▁fish", "▁rice", "▁", "x"]
    assert tokenizer.encode("").tokens == ["<s>", "▁que", "ry", ":", "</s>"]
    whole = tokenizer.encode("query: rice", add_special_tokens=False)
    assert whole.ids == tokenizer.encode("rice").ids[1:-1]
    assert json.loads(e5.tokenizer)["model"]["vocab"][4] == ["▁que", -2.0]


def test_a_cut_or_foreign_file_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "e5.bin", tensors(np.random.default_rng(3)))
    data = path.read_bytes()
    for cut in (0, 3, 40, 60, 200, 400, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(HedgerowError, match="not a whole file of 4-bit e5 weights"):
            read_e5(path)
    path.write_bytes(data[:4] + b"\x02" + data[5:])
    with pytest.raises(HedgerowError, match="version 2"):
        read_e5(path)
