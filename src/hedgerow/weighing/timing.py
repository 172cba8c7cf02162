"""The timing core: which cells to measure, how long each may take, and what is said of the samples. No I/O.

One *cell* is (size, batch); a cell is warmed up, then **every call is timed** and none is averaged over a hidden loop
(a mean over n - 1 of n steps bends a flat curve; slm.md trap 1). The clock is an argument, so that tests own it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hedgerow import files
from hedgerow.kinds.base import Phase, Unit
from hedgerow.schema import Record

Grid = Literal["quick", "full"]
Clock = Callable[[], float]  # seconds


class Order(Record):
    """What one measuring process is asked to do: a line of JSON on its stdin."""

    pack: str  # folder
    variant: str
    threads: int = 1
    grid: Grid = "quick"
    seconds: float  # for everything, load included
    spawned: float  # time.monotonic() of the parent just before it started this process
    load_only: bool = False
    settings: dict[str, str | int | float | bool] = {}  # of loading: cache_k, ubatch, … (the kind's unit names them)
    done: tuple[str, ...] = ()  # digests of rows that need not be measured again, see :func:`row_key`


def row_key(
    phase: str, size: Mapping[str, int], batch: int, options: Mapping[str, Any], runtime: Mapping[str, str]
) -> str:
    """What tells two rows of one form, device and thread count apart, in 16 hex digits."""
    return files.digest([phase, dict(size), batch, dict(options), dict(runtime)])[:16]


@dataclass(frozen=True)
class Cell:
    """One size of the kind's unit and one batch."""

    size: dict[str, int]
    batch: int

    @property
    def work(self) -> float:
        """What time is taken to grow with: batch times the sum of the size's numbers (a context is only room)."""
        return float(self.batch * sum(v for k, v in self.size.items() if k != "context"))


@dataclass(frozen=True)
class Plan:
    """How thoroughly a cell is measured."""

    cell_seconds: float  # budget of one phase of one cell, warm-up included
    least: int  # calls that are timed in any case
    most: int
    warm_ups: int  # at most; they end when two agree within 5 %


PLANS: dict[str, Plan] = {
    "quick": Plan(cell_seconds=0.8, least=3, most=40, warm_ups=3),
    "full": Plan(cell_seconds=6.0, least=10, most=200, warm_ups=8),
}


def cells(unit: Unit, grid: Grid) -> list[Cell]:
    """The cells of a grid, from little to much work, so that a peak of memory never comes from a later, larger cell.

    quick: smallest, usual and largest size at batch 1, the usual size at 8 and 32. full: what the unit says, else every
    size at 1, 4, 8, 32, 64.
    """
    if grid == "full" and unit.full:
        return sorted((Cell(dict(size), batch) for size, batch in unit.full), key=lambda cell: cell.work)
    if grid == "full":
        return [Cell(dict(size), batch) for batch in (1, 4, 8, 32, 64) for size in unit.sizes]
    sizes = [size for i, size in enumerate(unit.sizes) if i in (0, len(unit.sizes) - 1) or size == unit.usual]
    return [Cell(dict(size), 1) for size in sizes] + [Cell(unit.usual, 8), Cell(unit.usual, 32)]


@dataclass(frozen=True)
class Samples:
    """Milliseconds of every timed call of one phase, in order."""

    ms: tuple[float, ...]

    def quantile(self, q: float) -> float:
        """Linear between order statistics, as ``numpy.quantile`` by default."""
        ordered = sorted(self.ms)
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return sum(self.ms) / len(self.ms)

    @property
    def unsteady(self) -> bool:
        """Whether p95 is more than 1.5 times p50 (slm.md trap 11)."""
        return self.quantile(0.95) > 1.5 * self.quantile(0.5)


def time_phase(phase: Phase, plan: Plan, seconds: float, clock: Clock) -> Samples:
    """Warm up, then time single calls until ``seconds`` are used or ``plan.most`` calls are in; never fewer than
    ``plan.least``. ``prepare`` runs before each call and is not timed, though it counts against the budget."""
    start = clock()
    before: float | None = None
    for _ in range(plan.warm_ups):
        ms = _call(phase, clock)
        agree = before is not None and abs(ms - before) <= 0.05 * before
        before = ms
        # a call so long that it uses up the budget is its own warm-up: more of them would only take time
        if agree or clock() - start + plan.least * ms / 1e3 > seconds:
            break
    taken: list[float] = []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in one of 40 calls would be a p95 of ours, not of the model
    try:
        while len(taken) < plan.least or (len(taken) < plan.most and clock() - start < seconds):
            taken.append(_call(phase, clock))
    finally:
        if collecting:
            gc.enable()
    return Samples(tuple(taken))


def _call(phase: Phase, clock: Clock) -> float:
    phase.prepare()
    start = clock()
    phase.run()
    return (clock() - start) * 1e3


class Budget:
    """Shares the seconds that are left among the cells that are left; refuses a cell that could not be finished."""

    def __init__(self, seconds: float, total: int, plan: Plan, clock: Clock) -> None:
        self._end = clock() + seconds
        self._left = total
        self._plan = plan
        self._clock = clock

    def share(self, later: Sequence[float] = ()) -> float:
        """Seconds for the next cell: its even part of what is left, less where cells after it could else not be done.

        ``later``: predicted seconds of one call of each cell after it, in order; those that fit are kept room for.
        """
        left = max(0.0, self._end - self._clock())
        kept = 0.0
        for seconds in later:
            if kept + self._least(seconds) > left:
                break
            kept += self._least(seconds)
        return min(self._plan.cell_seconds, left / max(1, self._left), left - kept)

    def done(self) -> None:
        """One cell fewer to do."""
        self._left -= 1

    def refuses(self, predicted_seconds: float) -> bool:
        """Whether warm-up and the least number of calls of the next cell would overrun what is left of the whole."""
        return self._least(predicted_seconds) > self._end - self._clock()

    def _least(self, seconds: float) -> float:
        return seconds * (self._plan.least + 1)


def predict_seconds(done: Sequence[tuple[float, float]], units: float) -> float:
    """Seconds that a call of ``units`` will take, from (units, seconds) of cells done: the largest cell, scaled.

    0 when nothing is known. An overhead per call makes this an overestimate, never an underestimate, while work grows
    at most linearly; where it grows faster, the next prediction knows.
    """
    if not done:
        return 0.0
    most, seconds = max(done)
    return seconds * max(1.0, units / most)
