"""DCC, as IBDASH implemented it: two clusters of devices; a job leaves its own only if it may and must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.network import Bools, Floats
from hedgerow.placing.policies.alone import Forgetful
from hedgerow.placing.policies.common import choose, extra_seconds, in_turn, mask
from hedgerow.placing.view import OUTSIDE, Draft, JobRef, Placement, State, View, refused

_STEPS = 100


@dataclass(frozen=True)
class Dcc(Forgetful):
    """Least believed execution time, co-running included, in the cluster of the request's home.

    k-means with k = 2. IBDASH clusters positions on a map; a fleet file has none, so a device's position is its
    round-trip delay to each home. ``shared``: jobs may leave the cluster when nobody in it can; "local" ones may not.
    """

    name: str = "dcc"
    shared: bool = True

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        second = two_means(positions(view))

        def rule(draft: Draft, job: JobRef) -> Placement:
            full = draft.terms(job)
            out = refused(job, draft.view, full)
            inside = second[view.known.candidates[job.work].device] == second[job.home]
            if not self.shared or (inside & (out == 0)).any():
                out = mask(out, inside, OUTSIDE)
            terms = {"run": full["run"] + extra_seconds(draft, job)}
            return choose(job, "least time in the cluster of home", terms, out, rng)

        return in_turn(ready, view, rule), state


def positions(view: View) -> Floats:
    """[D, H] seconds of delay there and back between each device and each home; unreachable ones lie far out."""
    known = view.known
    up = np.ones(len(view.up), bool)
    columns = []
    for name in known.fleet.home:
        at = known.fleet.index(name)
        columns.append(known.network.routes(at, up).delay_s + known.network.routes(at, up, back=True).delay_s)
    found = np.stack(columns, axis=1)
    return np.where(np.isfinite(found), found, 2 * np.max(found, where=np.isfinite(found), initial=0.0))


def two_means(points: Floats) -> Bools:
    """[D] whether a point lies in the second cluster (Lloyd 1982), from the two points that lie farthest from the mean
    and from one another; without randomness."""
    first = points[np.argmax(((points - points.mean(0)) ** 2).sum(1))]
    centres = np.stack([first, points[np.argmax(((points - first) ** 2).sum(1))]])
    member = np.zeros(len(points), bool)
    for _ in range(_STEPS):
        distance = ((points[:, None] - centres) ** 2).sum(2)
        new = distance[:, 1] < distance[:, 0]
        if (new == member).all():
            break
        member = new
        centres = np.stack([points[member == side].mean(0) if (member == side).any() else centres[int(side)]
                            for side in (False, True)])  # fmt: skip
    return member


POLICY = Dcc()
