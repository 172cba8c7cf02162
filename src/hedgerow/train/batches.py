"""Batches that are found by their number alone, so that a position in the data is one integer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow.errors import HedgerowError
from hedgerow.objectives import Batch

Indices = NDArray[np.int64]


class Batches(Protocol):
    """An endless sequence of batches. Batch ``number`` is the same whenever and wherever it is asked for."""

    def __len__(self) -> int:
        """Batches in one pass over the data."""
        ...

    def indices(self, number: int) -> Indices:
        """Which examples stand in batch ``number`` (0, 1, … without end; ``number // len(self)`` is the epoch)."""
        ...

    def collate(self, indices: Indices) -> Batch:
        """The batch of those examples. With several processes each collates its share, never an empty one."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """``count`` examples in batches of ``size``, in a new order each epoch; the last batch of an epoch may be smaller.

    ``make(indices)`` collates. The order of epoch e comes from a generator seeded with (seed, e), so nothing but the
    number of the batch needs to be stored to go on.
    """

    count: int
    size: int
    seed: int  # seeds(...).order
    make: Callable[[Indices], Batch]
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or self.size < 1:
            raise HedgerowError(f"cannot make batches of {self.size} from {self.count} examples")

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def indices(self, number: int) -> Indices:
        """The examples of batch ``number``."""
        epoch, place = divmod(number, len(self))
        return self._order(epoch)[place * self.size : (place + 1) * self.size]

    def collate(self, indices: Indices) -> Batch:
        """``make(indices)``."""
        return self.make(indices)

    def _order(self, epoch: int) -> Indices:
        return _permutation(self.count, self.seed, epoch) if self.shuffle else np.arange(self.count)


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> Indices:
    return np.random.default_rng([seed, epoch]).permutation(count)


def steps_for(epochs: float, batches: Batches, accumulate: int = 1) -> int:
    """Optimiser steps that make ``epochs`` passes over the data, at least one."""
    return max(1, round(epochs * len(batches) / accumulate))
