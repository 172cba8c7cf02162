"""Torch module -> ONNX file, and its int8 form; used by every kind that exports."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.pack import Pack, VariantInfo, add_variant
from hedgerow.runtimes.onnx_guard import check_graph

FORMS = ("onnx", "onnx-int8")
FILE = "model.onnx"
_QUANTISED = ("MatMul",)
_MOST = 1_900_000_000  # bytes; a protocol buffer ends at 2 GiB, and a Pack keeps its tensors inside the graph


def export_graph(
    module: Any, inputs: Mapping[str, Any], free: Mapping[str, Mapping[int, tuple[str, int]]], path: Path
) -> None:
    """Write ``module`` as one self-contained ONNX file.

    ``inputs``: name -> example tensor, in the order of ``forward``. ``free``: name -> {axis: (symbol, step)} for
    axes whose length may be any multiple of ``step``, equal where the symbol is equal; the other axes are fixed.
    """
    import torch

    size = sum(t.numel() * t.element_size() for t in module.parameters())
    if size > _MOST:
        raise HedgerowError(f"these weights take {size:,} bytes; an ONNX file inside a Pack holds at most {_MOST:,}")
    symbols = {name: torch.export.Dim(name) for axes in free.values() for name, _ in axes.values()}
    shapes = tuple(
        {axis: symbols[s] if step == 1 else step * symbols[s] for axis, (s, step) in free.get(name, {}).items()}
        for name in inputs
    )
    with torch.no_grad(), warnings.catch_warnings(), _silent("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter's notes on its own internals
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            dynamo=True,
            dynamic_shapes=shapes,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    _without_traces(path)
    check_graph(path)


def _without_traces(path: Path) -> None:
    """Take out what the exporter notes of this machine: stack traces, with the paths of its files."""
    import onnx

    model = onnx.load(path)
    graphs: list[Any] = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for part in graphs:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8 weights of the matrix products, one scale a channel (one scale a matrix gave cosines of 0.88)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent(None):  # it advises a pre-processing step that changes nothing for these graphs
        quantize_dynamic(
            source, target, per_channel=True, op_types_to_quantize=list(_QUANTISED), weight_type=QuantType.QInt8
        )


@contextmanager
def _silent(logger: str | None) -> Iterator[None]:
    """Only errors of that logger (None: the root) inside the block."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def add_form(
    pack: Pack,
    to: str,
    graph: Callable[[Path], None],
    answers: Callable[[Path | None], np.ndarray],
    forms: Sequence[str] = FORMS,
) -> Pack:
    """Add ``onnx`` or ``onnx-int8`` to a Pack and note in it how far its answers lie from those of the base form.

    ``graph(path)`` writes the float graph; ``answers(path)`` asks a graph (None: the base form) a fixed small batch
    and gives [n, d] numbers. Raises HedgerowError for another form, or when [build] is not installed.
    """
    if to not in forms:
        raise HedgerowError(f"{pack.info.kind} cannot be exported to '{to}'{did_you_mean(to, forms)}")
    try:
        import onnx
        import onnxruntime
        import torch
    except ImportError as e:
        raise HedgerowError(f"export needs {e.name}: pip install 'hedgerow[build]'") from e
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    info = VariantInfo(
        runtime="onnx",
        of=pack.digest,
        quantisation="int8, dynamic, per channel: " + ", ".join(_QUANTISED) if to == "onnx-int8" else "",
        made_with=versions,
    )

    def fill(folder: Path) -> None:
        target = folder / FILE
        if to == "onnx":
            graph(target)
        else:
            have = pack.variant_folder("onnx") / FILE if "onnx" in pack.variants else folder / "float.onnx"
            if "onnx" not in pack.variants:
                graph(have)
            quantise(have, target)
            (folder / "float.onnx").unlink(missing_ok=True)
        info.details.update(_distance(answers(None), answers(target)))

    return add_variant(pack, to, info, fill)


def _distance(base: np.ndarray, form: np.ndarray) -> dict[str, float]:
    base, form = base.reshape(len(base), -1).astype(np.float64), form.reshape(len(form), -1).astype(np.float64)
    scale = np.linalg.norm(base, axis=1) * np.linalg.norm(form, axis=1)
    cosine = (base * form).sum(axis=1) / np.maximum(scale, 1e-12)
    return {
        "least_cosine_to_base": round(float(cosine.min()), 6),
        "largest_difference": float(np.abs(base - form).max()),
    }
