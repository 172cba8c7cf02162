"""Kinds on images: reading, resizing, operations against torch's counter, masks as run lengths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from hedgerow.errors import HedgerowError
from hedgerow.kinds import image_classifier, images, segmenter
from hedgerow.kinds.image_classifier import ImageModel
from hedgerow.kinds.segmenter import SegmenterModel
from hedgerow.nets.convnet import ConvNet
from hedgerow.nets.unet import UNet


def counted(net: Any, shape: tuple[int, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(shape))
    return int(counter.get_total_flops())


# --- nets -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("channels", "widths", "height", "width"), [(3, (8,), 32, 32), (1, (4, 6, 8), 17, 30), (3, (5, 7), 2, 3)]
)
def test_operations_and_arrays_of_the_classifier(
    channels: Any, widths: tuple[int, ...], height: int, width: int
) -> None:
    model = ImageModel(channels=channels, widths=widths, height=height, width=width)
    layers, net = image_classifier.layers(model, 5), ConvNet(channels, widths, 5)
    assert sum(x.operations(height * width) for x in layers) == pytest.approx(
        counted(net, (1, channels, height, width))
    )
    shapes = {n: s for x in layers for n, s in x.shapes.items()}
    assert shapes == {n: tuple(v.shape) for n, v in net.state_dict().items() if "norm" not in n}


@pytest.mark.parametrize(("width", "depth", "side"), [(4, 1, 8), (3, 2, 16), (2, 4, 32)])
def test_operations_and_arrays_of_the_segmenter(width: int, depth: int, side: int) -> None:
    model = SegmenterModel(channels=1, width=width, depth=depth)
    layers, net = segmenter.layers(model, 3), UNet(1, 3, width, depth)
    assert sum(x.operations(side * side) for x in layers) == pytest.approx(counted(net, (1, 1, side, side)))
    shapes = {n: s for x in layers for n, s in x.shapes.items()}
    assert shapes == {n: tuple(v.shape) for n, v in net.state_dict().items() if "norm" not in n}


def test_a_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    """Whatever the size is, also one that the net cannot halve; and the padding does not leak into another place."""
    engine = segmenter.KIND.load(tiny.segmenter(tmp_path), "torch", 1)
    for shape in ((1, 1), (4, 4), (5, 7), (31, 2)):
        image = np.random.default_rng(0).random(shape)
        answer = engine.predict([image], {})[0]
        assert (answer["height"], answer["width"]) == shape
        mask = segmenter.from_run_lengths(answer["mask"], *shape)
        assert [c["pixels"] for c in answer["classes"]] == [int((mask == k).sum()) for k in range(3)]
        assert np.array_equal(mask, engine.logits(image).argmax(axis=0))
    exact = np.random.default_rng(1).random((8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = segmenter._net(tiny.segmenter(tmp_path / "b"))(torch.from_numpy((exact[None, None] - 0.5) / 0.5))[0]
    assert np.allclose(engine.logits(exact), wanted.numpy(), atol=1e-6)


@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)))
def test_run_lengths_read_back(mask: np.ndarray) -> None:
    runs = segmenter.run_lengths(mask)
    assert np.array_equal(segmenter.from_run_lengths(runs, *mask.shape), mask)
    assert sum(runs[1::2]) == mask.size and all(a != b for a, b in zip(runs[::2], runs[2::2], strict=False))


# --- reading ----------------------------------------------------------------------------------------------------------
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


@given(
    image=hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_resizing_equals_that_of_torch(image: np.ndarray, height: int, width: int) -> None:
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(image.transpose(2, 0, 1)[None].copy()), (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    assert np.allclose(images.resize(image, height, width).transpose(2, 0, 1), wanted, atol=1e-5)


def test_files_and_arrays_give_the_same(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    wanted = pixels / np.float32(255)
    for one in (tmp_path / "a.png", str(tmp_path / "a.npy"), pixels, wanted):
        assert np.allclose(images.as_image(one), wanted)
    assert np.allclose(images.as_image(tmp_path / "grey.png"), wanted[:, :, :1])
    assert np.allclose(images.read_image({"image": "a.png"}, tmp_path), wanted)


def test_channels() -> None:
    colours = np.array([[[1.0, 0.5, 0.25, 0.0]]], dtype=np.float32)
    assert images.with_channels(colours, 3).tolist() == [[[1.0, 0.5, 0.25]]]
    assert images.with_channels(colours, 1)[0, 0, 0] == pytest.approx(0.299 + 0.5 * 0.587 + 0.25 * 0.114)
    assert images.with_channels(colours[:, :, :1], 3).tolist() == [[[1.0, 1.0, 1.0]]]


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((4, 4), np.uint8))
    whole = (tmp_path / "good.npy").read_bytes()
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    bad = {
        "cut.npy": whole[:-3], "empty.npy": b"", "not.npy": b"hello",
        "cut.png": (tmp_path / "good.png").read_bytes()[:60],
        "empty.png": b"", "text.jpg": b"hello",
        "huge.npy": whole.replace(b"(4, 4), }          ", b"(90000, 90000000), }"),
        "object.npy": whole.replace(b"'|u1'", b"'|O' "),
    }  # fmt: skip
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(HedgerowError, match=name.replace(".", r"\.")) as caught:
            images.as_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "folder.png").mkdir()
    for name in ("folder.png", "nowhere.png", "x" * 5000, "a\0b"):
        with pytest.raises(HedgerowError, match="no such image"):
            images.as_image(str(tmp_path / name))


def test_a_file_that_claims_too_many_pixels(tmp_path: Path) -> None:
    wide = np.lib.format.open_memmap(tmp_path / "wide.npy", mode="w+", dtype=np.uint8, shape=(2, 40_000_000))
    del wide
    with pytest.raises(HedgerowError, match="pixels; at most"):
        images.as_image(tmp_path / "wide.npy")
    with pytest.raises(HedgerowError, match="pixels; at most"):
        images.as_image(np.zeros((5000, 5000), np.uint8))


@pytest.mark.parametrize("bad", [
    np.zeros(4), np.zeros((2, 2, 2)), np.zeros((0, 4)), np.zeros((2, 2, 3, 1)), np.array([["a"]]),
    np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.zeros((2, 2), complex), None, 7, [[1, 2], [3, 4]],
])  # fmt: skip
def test_arrays_that_are_no_picture(bad: Any) -> None:
    with pytest.raises(HedgerowError):
        images.as_image(bad)


def test_without_pillow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros((3, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(HedgerowError, match="pip install pillow"):
        images.as_image(tmp_path / "a.png")
    assert images.as_image(tmp_path / "a.npy").shape == (3, 3, 1)


# --- answers ----------------------------------------------------------------------------------------------------------
def test_the_classifier_by_hand(tmp_path: Path) -> None:
    pack = tiny.image_classifier(tmp_path)
    engine = image_classifier.KIND.load(pack, "torch", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (17, 16, 3), dtype=np.uint8)  # its own size: no resizing
    with torch.no_grad():
        x = torch.from_numpy((pixels / np.float32(255) - 0.5) / 0.5).permute(2, 0, 1)[None]
        wanted = image_classifier._net(pack)(x).softmax(-1)[0].numpy()
    assert np.allclose(engine.probabilities([pixels])[0], wanted, atol=1e-6)
    answer = engine.predict([pixels], {"top": 2})[0]
    assert answer["class"] == ["oak", "hazel", "hawthorn"][int(wanted.argmax())] and len(answer["candidates"]) == 2
    assert answer["p"] == pytest.approx(float(wanted.max()), abs=1e-6)
    assert len(engine.predict([pixels] * 70, {"top": 99})) == 70


@pytest.mark.parametrize(
    "labels", [[], ["one"], ["a", "a", "b"], ["a", 3, "b"], {"a": 1}, ["a", "b"], ["a", "b", "c", "d"]]
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: Any) -> None:
    from hedgerow import files

    for make, which in ((tiny.image_classifier, image_classifier.KIND), (tiny.segmenter, segmenter.KIND)):
        pack = make(tmp_path / which.name)
        files.write_json(pack.path / "labels.json", labels)
        with pytest.raises(HedgerowError):
            which.check(pack)


@pytest.mark.parametrize("change", [
    {"widths": []}, {"widths": [8, 10**9]}, {"widths": [8, 0]}, {"mean": [0.1, 0.2]}, {"spread": [0.0]},
    {"channels": 2}, {"height": 0}, {"height": 10**9}, {"net": "resnet"}, {"widths": [8, 13]}, {"channels": 1},
])  # fmt: skip
def test_a_classifier_that_does_not_fit_its_arrays(tmp_path: Path, change: dict[str, Any]) -> None:
    from hedgerow import files

    pack = tiny.image_classifier(tmp_path)
    files.write_json(pack.path / "model.json", {**pack.json("model.json"), **change})
    with pytest.raises(HedgerowError):
        image_classifier.KIND.check(pack)
