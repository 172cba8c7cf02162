"""LAVEA, shortest scheduling latency first: the best of the three schemes in its authors' abstract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, Event, JobRef, Placement, State, View, refused


class LaveaSslf:
    """argmin of transfer in + wait for a slot, as devices advertise it; ties are drawn.

    How fast a device is does not count: the scheduling latency ends when the job starts.
    """

    name = "lavea-sslf"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        draft, placed = Draft(view), []
        for job in ready:
            terms = {k: v for k, v in draft.terms(job).items() if k in ("transfer in", "wait")}
            placed.append(choose(job, "shortest way and wait", terms, refused(job, view), rng))
            if placed[-1].replicas:
                draft.book(job, placed[-1].replicas[0])
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = LaveaSslf()
