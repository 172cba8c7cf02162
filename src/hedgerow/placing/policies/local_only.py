"""Local only: every job runs on the device where its request arose. The end of the scale without offloading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.view import NOT_HOME, Event, JobRef, Placement, Score, State, View, refused


class LocalOnly:
    """The home device, or nobody: a home that no form fits answers nothing."""

    name = "local-only"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class; among several forms at home the fastest runs, then the first."""
        placed = []
        for job in ready:
            candidates = view.known.candidates[job.work]
            out = refused(job, view)
            out[candidates.device != job.home] = NOT_HOME
            total = np.where(out > 0, np.inf, candidates.run_s)
            able = np.flatnonzero(out == 0)
            chosen = (int(able[np.argmin(total[able])]),) if len(able) else ()
            reason = Score("the home device", {"run": candidates.run_s}, total, out)
            placed.append(Placement(job, chosen, reason))
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = LocalOnly()
