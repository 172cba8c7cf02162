"""What ``weigh`` times of a decoder, the same for each runtime: first token, prefill and decode at a stated depth.

ttft = cutting into tokens + prefill + one sample. prefill = P tokens after ``depth`` cached ones, one call, logits of
the last only. decode = one step; every step is a call of its own, at depths depth + P and on, and the first new token,
which comes out of prefill, is none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Held, Phase, Size


class Stepper(Protocol):
    """A loaded decoder, driven by positions."""

    def restart(self, past: np.ndarray) -> None:
        """Forget all and compute [n, D] tokens (D may be 0)."""
        ...

    def back(self, position: int) -> None:
        """Forget ``position`` and all after it; HedgerowError where the engine cannot."""
        ...

    def fill(self, ids: np.ndarray) -> None:
        """[n, P] tokens more; logits of the last of each row."""
        ...

    def step(self, tokens: np.ndarray) -> None:
        """[n]: one token more for each row, with logits."""
        ...

    def sample(self) -> np.ndarray:
        """[n] the likeliest next tokens."""
        ...


class _Runs:
    """The calls; the cache is put where each needs it, untimed."""

    def __init__(self, stepper: Stepper, cut: Callable[[], np.ndarray], past: np.ndarray, new: int) -> None:
        self._stepper, self._cut, self._past, self._new = stepper, cut, past, new
        self.ids = cut()
        self._depth, self._length = past.shape[1], self.ids.shape[1]
        self._filled = False  # whether the cache begins with the past
        self._left = 0

    def to_depth(self) -> None:
        """The cache holds the past and nothing else."""
        self._left = 0
        try:
            if self._filled:
                self._stepper.back(self._depth)
                return
        except HedgerowError:  # some caches cannot be cut: fill them again
            self._filled = False
        self._stepper.restart(self._past)
        self._filled = True

    def first(self) -> None:
        """From text to the first new token."""
        self._stepper.fill(self._cut())
        self._stepper.sample()

    def prefill(self) -> None:
        """All prompt tokens."""
        self._stepper.fill(self.ids)

    def to_step(self) -> None:
        """The cache holds past, prompt and the steps so far; after ``new`` steps it is put back to the prompt's end."""
        if self._left == 0:
            self.to_depth()
            self._stepper.fill(self.ids)
            self._left = self._new
        self._left -= 1

    def step(self) -> None:
        """One step, with a token of the prompt: what it is does not matter, and no logits are copied."""
        self._stepper.step(self.ids[:, self._left % self._length])


def phases(stepper: Stepper, cut: Callable[[int], np.ndarray], size: Size, held: Held) -> list[Phase]:
    """The phases of ``size`` (prompt, new, and depth unless 0); ``cut(count)`` -> [n, count] tokens of the inputs."""
    past = cut(size.get("depth", 0))
    runs = _Runs(stepper, lambda: cut(size["prompt"]), past, size["new"])
    n, length = runs.ids.shape
    found = [
        Phase("prefill", float(n * length), runs.prefill, runs.to_depth, held),
        Phase("decode", float(n), runs.step, runs.to_step, held),
    ]
    if n == 1 and not size.get("depth"):
        found.insert(0, Phase("ttft", 1.0, runs.first, runs.to_depth, held))
    return found


def mean_depth(size: Size) -> float:
    """The mean number of positions before the timed steps: depth + P + (new - 1) / 2."""
    return size.get("depth", 0) + size["prompt"] + (size["new"] - 1) / 2
