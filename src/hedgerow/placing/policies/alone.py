"""The frame of policies that remember nothing and look at each job by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.view import Event, JobRef, Placement, State, View

Rule = Callable[[JobRef, View, np.random.Generator], Placement]


@dataclass(frozen=True)
class Alone:
    """``rule`` places one job; what else is ready, and what was placed before it, does not matter to it."""

    name: str
    rule: Rule

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """Each job in turn."""
        return [self.rule(job, view, rng) for job in ready], state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state
