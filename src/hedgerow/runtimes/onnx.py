"""ONNX Runtime as an engine: open a graph that was checked first, run it on a stated number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.runtimes.cpu import described
from hedgerow.runtimes.onnx_guard import check_graph


class Graph:
    """An open ONNX graph. Built by :func:`open_graph`."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # faults come back as exceptions; the library's own log would double them
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.path = path
        self.bytes = path.stat().st_size
        self.inputs = {i.name: (i.type, tuple(i.shape)) for i in self._session.get_inputs()}
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in the graph's order. Raises HedgerowError when the graph refuses its inputs."""
        try:
            return list(self._session.run(None, dict(feeds)))
        except Exception as e:
            raise HedgerowError(f"{self.path} cannot be run: {_first_line(e)}") from e

    def describe(self) -> dict[str, str]:
        """Library, version, providers and CPU features."""
        import onnxruntime as ort

        return described("onnxruntime", ort.__version__, providers=" ".join(self._session.get_providers()))


def open_graph(path: Path, threads: int, inputs: tuple[str, ...]) -> Graph:
    """Open ``path`` after :func:`check_graph`; ``inputs`` are the names it must ask for.

    Raises HedgerowError for a graph that is broken, asks for other inputs, holds custom operators or external data.
    """
    check_graph(path)
    try:
        graph = Graph(path, threads)
    except Exception as e:  # onnxruntime has a dozen classes of its own for this, without a common base
        raise HedgerowError(f"{path} is no graph that ONNX Runtime can open: {_first_line(e)}") from e
    if tuple(graph.inputs) != inputs:
        raise HedgerowError(f"{path} asks for the inputs {', '.join(graph.inputs)} instead of {', '.join(inputs)}")
    return graph


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
