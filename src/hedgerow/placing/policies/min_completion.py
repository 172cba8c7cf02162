"""Minimum completion: each ready job, in the order given, goes where it is believed to end first."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, JobRef, Placement, refused


def min_completion(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
    """argmin over candidates of transfer in + wait + load + run; ties are drawn.

    MCT (Armstrong, Hensgen & Kidd 1998), the rule that Dask's scheduler comes near to: it compares wait and transfer
    only, as though all workers were equally fast. Unlike earliest-finish it does not see the answer's way home.
    """
    terms = draft.terms(job)
    out = refused(job, draft.view, terms)
    del terms["transfer home"]
    return choose(job, "earliest believed end", terms, out, rng)


POLICY = InTurn("min-completion", min_completion)
