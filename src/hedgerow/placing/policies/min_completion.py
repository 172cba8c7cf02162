"""Minimum completion: each ready job, in the order given, goes where it is believed to end first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, Event, JobRef, Placement, State, View, refused


class MinCompletion:
    """argmin over candidates of transfer in + wait + load + run; ties are drawn.

    MCT (Armstrong, Hensgen & Kidd 1998), the rule that Dask's scheduler comes near to: it compares wait and transfer
    only, as though all workers were equally fast. Unlike earliest-finish it does not see the answer's way home.
    """

    name = "min-completion"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        draft, placed = Draft(view), []
        for job in ready:
            terms = draft.terms(job)
            del terms["transfer home"]
            placed.append(choose(job, "earliest believed end", terms, refused(job, view), rng))
            if placed[-1].replicas:
                draft.book(job, placed[-1].replicas[0])
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = MinCompletion()
