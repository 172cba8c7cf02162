"""Named sub-seeds of one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seeds:
    """Independent named sub-seeds of one seed: changing the order of the data does not change the initial weights."""

    seed: int

    def named(self, name: str) -> int:
        """The sub-seed of that name: 31 bits, so that numpy, torch and scikit-learn all take it."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:4], "big") >> 1

    def generator(self, name: str) -> np.random.Generator:
        """A numpy generator that starts from the sub-seed of that name."""
        return np.random.default_rng(self.named(name))

    @property
    def data(self) -> int:
        """For splits and sampling of data."""
        return self.named("data")

    @property
    def init(self) -> int:
        """For initial weights."""
        return self.named("init")

    @property
    def order(self) -> int:
        """For the order in which examples are seen."""
        return self.named("order")

    @property
    def noise(self) -> int:
        """For dropout and other noise while training."""
        return self.named("noise")


def seeds(seed: int) -> Seeds:
    """The named sub-seeds of ``seed``, the same in every process and on every machine."""
    return Seeds(seed)
