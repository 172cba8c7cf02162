"""The frames of policies that remember nothing: each job by itself, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import in_turn
from hedgerow.placing.view import Draft, Event, JobRef, Placement, State, View

Rule = Callable[[JobRef, View, np.random.Generator], Placement]
DraftRule = Callable[[Draft, JobRef, np.random.Generator], Placement]


class Forgetful:
    """The part of a policy that remembers nothing."""

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


@dataclass(frozen=True)
class Alone(Forgetful):
    """``rule`` places one job; what else is ready, and what was placed before it, does not matter to it."""

    name: str
    rule: Rule

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """Each job in turn."""
        return [self.rule(job, view, rng) for job in ready], state


@dataclass(frozen=True)
class InTurn(Forgetful):
    """``rule`` places one ready job after the other, in the order given; each delays those placed after it."""

    name: str
    rule: DraftRule

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        return in_turn(ready, view, lambda draft, job: self.rule(draft, job, rng)), state
