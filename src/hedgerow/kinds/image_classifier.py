"""Image classifiers: an image -> one of some classes."""

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
from hedgerow.kinds.images import Layer
from hedgerow.kinds.onnx_export import add_form, export_graph
from hedgerow.pack import Info, Pack, create, open_pack, write_arrays
from hedgerow.schema import Record, check

_BATCH = 64


class ImageModel(Record):
    """``model.json`` of an image classifier."""

    net: Literal["convnet"] = "convnet"
    channels: Literal[1, 3] = 3
    widths: tuple[int, ...] = Field(min_length=1, max_length=10)
    height: int = Field(ge=2, le=2048)  # images are resized to this
    width: int = Field(ge=2, le=2048)
    mean: tuple[float, ...] = (0.5,)  # subtracted from values in 0…1, one for all channels or one for each
    spread: tuple[float, ...] = (0.5,)  # then divided by


def layers(model: ImageModel, classes: int) -> list[Layer]:
    """The layers of the net that hold arrays."""
    found, rows, columns, before = [], model.height, model.width, int(model.channels)
    for place, width in enumerate(model.widths):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2  # stride 2, padding 1
        scale = rows * columns / (model.height * model.width)
        found.append(Layer(f"convs.{place}", before, width, 3, scale=scale))
        before = width
    return [*found, Layer("head", before, classes, linear=True)]


class ImageEngine:
    """A loaded image classifier."""

    def __init__(
        self, pack: Pack, model: ImageModel, labels: list[str], form: tuple[images.Forward, dict[str, str], int]
    ) -> None:
        self._where, self._model, self._labels = str(pack.path), model, labels
        self._forward, self.runtime, self.weights_bytes = form

    def probabilities(self, inputs: Sequence[Any]) -> np.ndarray:
        """[n, classes] float32; an input is a path or an array (see ``images.as_image``)."""
        out = np.zeros((len(inputs), len(self._labels)), dtype=np.float32)
        for start in range(0, len(inputs), _BATCH):
            logits = self._forward(np.stack([self._ready(i) for i in inputs[start : start + _BATCH]]))
            if logits.shape[1:] != (len(self._labels),):
                raise HedgerowError(f"{self._where}: the net answers with {logits.shape[1:]} values for its labels")
            out[start : start + _BATCH] = images.softmax(answers_finite(logits, self._where), axis=1)
        return out

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``{class, p, candidates}`` per image."""
        top = max(1, min(int(options["top"]), len(self._labels)))
        answers = []
        for row in self.probabilities(inputs).astype(np.float64):
            order = np.argsort(-row, kind="stable")[:top].tolist()
            found = [{"class": self._labels[i], "p": round(float(row[i]), 6)} for i in order]
            answers.append({**found[0], "candidates": found})
        return answers

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """One phase: images in, probabilities out."""
        return [Phase("run", float(len(inputs)), partial(self.probabilities, list(inputs)))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula; images are resized, so their size does not matter."""
        pixels = self._model.height * self._model.width
        count = sum(layer.operations(pixels) for layer in layers(self._model, len(self._labels)))
        return Flops(batch * count, "formula: convolutions and linear layer; not resizing, normalisation, activations")

    def _ready(self, image: Any) -> np.ndarray:
        model = self._model
        scaled = images.resize(images.with_channels(images.as_image(image), model.channels), model.height, model.width)
        normal = (scaled - np.asarray(model.mean, np.float32)) / np.asarray(model.spread, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


class ImageClassifierKind:
    """Image -> class."""

    name = "image-classifier"
    summary = "tells which of some classes an image shows"
    unit = Unit(
        name="image",
        sizes=({"pixels": 1024}, {"pixels": 4096}, {"pixels": 65536}),
        make=lambda size, seed: images.sample_image(size["pixels"], seed),
        bytes_in=lambda size: 3 * size["pixels"],
        bytes_out=lambda size: 64,
    )
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "answer of an image classifier",
        "type": "object",
        "properties": {
            "class": {"type": "string"},
            "p": {"type": "number", "minimum": 0, "maximum": 1},
            "candidates": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "class": {"type": "string"},
                        "p": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                    "required": ["class", "p"],
                },
            },
        },
        "required": ["class", "p", "candidates"],
    }
    options: dict[str, Any] = {"top": 5}
    explains: dict[str, Any] = {}
    needs = ("image",)
    columns = ("class", "p", "candidates")
    metrics = ("accuracy",)

    def read(self, row: Mapping[str, Any], base: Path) -> np.ndarray:
        """The image that the row names."""
        return images.read_image(row, base)

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Class, probability, and the candidates as JSON text."""
        return {"class": answer["class"], "p": answer["p"], "candidates": json.dumps(answer["candidates"])}

    def line(self, answer: Mapping[str, Any]) -> str:
        """Class and probability, then the other candidates."""
        others = ", ".join(f"{c['class']} {c['p']:.2f}" for c in answer["candidates"][1:3])
        return f"{answer['class']} ({answer['p']:.2f}){'; ' + others if others else ''}"

    def check(self, pack: Pack) -> None:
        """Whether labels and arrays fit model.json."""
        model, labels = _model(pack), read_labels(pack)
        norms = {f"norms.{place}": width for place, width in enumerate(model.widths)}
        images.check_arrays(pack, layers(model, len(labels)), norms)

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """'torch', and 'onnx' once exported."""
        return images.variants(pack)

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """The files that this form reads."""
        return images.disk_bytes(pack, variant)

    def load(self, pack: Pack, variant: str, threads: int) -> ImageEngine:
        """Load one form."""
        form = images.open_form(pack, variant, threads, partial(_net, pack))
        return ImageEngine(pack, _model(pack), read_labels(pack), form)

    def export(self, pack: Pack, to: str) -> Pack:
        """Add 'onnx'."""
        model, labels = _model(pack), read_labels(pack)
        sample = [images.sample_image(4096, seed) for seed in range(4)]

        def graph(path: Path) -> None:
            import torch

            example = torch.zeros(2, model.channels, model.height, model.width)
            export_graph(_net(pack), {"images": example}, {"images": {0: ("batch", 1)}}, path)

        def answers(path: Path | None) -> np.ndarray:
            form = images.onnx_form(path, 1) if path else images.open_form(pack, "torch", 1, partial(_net, pack))
            return ImageEngine(pack, model, labels, form).probabilities(sample)

        return add_form(pack, to, graph, answers, forms=images.FORMS)


def _model(pack: Pack) -> ImageModel:
    where = str(pack.path / "model.json")
    model = check(ImageModel, pack.json("model.json"), where)
    bad = [w for w in model.widths if not 1 <= w <= 4096]
    if bad:
        raise HedgerowError(f"{where}: widths must lie between 1 and 4096 (got {bad[0]})")
    if not {len(model.mean), len(model.spread)} <= {1, model.channels} or 0 in model.spread:
        raise HedgerowError(f"{where}: mean and spread need one value, or one for each channel, and no spread of 0")
    return model


def read_labels(pack: Pack) -> list[str]:
    """Class names of ``labels.json``, in the order of the net's outputs; at least two, all different."""
    labels = pack.json("labels.json")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise HedgerowError(f"{pack.path / 'labels.json'} must be a list of class names")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise HedgerowError(f"{pack.path / 'labels.json'} must name at least two classes, each once")
    return labels


def _net(pack: Pack) -> Any:
    from hedgerow.nets.convnet import ConvNet

    model = _model(pack)
    return images.filled(pack, ConvNet(model.channels, model.widths, len(read_labels(pack))))


# --- making ----------------------------------------------------------------------------------------------------------
def save_image_classifier(path: str | Path, info: Info, model: ImageModel, labels: Sequence[str], net: Any) -> Pack:
    """Save a ``ConvNet`` as a Pack."""
    arrays = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    with create(path, info.model_copy(update={"kind": ImageClassifierKind.name}), check=KIND.check) as folder:
        files.write_json(folder / "model.json", model.model_dump(mode="json"))
        files.write_json(folder / "labels.json", list(labels))
        write_arrays(folder / "weights.safetensors", arrays)
    return open_pack(path, verify=False)


KIND = ImageClassifierKind()
