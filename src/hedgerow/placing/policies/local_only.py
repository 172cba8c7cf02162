"""Local only: every job runs on the device where its request arose. The end of the scale without offloading."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import Alone
from hedgerow.placing.view import NOT_HOME, JobRef, Placement, Score, View, refused


def at_home(job: JobRef, view: View, rng: np.random.Generator) -> Placement:
    """The home device, or nobody: a home that no form fits answers nothing.

    Among several forms at home the fastest runs, then the first.
    """
    candidates = view.known.candidates[job.work]
    out = refused(job, view)
    out[candidates.device != job.home] = NOT_HOME
    total = np.where(out > 0, np.inf, candidates.run_s)
    able = np.flatnonzero(out == 0)
    chosen = (int(able[np.argmin(total[able])]),) if len(able) else ()
    return Placement(job, chosen, Score("the home device", {"run": candidates.run_s}, total, out))


POLICY = Alone("local-only", at_home)
