"""What policies share: choosing with fair ties, ranks of a DAG, co-running as it is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hedgerow.placing.dag import App
from hedgerow.placing.network import Bools, Floats, Ints
from hedgerow.placing.view import Draft, JobRef, Placement, Score, View

SAME = 1e-9  # seconds or score: closer than this is a tie


def pick(total: Floats, rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
    """((the lowest of ``total`` [C],) or (), how many share it); ties are drawn. Infinite is impossible."""
    best = np.flatnonzero(total <= total.min(initial=np.inf) + SAME)
    best = best[np.isfinite(total[best])]
    if not len(best):
        return (), 1
    return (int(best[0] if len(best) == 1 else rng.choice(best)),), len(best)


def choose(
    job: JobRef, rule: str, terms: Mapping[str, Floats], out: Ints, rng: np.random.Generator, held: bool = False
) -> Placement:
    """The candidate with the lowest sum of ``terms`` [C] among those that are not ``out`` [C]."""
    total = np.where(out > 0, np.inf, np.add.reduce(list(terms.values())))
    chosen, tied = pick(total, rng)
    return Placement(job, chosen, Score(rule, dict(terms), total, out, tied), held and not chosen)


def in_turn(ready: Sequence[JobRef], view: View, rule: Callable[[Draft, JobRef], Placement]) -> list[Placement]:
    """Each ready job in the order given, as ``rule`` places it; it is booked before the next one is looked at."""
    draft, placed = Draft(view), []
    for job in ready:
        placed.append(rule(draft, job))
        if placed[-1].replicas:
            draft.book(job, placed[-1].replicas[0])
    return placed


def ordered(ready: Sequence[JobRef], rank: Floats) -> list[int]:
    """Positions in ``ready``, highest ``rank`` of the job first; equal ranks in the order given."""
    return sorted(range(len(ready)), key=lambda i: (-rank[ready[i].job], i))


def in_order(ready: Sequence[JobRef], placed: Mapping[int, Placement]) -> list[Placement]:
    """Placements of ``ready`` by position, as a driver wants them."""
    return [placed[i] for i in range(len(ready))]


# --- ranks -----------------------------------------------------------------------------------------------------------
def mean_costs(view: View) -> tuple[Floats, Floats]:
    """([J] mean seconds of each job over its candidates, [E] mean seconds of each edge of the App over all routes).

    Means as in HEFT (Topcuoglu, Hariri & Wu 2002). Of routes, those from the first home stand for all: on sparse
    links all pairs would cost a search from every device.
    """
    known = view.known
    app = known.app
    runs = np.array([float(known.candidates[j.work].run_s.mean()) for j in app.jobs])
    home = known.fleet.index(known.fleet.home[0])
    routes = view.network.routes(home, view.up)
    there = np.isfinite(routes.delay_s)
    others = max(1, int(there.sum()) - 1)
    s_per_byte, delay = routes.s_per_byte[there].sum() / others, routes.delay_s[there].sum() / others
    return runs, np.array([e.bytes * s_per_byte + delay for e in app.edges])


def upward(app: App, runs: Floats, edges: Floats) -> Floats:
    """[J] HEFT's upward rank: longest way from a job's start to the end of the request, answers' way home included."""
    rank = np.zeros(len(app.jobs))
    for j in reversed(range(len(app.jobs))):
        after = [
            edges[i] + (rank[e.target] if e.target >= 0 else 0.0) for i, e in enumerate(app.edges) if e.source == j
        ]
        rank[j] = runs[j] + max(after, default=0.0)
    return rank


def downward(app: App, runs: Floats, edges: Floats) -> Floats:
    """[J] HEFT's downward rank: longest way from the request's arrival to a job's start."""
    rank = np.zeros(len(app.jobs))
    for j in range(len(app.jobs)):
        before = [
            edges[i] + (rank[e.source] + runs[e.source] if e.source >= 0 else 0.0)
            for i, e in enumerate(app.edges)
            if e.target == j
        ]
        rank[j] = max(before, default=0.0)
    return rank


def levels(app: App) -> list[list[int]]:
    """Jobs by stage: a job's stage is the longest way to it from a source, counted in jobs."""
    depth: list[int] = []
    for job in app.jobs:
        depth.append(max((depth[d] + 1 for d in job.deps), default=0))
    return [[j for j, at in enumerate(depth) if at == n] for n in range(max(depth) + 1)]


# --- co-running ------------------------------------------------------------------------------------------------------
def linear_seconds(slope: Floats, intercept: Floats, beside: Ints) -> Floats:
    """[…] IBDASH's model of co-running: Σ_u m_u·x_u + Σ_{u: x_u>0} c_u; alone (no x_u > 0) it is c of its own type.

    ``slope`` and ``intercept`` […, T] of one type on each device, ``beside`` […, T] running counts. The case of an
    idle device is the caller's (see :func:`exec_seconds`), since only it knows the own type.
    """
    return np.asarray((slope * beside).sum(-1) + np.where(beside > 0, intercept, 0.0).sum(-1))


def exec_seconds(slope: Floats, intercept: Floats, beside: Ints, own: int) -> Floats:
    """[…] the same with its second case: on an idle device c[d, t, t]."""
    alone = ~(beside > 0).any(-1)
    return np.where(alone, intercept[..., own], linear_seconds(slope, intercept, beside))


def extra_seconds(draft: Draft, job: JobRef) -> Floats:
    """[C] seconds that a job is believed to take longer beside what was already sent to each candidate's device.

    At most as many run beside it as the device has further slots; when more were sent, their share is taken.
    """
    view = draft.view
    device = view.known.candidates[job.work].device
    slope = view.beliefs.slope[device, job.work]
    if not slope.any():
        return np.zeros(len(device))
    sent = draft.sent[device].astype(float)
    total = sent.sum(1)
    beside = np.minimum(1.0, np.divide(view.known.slots[device] - 1, total, out=np.ones_like(total), where=total > 0))
    return np.asarray((slope * sent).sum(1) * beside)


def mask(out: Ints, keep: Bools, why: int) -> Ints:
    """``out`` with everybody who is not in ``keep`` refused for ``why``, unless refused already."""
    found = out.copy()
    found[(found == 0) & ~keep] = why
    return found
