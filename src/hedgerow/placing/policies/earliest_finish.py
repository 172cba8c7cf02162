"""Earliest finish: each ready job, in the order given, goes where its answer is believed to be home first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.view import Draft, Event, JobRef, Placement, Score, State, View, refused

_SAME = 1e-9  # seconds: closer than this is a tie


class EarliestFinish:
    """argmin over candidates of transfer in + wait + load + run + transfer home; ties are drawn.

    The rule of minimum completion time (MCT: Armstrong, Hensgen & Kidd 1998) with the answer's way home added. Greedy
    and without look-ahead: a job that is placed delays those placed after it, never those before.
    """

    name = "earliest-finish"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        draft = Draft(view)
        placed = []
        for job in ready:
            terms = draft.terms(job)
            total = np.add.reduce(list(terms.values()))
            out = refused(job, view)
            total[out > 0] = np.inf
            best = np.flatnonzero(total <= total.min(initial=np.inf) + _SAME)
            best = best[np.isfinite(total[best])]
            chosen: tuple[int, ...] = ()
            if len(best):
                chosen = (int(best[0] if len(best) == 1 else rng.choice(best)),)
                draft.book(job, chosen[0])
            reason = Score("earliest believed finish", terms, total, out, max(1, len(best)))
            placed.append(Placement(job, chosen, reason))
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = EarliestFinish()
