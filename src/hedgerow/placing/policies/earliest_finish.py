"""Earliest finish: each ready job, in the order given, goes where its answer is believed to be home first."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, JobRef, Placement, refused


def earliest_finish(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
    """argmin over candidates of transfer in + wait + load + run + transfer home; ties are drawn.

    The rule of minimum completion time (MCT: Armstrong, Hensgen & Kidd 1998) with the answer's way home added. Greedy
    and without look-ahead: a job that is placed delays those placed after it, never those before.
    """
    terms = draft.terms(job)
    return choose(job, "earliest believed finish", terms, refused(job, draft.view, terms), rng)


POLICY = InTurn("earliest-finish", earliest_finish)
