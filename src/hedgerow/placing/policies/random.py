"""Random: any device that can, each with the same chance. A control, and IBDASH's intuitive baseline."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import Alone
from hedgerow.placing.view import JobRef, Placement, Score, View, refused


def anywhere(job: JobRef, view: View, rng: np.random.Generator) -> Placement:
    """A uniform draw among the candidates that can take the job at this time."""
    out = refused(job, view)
    able = np.flatnonzero(out == 0)
    chosen = (int(able[rng.integers(len(able))]),) if len(able) else ()
    total = np.where(out > 0, np.inf, 0.0)
    return Placement(job, chosen, Score("drawn at random, all alike", {}, total, out, max(1, len(able))))


POLICY = Alone("random", anywhere)
