"""LaTS, as IBDASH implemented it: latency predicted from the processor that is left."""

from __future__ import annotations

import numpy as np

from hedgerow.placing.network import Floats
from hedgerow.placing.policies.alone import InTurn
from hedgerow.placing.policies.common import choose
from hedgerow.placing.view import Draft, JobRef, Placement, refused

_PROFILED = np.arange(5)  # running jobs at which IBDASH profiles a device


def lats(clamps: bool = False) -> InTurn:
    """argmin of exp(fit(100 - cpu)) + upload: a cubic from jobs to processor %, then ln(latency) by line.

    The profile that both are fitted to is what is believed here: n jobs take n/slots of the processor, and a job's
    time beside n of its own type comes from the believed slopes. ``clamps`` adds IBDASH's two special cases: never
    above 100 %, and 50 % where a busy device shows less than 10.
    """

    def rule(draft: Draft, job: JobRef, rng: np.random.Generator) -> Placement:
        full = draft.terms(job)
        terms = {"run": predicted(draft, job, clamps), "load": full["load"]}
        return choose(job, "lowest latency by processor left", terms, refused(job, draft.view, full), rng)

    return InTurn("lats", rule)


def predicted(draft: Draft, job: JobRef, clamps: bool = False) -> Floats:
    """[C] predicted seconds of the job on each candidate."""
    view = draft.view
    c = view.known.candidates[job.work]
    slots = view.known.slots[c.device].astype(float)
    used = np.minimum(100.0, 100.0 * _PROFILED[:, None] / slots)  # [5, C]
    cubic = np.polyfit(_PROFILED, used, 3)  # [4, C]
    own = view.beliefs.slope[c.device, job.work, job.work]
    times = c.run_s + np.minimum(_PROFILED[:, None], slots - 1) * own  # [5, C]
    left = 100.0 - used
    middle, centre = left.mean(0), np.log(times).mean(0)
    varied = ((left - middle) ** 2).sum(0)
    steep = ((left - middle) * (np.log(times) - centre)).sum(0)
    slope = np.divide(steep, varied, out=np.zeros_like(varied), where=varied > 0)
    jobs = draft.sent[c.device].sum(1).astype(float)
    cpu = np.clip(cubic[0] * jobs**3 + cubic[1] * jobs**2 + cubic[2] * jobs + cubic[3], 0.0, None)
    if clamps:
        cpu = np.where((cpu < 10) & (jobs > 0), 50.0, np.minimum(cpu, 100.0))
    cpu = np.minimum(cpu, 200.0)  # a cubic runs away beyond what was profiled
    return np.asarray(np.exp(centre + slope * (100.0 - cpu - middle)))


POLICY = lats()
