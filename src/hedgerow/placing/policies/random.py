"""Random: any device that can, each with the same chance. A control, and IBDASH's intuitive baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.view import Event, JobRef, Placement, Score, State, View, refused


class Random:
    """A uniform draw among the candidates that can take the job at this time."""

    name = "random"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        placed = []
        for job in ready:
            out = refused(job, view)
            able = np.flatnonzero(out == 0)
            chosen = (int(able[rng.integers(len(able))]),) if len(able) else ()
            total = np.where(out > 0, np.inf, 0.0)
            reason = Score("drawn at random, all alike", {}, total, out, max(1, len(able)))
            placed.append(Placement(job, chosen, reason))
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = Random()
