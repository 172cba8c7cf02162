"""Quantities with units, and the needs and limits that people write: ``accuracy>=0.55``, ``p95<=200ms``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hedgerow.errors import HedgerowError, did_you_mean

_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4}  # in milliseconds
_BYTES = {
    "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip
_UNITS = {"time": _TIMES, "bytes": _BYTES}
_EXAMPLES = {"time": "200ms", "bytes": "300MB", "money": "0.002", "score": "0.55"}

# What a limit may speak of: how the dimension is written, and what the number means.
LIMITS: dict[str, tuple[str, str]] = {
    "p50": ("time", "median time of one request on the device, alone on it, model loaded, network not counted"),
    "p95": ("time", "95th percentile of the same"),
    "reply_p50": ("time", "p50 plus the transfers from and to the farthest home, links idle"),
    "reply_p95": ("time", "p95 plus the same transfers"),
    "load": ("time", "time to load the model"),
    "memory": ("bytes", "peak memory of a process that holds the model"),
    "bytes": ("bytes", "what the form takes on disk, trunk included"),
    "cost": ("money", "money for one request: busy time and bytes at the owner's prices"),
}
_PATTERN = re.compile(r"^\s*([A-Za-z_][\w@-]*)(?:\.(low))?\s*(>=|<=|=>|=<|==|=|>|<)\s*(\S.*?)\s*$")


@dataclass(frozen=True)
class Constraint:
    """One need or limit: ``name`` (``.low`` with ``low_end``) at least or at most ``bound``, in ms, bytes, money or
    the metric's own unit."""

    name: str
    at_least: bool
    bound: float
    dimension: Literal["time", "bytes", "money", "score"]
    low_end: bool = False  # speaks of the low end of the metric's 95 % interval instead of its value

    @property
    def text(self) -> str:
        """As a person would write it."""
        return f"{self.label}{'>=' if self.at_least else '<='}{in_words(self.bound, self.dimension)}"

    @property
    def label(self) -> str:
        """The name with ``.low`` where it is meant."""
        return self.name + (".low" if self.low_end else "")

    def holds(self, value: float) -> bool:
        """Whether ``value`` satisfies it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def miss(self, value: float) -> str:
        """``p95 is 310 ms, 110 ms over``: by how much ``value`` misses the bound."""
        word = "short" if self.at_least else "over"
        gap = in_words(abs(value - self.bound), self.dimension)
        return f"{self.label} is {in_words(value, self.dimension)}, {gap} {word}"


def in_words(value: float, dimension: str) -> str:
    """``value`` with a unit that suits its size: 0.61, 210ms, 1.5s, 20min, 300MB."""
    if dimension == "time":
        if value >= 1e6:
            return f"{value / 6e4:.3g}min"
        return f"{value / 1e3:.3g}s" if value >= 1000 else f"{value:.3g}ms"
    if dimension == "bytes":
        for unit in ("GB", "MB", "kB"):
            if value >= _BYTES[unit]:
                return f"{value / _BYTES[unit]:.3g}{unit}"
        return f"{value:.0f}B"
    return f"{value:.6g}" if dimension == "money" else f"{value:.4g}"


def parse_size(value: object) -> int:
    """Bytes of ``'8GB'`` or a whole number; ValueError (for a checked record) otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("write bytes as '8GB', '300MB' or a whole number")
    if isinstance(value, str):
        try:
            value = _quantity(value, "bytes")
        except HedgerowError as e:
            raise ValueError(str(e)) from None
    if not (value > 0 and math.isfinite(value)):
        raise ValueError("a size must be a positive number of bytes")
    return round(value)


def _quantity(text: str, dimension: str) -> float:
    """A number with its unit; times and bytes must name one, so that 200 is never taken for seconds."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s].*)?", text.strip())
    if found is None:
        raise HedgerowError(f"'{text}' is no number with a unit; write for example {_EXAMPLES[dimension]}")
    number, unit = float(found[1]), found[2]
    units = _UNITS.get(dimension)
    if units is None:
        if unit == "%" and dimension == "score":
            return number / 100
        if unit is not None:
            raise HedgerowError(f"'{text}': a {dimension} has no unit; write for example {_EXAMPLES[dimension]}")
        return number
    if unit is None:
        raise HedgerowError(f"'{text}' has no unit; write for example {_EXAMPLES[dimension]}")
    if unit not in units:
        same = [name for name in units if name.lower() == unit.lower()]
        if len(same) == 1:
            return number * units[same[0]]
        raise HedgerowError(f"'{text}': unknown unit '{unit}'{did_you_mean(unit, units)}")
    return number * units[unit]


def _split(text: str, what: str, example: str) -> tuple[str, bool, bool, str]:
    found = _PATTERN.match(text)
    if found is None:
        raise HedgerowError(f"{what} '{text}' is not understood; write for example '{example}'")
    name, low, operator, bound = found.groups()
    if operator not in (">=", "<="):
        right = {"=>": ">=", ">": ">=", "=<": "<=", "<": "<="}.get(operator, ">= or <=")
        raise HedgerowError(f"{what} '{text}': write {right} instead of {operator}")
    return name, low is not None, operator == ">=", bound


def parse_needs(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """Needs on scores, ``accuracy>=0.55``, ``accuracy.low>=55%``, ``ece<=0.05``. Which metrics exist, the Packs say."""
    needs = []
    for text in texts:
        name, low, at_least, bound = _split(text, "need", "accuracy>=0.55")
        if name in LIMITS:
            raise HedgerowError(f"need '{text}': '{name}' is measured, not scored; write --limit '{text}'")
        if low and not at_least:
            raise HedgerowError(f"need '{text}': the low end of an interval can only be asked to be at least (>=)")
        needs.append(Constraint(name, at_least, _bound(text, "need", bound, "score"), "score", low))
    return tuple(needs)


def parse_limits(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """Limits on what a request may take: see :data:`LIMITS`; times and bytes need a unit."""
    limits = []
    for text in texts:
        name, low, at_least, bound = _split(text, "limit", "p95<=200ms")
        if name not in LIMITS:
            hint = did_you_mean(name, LIMITS)
            raise HedgerowError(f"limit '{text}': nothing called '{name}' is measured{hint}; scores belong to --need")
        if at_least or low:
            raise HedgerowError(f"limit '{text}': a limit says at most; write '{name}<={bound}'")
        dimension = LIMITS[name][0]
        limits.append(Constraint(name, False, _bound(text, "limit", bound, dimension), dimension))  # type: ignore[arg-type]
    return tuple(limits)


def _bound(text: str, what: str, bound: str, dimension: str) -> float:
    try:
        value = _quantity(bound, dimension)
    except HedgerowError as e:
        raise HedgerowError(f"{what} '{text}': {e}") from None
    if value < 0 and dimension != "score":
        raise HedgerowError(f"{what} '{text}': the bound is negative")
    return value


def tightest(constraints: Sequence[Constraint], names: Sequence[str]) -> float | None:
    """The smallest bound among limits of these names, None when there is none."""
    return min((c.bound for c in constraints if c.name in names and not c.at_least), default=None)
