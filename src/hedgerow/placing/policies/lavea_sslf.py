"""LAVEA, shortest scheduling latency first: the best of the three schemes in its authors' abstract."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, JobRef, Placement, refused


def lavea_sslf(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
    """argmin of transfer in + wait for a slot, as devices advertise it; ties are drawn.

    How fast a device is does not count: the scheduling latency ends when the job starts.
    """
    full = draft.terms(job)
    terms = {k: v for k, v in full.items() if k in ("transfer in", "wait")}
    return choose(job, "shortest way and wait", terms, refused(job, draft.view, full), rng)


POLICY = InTurn("lavea-sslf", lavea_sslf)
