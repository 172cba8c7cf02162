"""Two-sided matchmaking: the owner says who may start, the job ranks who is willing, nobody queues on a device."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import SAME, mask
from hedgerow.placing.view import NO_SLOT, Draft, JobRef, Placement, Score, refused


def condor_rank(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
    """START: the owner's rules, and a slot that is free now. Rank of the job: the fastest. Rank of the device: its own.

    Raman, Livny & Solomon 1998 (HTCondor's matchmaking) with the usual Rank, a machine's speed. Between equally fast
    devices the one whose own request it is wins, then the first. Where no slot is free a job waits in the queue, not
    on a device, until something ends.
    """
    view = draft.view
    c = view.known.candidates[job.work]
    free = draft.free_at[c.device, 0] <= view.now
    out = refused(job, view)
    willing = bool((out == 0).any())
    out = mask(out, free, NO_SLOT)
    total = np.where(out > 0, np.inf, c.run_s)
    able = np.flatnonzero(total <= total.min(initial=np.inf) + SAME)
    able = able[np.isfinite(total[able])]
    own = able[c.device[able] == job.home]
    best = own if len(own) else able
    chosen = (int(best[0]),) if len(best) else ()
    reason = Score("the fastest that is willing and free", {"run": c.run_s}, total, out, max(1, len(able)))
    return Placement(job, chosen, reason, held=willing and not chosen)


POLICY = InTurn("condor-rank", condor_rank)
