"""Images on their way into a net, and the two forms (torch, ONNX) that every net on images has."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.arrays import headers, need, need_finite
from hedgerow.pack import Pack
from hedgerow.runtimes import runnable

MAX_PIXELS = 16_000_000
FORMS = ("onnx",)  # dynamic int8 of ONNX Runtime quantises matrix products, and these nets are convolutions
FILE = "model.onnx"

Forward = Callable[[np.ndarray], np.ndarray]  # [n, C, H, W] float32 -> logits


class Layer(NamedTuple):
    """One convolution or linear layer: enough to know its arrays and its operations."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    transposed: bool = False
    linear: bool = False
    scale: float = 1.0  # output positions for each input pixel of the net (transposed: input positions)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of weight and bias."""
        pair = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        weight = pair if self.linear else (*pair, self.kernel, self.kernel)
        return {f"{self.name}.weight": weight, f"{self.name}.bias": (self.outputs,)}

    def operations(self, pixels: int) -> float:
        """Operations for one image of ``pixels``, a multiply-add counted as two."""
        positions = 1.0 if self.linear else self.scale * pixels
        return 2.0 * self.inputs * self.outputs * self.kernel**2 * positions


# --- reading ---------------------------------------------------------------------------------------------------------
def read_image(row: Mapping[str, Any], base: Path) -> np.ndarray:
    """The image that a row's ``image`` names, relative to ``base``, as [H, W, C] float32 in 0…1."""
    if "image" not in row:
        raise HedgerowError(f"there is no column 'image'; the columns are {', '.join(map(str, row))}")
    name = row["image"]
    if not isinstance(name, str) or not name.strip():
        raise HedgerowError("the file name of the image is empty")
    return as_image(base / name)


def as_image(image: Any) -> np.ndarray:
    """A path (.npy, or what Pillow reads) or an array [H, W] or [H, W, C] as [H, W, C] float32 in 0…1.

    Whole numbers are taken to lie in 0…255, others in 0…1. Raises HedgerowError for anything else.
    """
    array = _from_file(Path(image)) if isinstance(image, str | Path) else image
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif" or array.ndim not in (2, 3) or not array.size:
        raise HedgerowError("an image is an array [height, width] or [height, width, channels] of numbers, or a file")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        raise HedgerowError(f"an image has 1, 3 or 4 channels, this one {array.shape[2]}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise HedgerowError(
            f"the image has {array.shape[0] * array.shape[1]:,} pixels; at most {MAX_PIXELS:,} are read"
        )
    if not np.isfinite(array).all():
        raise HedgerowError("the image holds values that are not finite numbers")
    values = array.astype(np.float32) / (1.0 if array.dtype.kind == "f" else 255.0)
    return values[:, :, None] if values.ndim == 2 else values


def _from_file(path: Path) -> np.ndarray:
    try:
        there = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # no such file; a name too long or with a zero byte
        there = False
    if not there:
        raise HedgerowError(f"{str(path)[:200]}: there is no such image")
    if path.suffix == ".npy":
        try:  # mapped, so that a file that claims more than it holds fails before anything is allocated
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as e:  # its header is parsed as Python text, which fails in many ways
            raise HedgerowError(f"{path} is not a readable .npy image: {type(e).__name__} {e}") from e
        return np.asarray(mapped) if mapped.size <= 4 * MAX_PIXELS else np.empty((MAX_PIXELS, 2))
    try:
        from PIL import Image
    except ImportError as e:
        raise HedgerowError(f"{path}: reading this image needs Pillow (pip install pillow); .npy works without") from e
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB"))
    except Exception as e:  # Pillow fails in as many ways as a picture can be broken, or too large
        raise HedgerowError(f"{path} is not a readable image: {type(e).__name__} {e}") from e


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, C] with 1 or 3 channels: grey is repeated, colours are weighted as ITU-R BT.601 does, alpha is dropped."""
    colours = image[:, :, :3]
    if channels == 1 and colours.shape[2] == 3:
        return np.asarray(colours @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32))
    return np.repeat(colours, 3, axis=2) if channels == 3 and colours.shape[2] == 1 else colours


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, C] -> [height, width, C], bilinear, pixel centres aligned as torch does with align_corners=False."""
    for axis, size in ((0, height), (1, width)):
        have = image.shape[axis]
        if have == size:
            continue
        at = np.clip((np.arange(size) + 0.5) * have / size - 0.5, 0, have - 1)
        low = np.floor(at).astype(np.int64)
        part = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        above = np.take(image, np.minimum(low + 1, have - 1), axis=axis)
        image = np.take(image, low, axis=axis) * (1 - part) + above * part
    return image


def sample_image(pixels: int, seed: int) -> np.ndarray:
    """A square RGB image of about that many pixels, uint8 noise; the same for the same seed."""
    side = max(1, round(pixels**0.5))
    return np.random.default_rng([seed, pixels]).integers(0, 256, (side, side, 3), dtype=np.uint8)


# --- forms -----------------------------------------------------------------------------------------------------------
def check_arrays(pack: Pack, layers: Sequence[Layer], norms: Mapping[str, int]) -> None:
    """Whether the Pack holds exactly the arrays of these layers and normalisations (name -> channels)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        shapes |= layer.shapes
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    need(headers(pack.file("weights.safetensors")), shapes, str(pack.path / "weights.safetensors"))


def variants(pack: Pack) -> tuple[str, ...]:
    """'torch', and what export added."""
    return ("torch", *(form for form in FORMS if form in pack.variants))


def disk_bytes(pack: Pack, variant: str) -> int:
    """The files that this form reads."""
    if variant not in FORMS:
        return pack.bytes
    return pack.variant_bytes(variant) + sum(pack.file(n).stat().st_size for n in ("model.json", "labels.json"))


def filled(pack: Pack, net: Any) -> Any:
    """The torch net with the Pack's arrays, in evaluation mode."""
    import torch

    arrays = pack.arrays()
    need_finite(arrays, str(pack.path))
    net.load_state_dict({name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}, strict=True)
    return net.eval()


def open_form(pack: Pack, variant: str, threads: int, net: Callable[[], Any]) -> tuple[Forward, dict[str, str], int]:
    """(forward, runtime, bytes of the weights) of one form; ``net`` builds the torch module with its weights."""
    if variant not in variants(pack):
        raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, variants(pack))}")
    if (missing := runnable(variant)) is not None:
        raise HedgerowError(missing)
    return (
        onnx_form(pack.variant_folder(variant) / FILE, threads)
        if variant in FORMS
        else _torch_form(net(), str(pack.path), threads)
    )


def onnx_form(path: Path, threads: int) -> tuple[Forward, dict[str, str], int]:
    """The same for a graph."""
    from hedgerow.runtimes.onnx import open_graph

    graph = open_graph(path, threads, ("images",))
    return lambda x: graph.run({"images": x})[0], graph.describe(), graph.bytes


def _torch_form(module: Any, where: str, threads: int) -> tuple[Forward, dict[str, str], int]:
    from hedgerow.runtimes.torch import describe, running

    def forward(x: np.ndarray) -> np.ndarray:
        with running(where, threads) as torch:
            logits: np.ndarray = module(torch.from_numpy(x)).numpy()
        return logits

    return forward, describe(), sum(p.numel() * p.element_size() for p in module.parameters())


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) / sum exp(x) along ``axis``."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))
