"""Petrel, as IBDASH implemented it: the better of two devices that were drawn."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import choose, extra_seconds, mask
from hedgerow.placing.view import NOT_DRAWN, Draft, JobRef, Placement, refused


def petrel(with_replacement: bool = False) -> InTurn:
    """Draw two devices; take the one with the lower execution + upload of the model, transfers not counted.

    IBDASH's code draws with replacement, so that both may be the same device; ``with_replacement`` does so
    too, our default is two different ones. Petrel's own rule by task type is not known to us.
    """

    def rule(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
        full = draft.terms(job)
        out = refused(job, draft.view, full)
        able = np.flatnonzero(out == 0)
        if len(able):
            drawn = rng.choice(able, 2 if with_replacement else min(2, len(able)), with_replacement)
            keep = np.zeros(len(out), bool)
            keep[drawn] = True
            out = mask(out, keep, NOT_DRAWN)
        terms = {"load": full["load"], "run": full["run"] + extra_seconds(draft, job)}
        return choose(job, "the faster of two drawn", terms, out, rng)

    return InTurn("petrel", rule)


POLICY = petrel()
