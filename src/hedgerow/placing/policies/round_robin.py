"""Round robin: one pointer over all devices, one step a job. IBDASH's intuitive baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.view import Event, JobRef, Placement, Score, State, View, refused


class RoundRobin:
    """The device at the pointer, or the next after it that can; the pointer then stands behind it.

    IBDASH's own asks nobody whether it can; ours must, since owners forbid and devices die. The pointer is the state.
    """

    name = "round-robin"

    def start(self, fleet: Fleet) -> State:
        """The pointer stands at the first device."""
        return 0

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        count, pointer, placed = len(view.up), int(state or 0), []
        for job in ready:
            out = refused(job, view)
            steps = (view.known.candidates[job.work].device - pointer) % count
            total = np.where(out > 0, np.inf, steps.astype(float))
            able = np.isfinite(total).any()
            chosen = (int(np.argmin(total)),) if able else ()
            if chosen:
                pointer = (int(view.known.candidates[job.work].device[chosen[0]]) + 1) % count
            placed.append(Placement(job, chosen, Score("next in turn", {}, total, out, 1, {"steps": total}, "score")))
        return placed, pointer

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = RoundRobin()
