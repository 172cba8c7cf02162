"""Cloud only: every job runs in the cloud, wherever its request arose. The other end of the scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.policies.alone import Forgetful
from hedgerow.placing.policies.common import choose, in_turn, mask
from hedgerow.placing.view import NOT_CLOUD, Draft, JobRef, Placement, State, View, refused


class CloudOnly(Forgetful):
    """The cloud device where the answer is back first, or nobody: a fleet without a cloud answers nothing."""

    name = "cloud-only"

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        cloud = np.array([d.tier == "cloud" for d in view.known.fleet.devices])

        def rule(draft: Draft, job: JobRef) -> Placement:
            terms = draft.terms(job)
            here = cloud[view.known.candidates[job.work].device]
            return choose(job, "the cloud", terms, mask(refused(job, draft.view, terms), here, NOT_CLOUD), rng)

        return in_turn(ready, view, rule), state


POLICY = CloudOnly()
