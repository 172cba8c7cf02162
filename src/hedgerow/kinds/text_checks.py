"""Whether arrays and tables out of a stranger's Pack are what a member can be made of; one line where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError


def need(found: Mapping[str, Any], must: Sequence[str], may: Sequence[str], where: str) -> None:
    """HedgerowError unless ``found`` has every name of ``must`` and none beyond ``may``."""
    missing = [name for name in must if name not in found]
    if missing:
        raise HedgerowError(f"{where}: '{missing[0]}' is missing")
    extra = sorted(set(found) - set(must) - set(may))
    if extra:
        raise HedgerowError(f"{where}: '{extra[0]}' belongs to no part of it")


def floats(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The array as float32, checked: real numbers, that shape, all finite."""
    if array.dtype.kind != "f":
        raise HedgerowError(f"{what} holds {array.dtype} where real numbers are expected")
    if array.shape != shape:
        raise HedgerowError(f"{what} has shape {list(array.shape)}, the rest of the Pack asks for {list(shape)}")
    with np.errstate(over="ignore"):
        out = array.astype(np.float32, copy=False)
    if not np.isfinite(out).all():
        beyond = np.isfinite(array).all()
        raise HedgerowError(f"{what} holds a value {'beyond float32' if beyond else 'that is not finite'}")
    return out


def integers(array: np.ndarray, below: int, what: str, rows: int | None = None, distinct: bool = False) -> np.ndarray:
    """The array as int64 [rows], checked: whole numbers within 0..below-1, all different when ``distinct``."""
    if array.dtype.kind not in "iu" or array.ndim != 1 or (rows is not None and len(array) != rows):
        expected = f"{rows} whole numbers" if rows is not None else "one list of whole numbers"
        raise HedgerowError(f"{what} has shape {list(array.shape)} of {array.dtype}, expected {expected}")
    if len(array) and (int(array.min()) < 0 or int(array.max()) >= below):
        raise HedgerowError(f"{what} points outside the {below} classes")
    if distinct and (not len(array) or len(np.unique(array)) != len(array)):
        raise HedgerowError(f"{what} must name at least one class, and each once")
    return array.astype(np.int64)


def terms(value: Any, where: str) -> list[str]:
    """A vocabulary: a list of different strings."""
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise HedgerowError(f"{where} is not a list of terms")
    if len(set(value)) != len(value):
        raise HedgerowError(f"{where} holds a term twice")
    return value
