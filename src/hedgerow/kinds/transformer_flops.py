"""Floating point operations of a transformer by closed formula: the matrix products, a multiply-add counted as two."""

from __future__ import annotations

from hedgerow.cost import Geometry, formulas
from hedgerow.kinds.base import Flops

COVER = (
    "formula: all matrix products with padding, attention as the full square; "
    "not embedding lookups, normalisation, activations, softmax"
)


def forward(sizes: Geometry, rows: int, new: int, past: float = 0, logits: int = 0) -> float:
    """Operations of one call over ``rows`` sequences of ``new`` tokens after ``past`` cached ones.

    F = 2 S B + 2 R V d + 4 L H h S (P0 + S) for each sequence (:func:`hedgerow.cost.formulas.flops`), with S = new,
    P0 = past, R = ``logits`` rows of logits. Equals torch's FlopCounterMode with eager attention exactly (its fused
    attention is not counted there).
    """
    return rows * formulas.flops(sizes, new, past, logits)


def flops(sizes: Geometry, rows: int, new: int, past: float = 0, logits: int = 0) -> Flops:
    """:func:`forward` with what it covers."""
    return Flops(forward(sizes, rows, new, past, logits), COVER)
