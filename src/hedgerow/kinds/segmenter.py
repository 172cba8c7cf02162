"""Segmenters: an image -> one class per pixel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.kinds import images
from hedgerow.kinds.arrays import answers_finite
from hedgerow.kinds.base import Flops, Phase, Size, Unit
from hedgerow.kinds.image_classifier import read_labels
from hedgerow.kinds.images import Layer
from hedgerow.kinds.onnx_export import add_form, export_graph
from hedgerow.pack import Info, Pack, create, open_pack, write_arrays
from hedgerow.schema import Record, check


class SegmenterModel(Record):
    """``model.json`` of a segmenter."""

    net: Literal["unet"] = "unet"
    channels: Literal[1, 3] = 1
    width: int = Field(ge=1, le=512)  # channels of the first level; each deeper one has twice as many
    depth: int = Field(ge=1, le=6)  # halvings
    mean: float = 0.5  # subtracted from values in 0…1
    spread: float = Field(default=0.5, gt=0)  # then divided by


def layers(model: SegmenterModel, classes: int) -> list[Layer]:
    """The convolutions of the net."""
    widths = [model.width * 2**level for level in range(model.depth + 1)]
    found = []
    for level, (before, width) in enumerate(zip([model.channels, *widths[:-1]], widths, strict=True)):
        found += _block(f"down.{level}", before, width, 4.0**-level)
    for level, width in enumerate(widths[:-1]):
        found.append(Layer(f"up.{level}", 2 * width, width, 2, transposed=True, scale=4.0 ** -(level + 1)))
        found += _block(f"merge.{level}", 2 * width, width, 4.0**-level)
    return [*found, Layer("head", model.width, classes)]


def _block(name: str, before: int, width: int, scale: float) -> list[Layer]:
    return [Layer(f"{name}.conv1", before, width, 3, scale=scale), Layer(f"{name}.conv2", width, width, 3, scale=scale)]


def run_lengths(mask: np.ndarray) -> list[int]:
    """[H, W] classes, row by row, as [class, length, class, length, …]."""
    flat = mask.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [len(flat)]]))
    return np.stack([flat[starts], lengths], axis=1).reshape(-1).tolist()


def from_run_lengths(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask [H, W] that :func:`run_lengths` wrote."""
    pairs = np.asarray(runs, dtype=np.int64).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(height, width)


class Segmenter:
    """A loaded segmenter."""

    def __init__(
        self, pack: Pack, model: SegmenterModel, labels: list[str], form: tuple[images.Forward, dict[str, str], int]
    ) -> None:
        self._where, self._model, self._labels = str(pack.path), model, labels
        self._forward, self.runtime, self.weights_bytes = form

    def logits(self, image: Any) -> np.ndarray:
        """[classes, H, W] float32 of one image; its edges are repeated up to a size that the net can halve."""
        values = images.with_channels(images.as_image(image), self._model.channels)
        height, width = values.shape[:2]
        step = 2**self._model.depth
        padded = np.pad(values, ((0, -height % step), (0, -width % step), (0, 0)), mode="edge")
        normal = (padded - np.float32(self._model.mean)) / np.float32(self._model.spread)
        out = self._forward(np.ascontiguousarray(normal.transpose(2, 0, 1)[None], dtype=np.float32))
        if out.shape != (1, len(self._labels), *padded.shape[:2]):
            raise HedgerowError(f"{self._where}: the net answers with {out.shape} values for its labels and the image")
        return answers_finite(out[0, :, :height, :width], self._where)

    def masks(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """The class of each pixel, [H, W] int64, per image."""
        return [self.logits(i).argmax(axis=0) for i in inputs]

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``{height, width, classes, mask}`` per image; the mask as run lengths."""
        answers = []
        for mask in self.masks(inputs):
            pixels = np.bincount(mask.reshape(-1), minlength=len(self._labels)).tolist()
            classes = [
                {"class": label, "pixels": count, "share": round(count / mask.size, 6)}
                for label, count in zip(self._labels, pixels, strict=True)
            ]
            height, width = mask.shape
            answers.append({"height": height, "width": width, "classes": classes, "mask": run_lengths(mask)})
        return answers

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """One phase: images in, masks out."""
        return [Phase("run", float(len(inputs)), partial(self.masks, list(inputs)))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula, for a square image of that size, padded."""
        step = 2**self._model.depth
        side = -(-max(1, round(size["pixels"] ** 0.5)) // step) * step
        count = sum(layer.operations(side * side) for layer in layers(self._model, len(self._labels)))
        return Flops(batch * count, "formula: convolutions with padding; not normalisation, pooling, activations")


class SegmenterKind:
    """Image -> class of each pixel."""

    name = "segmenter"
    summary = "tells for each pixel of an image which of some classes it belongs to"
    unit = Unit(
        name="image",
        sizes=({"pixels": 1024}, {"pixels": 4096}, {"pixels": 65536}),
        make=lambda size, seed: images.sample_image(size["pixels"], seed),
        bytes_in=lambda size: 3 * size["pixels"],
        bytes_out=lambda size: size["pixels"],  # run lengths of a busy mask
    )
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "answer of a segmenter",
        "type": "object",
        "properties": {
            "height": {"type": "integer", "minimum": 1},
            "width": {"type": "integer", "minimum": 1},
            "classes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "class": {"type": "string"},
                        "pixels": {"type": "integer", "minimum": 0},
                        "share": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                    "required": ["class", "pixels", "share"],
                },
            },
            "mask": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "description": "row by row: place of a class in 'classes', number of pixels, and so on",
            },
        },
        "required": ["height", "width", "classes", "mask"],
    }
    options: dict[str, Any] = {}
    explains: dict[str, Any] = {}
    needs = ("image",)
    columns = ("main", "share", "height", "width", "mask")
    metrics = ("dice",)

    def read(self, row: Mapping[str, Any], base: Path) -> np.ndarray:
        """The image that the row names."""
        return images.read_image(row, base)

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The most frequent class with its share, the size, and the mask as JSON text."""
        main = max(answer["classes"], key=lambda c: c["pixels"])
        size = {"height": answer["height"], "width": answer["width"]}
        return {"main": main["class"], "share": main["share"], **size, "mask": json.dumps(answer["mask"])}

    def line(self, answer: Mapping[str, Any]) -> str:
        """The shares of the classes that occur, largest first."""
        found = sorted((c for c in answer["classes"] if c["pixels"]), key=lambda c: -c["pixels"])
        shares = ", ".join(f"{c['class']} {100 * c['share']:.1f} %" for c in found[:5])
        return f"{answer['height']}×{answer['width']} pixels: {shares}"

    def check(self, pack: Pack) -> None:
        """Whether labels and arrays fit model.json."""
        found = layers(_model(pack), len(read_labels(pack)))
        norms = {c.name.replace(".conv", ".norm"): c.outputs for c in found if ".conv" in c.name}
        images.check_arrays(pack, found, norms)

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """'torch', and 'onnx' once exported."""
        return images.variants(pack)

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """The files that this form reads."""
        return images.disk_bytes(pack, variant)

    def load(self, pack: Pack, variant: str, threads: int) -> Segmenter:
        """Load one form."""
        form = images.open_form(pack, variant, threads, partial(_net, pack))
        return Segmenter(pack, _model(pack), read_labels(pack), form)

    def export(self, pack: Pack, to: str) -> Pack:
        """Add 'onnx'."""
        model, labels = _model(pack), read_labels(pack)
        sample = images.sample_image(4096, 0)

        def graph(path: Path) -> None:
            import torch

            step = 2**model.depth
            example = torch.zeros(2, model.channels, 3 * step, 2 * step)
            free = {"images": {0: ("batch", 1), 2: ("rows", step), 3: ("columns", step)}}
            export_graph(_net(pack), {"images": example}, free, path)

        def answers(path: Path | None) -> np.ndarray:
            form = images.onnx_form(path, 1) if path else images.open_form(pack, "torch", 1, partial(_net, pack))
            return Segmenter(pack, model, labels, form).logits(sample)

        return add_form(pack, to, graph, answers, forms=images.FORMS)


def _model(pack: Pack) -> SegmenterModel:
    return check(SegmenterModel, pack.json("model.json"), str(pack.path / "model.json"))


def _net(pack: Pack) -> Any:
    from hedgerow.nets.unet import UNet

    model = _model(pack)
    return images.filled(pack, UNet(model.channels, len(read_labels(pack)), model.width, model.depth))


# --- making ----------------------------------------------------------------------------------------------------------
def save_segmenter(path: str | Path, info: Info, model: SegmenterModel, labels: Sequence[str], net: Any) -> Pack:
    """Save a ``UNet`` as a Pack; a label's place is its number in the mask."""
    arrays = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    with create(path, info.model_copy(update={"kind": SegmenterKind.name}), check=KIND.check) as folder:
        files.write_json(folder / "model.json", model.model_dump(mode="json"))
        files.write_json(folder / "labels.json", list(labels))
        write_arrays(folder / "weights.safetensors", arrays)
    return open_pack(path, verify=False)


KIND = SegmenterKind()
