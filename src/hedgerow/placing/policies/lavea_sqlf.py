"""LAVEA, shortest queue length first, as IBDASH implemented it: by the queues at the moment when a request arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import pick
from hedgerow.placing.view import Event, JobRef, Placement, Score, State, View, refused

_KEPT = 4096  # requests whose queues are remembered


class LaveaSqlf:
    """The device with the fewest jobs when the instance arrived (what IBDASH ran as "LAVEA"); ties are drawn.

    The counts are read once a request and kept in the state, so a request's later jobs go by old news, as there.
    """

    name = "lavea-sqlf"

    def start(self, fleet: Fleet) -> State:
        """No request was seen."""
        return ()

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class. The state is ((request, jobs on each device), …), the newest last."""
        seen: dict[str, tuple[int, ...]] = dict(state or ())
        now = tuple(view.sent.sum(1).tolist())
        placed = []
        for job in ready:
            counts = np.array(seen.setdefault(job.request, now), float)
            out = refused(job, view)
            queue = counts[view.known.candidates[job.work].device]
            total = np.where(out > 0, np.inf, queue)
            chosen, tied = pick(total, rng)
            reason = Score("fewest jobs when the request came", {}, total, out, tied, {"queue": queue}, "score")
            placed.append(Placement(job, chosen, reason))
        return placed, tuple(seen.items())[-_KEPT:]

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = LaveaSqlf()
