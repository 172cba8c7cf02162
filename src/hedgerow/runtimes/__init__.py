"""The engines that run a Pack's weights: numpy, ONNX Runtime, torch. One small file each.

A form's name begins with its runtime: 'numpy', 'torch', 'onnx', 'onnx-int8', 'gguf-q4_0' (llama.cpp).
"""

from __future__ import annotations

from importlib.util import find_spec

RUNTIMES = {
    "numpy": ("numpy", "pip install hedgerow"),
    "onnx": ("onnxruntime", "pip install hedgerow"),
    "torch": ("torch", "pip install 'hedgerow[build]'"),
    "gguf": ("cyllama", "pip install 'hedgerow[llama]'"),
}
_INSTEAD = {"gguf": "llama_cpp"}  # taken where it is installed: it was built for this very machine


def module_of(form: str) -> str:
    """The Python module that runs a form here."""
    name = runtime_of(form)
    other = _INSTEAD.get(name)
    return other if other is not None and find_spec(other) else RUNTIMES[name][0]


def runtime_of(form: str) -> str:
    """'onnx-int8' -> 'onnx'."""
    return form.split("-")[0]


def quantised(form: str) -> bool:
    """Whether a form holds other weights than the Pack's own ('onnx-int8'), so that it answers differently."""
    return runtime_of(form) != form


def runnable(form: str) -> str | None:
    """None when this installation can run the form, else what is missing and how to get it."""
    name = runtime_of(form)
    if name not in RUNTIMES:
        return f"no runtime is called '{name}'"
    module, install = module_of(form), RUNTIMES[name][1]
    return None if find_spec(module) else f"form '{form}' needs {module}: {install}"
