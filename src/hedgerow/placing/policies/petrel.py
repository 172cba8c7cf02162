"""Petrel, as IBDASH implemented it: the better of two devices that were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import choose, extra_seconds, mask
from hedgerow.placing.view import NOT_DRAWN, Draft, Event, JobRef, Placement, State, View, refused


@dataclass(frozen=True)
class Petrel:
    """Draw two devices; take the one with the lower execution + upload of the model, transfers not counted.

    IBDASH's code draws with replacement, so that both may be the same device; ``with_replacement`` does so
    too, our default is two different ones. Petrel's own rule by task type is not known to us.
    """

    name: str = "petrel"
    with_replacement: bool = False

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        draft, placed = Draft(view), []
        for job in ready:
            out = refused(job, view)
            able = np.flatnonzero(out == 0)
            if len(able):
                drawn = rng.choice(able, 2 if self.with_replacement else min(2, len(able)), self.with_replacement)
                keep = np.zeros(len(out), bool)
                keep[drawn] = True
                out = mask(out, keep, NOT_DRAWN)
            full = draft.terms(job)
            terms = {"load": full["load"], "run": full["run"] + extra_seconds(draft, job)}
            placed.append(choose(job, "the faster of two drawn", terms, out, rng))
            if placed[-1].replicas:
                draft.book(job, placed[-1].replicas[0])
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


POLICY = Petrel()
