"""What a stranger's safetensors file says of itself, read before anything of its size is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.pack import finite

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})


@dataclass(frozen=True)
class Header:
    """Type and shape of one array."""

    dtype: str  # as safetensors writes it: F32, BF16, I64, …
    shape: tuple[int, ...]


def headers(path: Path) -> dict[str, Header]:
    """Header of each array; the values are not read. Raises HedgerowError for a broken file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as f:
            slices = {name: f.get_slice(name) for name in f.keys()}  # noqa: SIM118 (no mapping)
            return {name: Header(str(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise HedgerowError(f"{path} is not a readable safetensors file: {e}") from e


def need(found: Mapping[str, Header], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Exactly the arrays of ``shapes``, all floating point; HedgerowError names the first that is not as it must be."""
    for name, shape in shapes.items():
        if name not in found:
            raise HedgerowError(f"{where} holds no array '{name}', which its net needs")
        have = found[name]
        if have.shape != tuple(shape):
            raise HedgerowError(f"{where}: array '{name}' is {_shape(have.shape)}, its net needs {_shape(shape)}")
        if have.dtype not in FLOATS:
            raise HedgerowError(f"{where}: array '{name}' holds {have.dtype} values instead of floating point numbers")
    extra = sorted(set(found) - set(shapes))
    if extra:
        raise HedgerowError(f"{where} holds the array '{extra[0]}', which its net does not know")


def need_finite(arrays: Mapping[str, Any], where: str) -> None:
    """HedgerowError naming the first array (numpy or torch) that holds NaN or infinity."""
    for name, array in arrays.items():
        if not (finite(array) if isinstance(array, np.ndarray) else _finite_tensor(array)):
            raise HedgerowError(f"{where}: array '{name}' holds values that are not finite numbers; refused")


def answers_finite(values: np.ndarray, where: str) -> np.ndarray:
    """``values`` when all are finite; a net that answers NaN has broken weights, and that is one line."""
    if not np.isfinite(values).all():
        raise HedgerowError(f"{where} answers with values that are not finite numbers; its weights are broken")
    return values


def _finite_tensor(tensor: Any) -> bool:
    import torch

    if not tensor.is_floating_point():
        return True
    return bool(tensor.sum(dtype=torch.float32).isfinite() or tensor.isfinite().all())


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
