"""Cloud only: every job runs in the cloud, wherever its request arose. The other end of the scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import choose, mask
from hedgerow.placing.view import NOT_CLOUD, Draft, Event, JobRef, Placement, State, View, refused


class CloudOnly:
    """The cloud device where the answer is back first, or nobody: a fleet without a cloud answers nothing."""

    name = "cloud-only"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        draft, placed = Draft(view), []
        cloud = np.array([d.tier == "cloud" for d in view.known.fleet.devices])
        for job in ready:
            out = mask(refused(job, view), cloud[view.known.candidates[job.work].device], NOT_CLOUD)
            placed.append(choose(job, "the cloud", draft.terms(job), out, rng))
            if placed[-1].replicas:
                draft.book(job, placed[-1].replicas[0])
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = CloudOnly()
