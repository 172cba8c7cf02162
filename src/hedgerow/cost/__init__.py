"""Cost: what was measured on a device, what a model's sizes say before anything runs, and what follows elsewhere.

``records`` holds the rows (:class:`Cost`, :class:`Device`), ``geometry`` and ``weights`` the sizes of a decoder,
``formats`` and ``formulas`` the closed forms, ``rates`` what a probe measures, ``predict`` the times that follow.
"""

from __future__ import annotations

from hedgerow.cost.geometry import Geometry, Latent
from hedgerow.cost.rates import Band, Rates
from hedgerow.cost.records import Cost, Device, Memory, latency_at, latest, scaled
from hedgerow.cost.weights import Tensor, Weights

__all__ = [
    "Band", "Cost", "Device", "Geometry", "Latent", "Memory", "Rates", "Tensor", "Weights", "latency_at", "latest",
    "scaled",
]  # fmt: skip
