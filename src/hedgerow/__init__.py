"""hedgerow grows small models for the devices people own: build them, weigh what they cost, place them.

Importing this package imports nothing heavy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "HedgerowError": "hedgerow.errors",
    "Pack": "hedgerow.pack",
    "Cost": "hedgerow.cost",
    "open": "hedgerow.kinds",
    "build": "hedgerow.systems",
    "weigh": "hedgerow.weighing",
    "Fleet": "hedgerow.placing",
    "place": "hedgerow.placing",
    "simulate": "hedgerow.placing",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hedgerow' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
