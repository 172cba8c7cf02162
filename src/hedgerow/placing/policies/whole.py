"""Policies that plan a request as a whole when it arrives, and then follow the plan as far as the fleet allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import downward, extra_seconds, pick, upward
from hedgerow.placing.schedule import Assignment, Problem, cpop, heft, mean_edges, mean_run, peft, problem_of
from hedgerow.placing.view import Draft, Event, JobRef, Placement, Score, State, View, refused

_KEPT = 4096  # plans that are remembered
Plans = tuple[tuple[str, Assignment], ...]


@dataclass(frozen=True)
class Whole:
    """A list scheduler of the textbooks: ``plan`` assigns all jobs of a request on what is believed at its arrival.

    A later job whose planned device cannot take it any more goes where it is believed to end first. Plans are the
    state: ((request, candidate of each job), …), the newest last.
    """

    name: str
    rule: str
    plan: Callable[[Problem], Assignment]

    def start(self, fleet: Fleet) -> State:
        """No plan yet."""
        return ()

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        plans: dict[str, Assignment] = dict(state or ())
        draft, placed = Draft(view), []
        for job in ready:
            if job.request not in plans:
                problem = problem_of(draft, job, extra_seconds)
                if all(problem.able):
                    plans[job.request] = self.plan(problem)
            placed.append(follow(draft, job, plans.get(job.request), self.rule, rng))
        return placed, tuple(plans.items())[-_KEPT:]

    def learn(self, state: State, event: Event) -> State:
        """A request that is through needs its plan no longer; the rest is dropped by age."""
        return state


def follow(draft: Draft, job: JobRef, plan: Assignment | None, rule: str, rng: np.random.Generator) -> Placement:
    """The planned candidate, or without one that can, the earliest believed finish; books it."""
    terms = draft.terms(job)
    terms["co-running"] = extra_seconds(draft, job)
    out = refused(job, draft.view)
    total = np.where(out > 0, np.inf, np.add.reduce(list(terms.values())))
    chosen: tuple[int, ...] = ()
    tied = 1
    if plan is not None and plan[job.job] >= 0 and not out[plan[job.job]]:
        chosen = (plan[job.job],)
    else:
        chosen, tied = pick(total, rng)
        rule = f"{rule}; its plan does not hold, so the earliest finish"
    if chosen:
        draft.book(job, chosen[0])
    return Placement(job, chosen, Score(rule, terms, total, out, tied))


def heft_plan(p: Problem) -> Assignment:
    """See :func:`hedgerow.placing.schedule.heft`."""
    return heft(p, upward(p.app, mean_run(p), mean_edges(p)))


def cpop_plan(p: Problem) -> Assignment:
    """See :func:`hedgerow.placing.schedule.cpop`."""
    runs, edges = mean_run(p), mean_edges(p)
    return cpop(p, upward(p.app, runs, edges), downward(p.app, runs, edges))


def peft_plan(p: Problem) -> Assignment:
    """See :func:`hedgerow.placing.schedule.peft`."""
    return peft(p, mean_edges(p))
