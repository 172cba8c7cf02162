"""Look-ahead: a request's jobs are assigned together, by trying whole assignments on the believed world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import extra_seconds, in_order, mean_costs, ordered, upward
from hedgerow.placing.policies.mtec import POLICY as MTEC
from hedgerow.placing.policies.mtec import Mtec
from hedgerow.placing.policies.whole import cpop_plan, heft_plan, peft_plan
from hedgerow.placing.schedule import Assignment, Problem, Timetable, evaluate, exposure, money, problem_of
from hedgerow.placing.view import Draft, Event, JobRef, Placement, State, View, refused

_KEPT = 4096
_GAIN = 1e-12  # of the score: less is rounding
_KICK = 3  # jobs that are moved at random out of a local optimum
_LATE = 1.5  # a planned device whose score is worse than the best one's by this factor is not followed any more


@dataclass(frozen=True)
class Lookahead:
    """Start from HEFT, CPOP, PEFT and the greedy; then change one job's device, or two jobs' at once, while it pays;
    then leave the local optimum by moving a few jobs at random, and climb again.

    What is minimised is M-TEC's score of the whole request: w_lat·T/T₀ + w_pf·PF + w_cost·cost/cost₀, where T is the
    time of the last answer when the driver does as planned, and ₀ means the greedy's. ``budget`` counts evaluations of
    whole assignments, so that a decision does not depend on the machine's speed. Replicas are added as M-TEC does,
    when a job is ready; a planned device that has become bad is left for M-TEC's choice.
    """

    name: str = "lookahead"
    budget: int = 300
    breadth: int = 6  # candidates tried for each job: those that run it fastest, and those nearest to home
    greedy: Mtec = MTEC

    def start(self, fleet: Fleet) -> State:
        """No plan yet."""
        return ()

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class. The state is ((request, candidate of each job), …), the newest last."""
        plans: dict[str, Assignment] = dict(state or ())
        draft = Draft(view)
        placed: dict[int, Placement] = {}
        order = [0] if len(ready) == 1 else ordered(ready, upward(view.known.app, *mean_costs(view)))
        for i in order:
            job = ready[i]
            if job.request not in plans and len(view.known.app.jobs) > 1:
                problem = problem_of(draft, job, extra_seconds)
                if all(problem.able):
                    plans[job.request] = self.search(problem)
            placed[i] = self._follow(draft, job, plans.get(job.request), rng)
        return in_order(ready, placed), tuple(plans.items())[-_KEPT:]

    def learn(self, state: State, event: Event) -> State:
        """When a device is gone or back, no plan holds any more."""
        return () if event is not None and event.kind in ("left", "joined") else state

    def _follow(self, draft: Draft, job: JobRef, plan: Assignment | None, rng: np.random.Generator) -> Placement:
        if plan is None or refused(job, draft.view)[plan[job.job]]:
            return self.greedy.place_one(draft, job, rng)
        terms = draft.terms(job)
        total = np.add.reduce(list(terms.values())) + extra_seconds(draft, job)
        total[refused(job, draft.view) > 0] = np.inf
        bad = total[plan[job.job]] > _LATE * total.min() + 2 * terms["run"].min()
        return self.greedy.place_one(draft, job, rng, None if bad else plan[job.job])

    def search(self, p: Problem) -> Assignment:
        """The best assignment found within the budget; the same on every machine."""
        start = self._greedy(p)
        first, ends = evaluate(p, start)
        base = max(first, 1e-12), money(p, start)
        known: dict[Assignment, float] = {start: self._score(p, start, first, ends, base)}
        best = start
        for other in (heft_plan(p), peft_plan(p), cpop_plan(p)):
            best = self._better(p, best, other, known, base)
        single, double = self._moves(p)
        kicks = np.random.default_rng(len(single))  # the same for the same problem: a search is no lottery
        found = self._climb(p, best, single + double, known, base)
        idle = 0
        while len(known) < self.budget and idle < self.budget:
            kicked = list(found)
            for i in kicks.choice(len(single), min(_KICK, len(single)), replace=False):
                (j, c) = single[i][0]
                kicked[j] = c
            before = len(known)
            other = tuple(kicked)
            if other not in known:
                known[other] = self._score(p, other, *evaluate(p, other), base)
            other = self._climb(p, other, single, known, base)
            found = other if known[other] < known[found] - _GAIN else found
            idle = 0 if len(known) > before else idle + 1
        return found

    def _climb(
        self,
        p: Problem,
        best: Assignment,
        moves: list[list[tuple[int, int]]],
        known: dict[Assignment, float],
        base: tuple[float, float],
    ) -> Assignment:
        """The first change that pays is made, until none does or the budget is spent."""
        improved = True
        while improved:
            improved = False
            for change in moves:
                if len(known) >= self.budget:
                    return best
                tried = list(best)
                for j, c in change:
                    tried[j] = c
                found = self._better(p, best, tuple(tried), known, base)
                if found != best:
                    best, improved = found, True
        return best

    def _better(
        self, p: Problem, best: Assignment, other: Assignment, known: dict[Assignment, float], base: tuple[float, float]
    ) -> Assignment:
        if other not in known:
            known[other] = self._score(p, other, *evaluate(p, other), base)
        return other if known[other] < known[best] - _GAIN else best

    def _score(
        self, p: Problem, chosen: Assignment, last: float, ends: list[float], base: tuple[float, float]
    ) -> float:
        total = self.greedy.w_lat * last / base[0]
        if p.failure_rate.any():
            total += self.greedy.w_pf * exposure(p, chosen, ends)
        return total + (self.greedy.w_cost * money(p, chosen) / base[1] if base[1] > 0 else 0.0)

    def _moves(self, p: Problem) -> tuple[list[list[tuple[int, int]]], list[list[tuple[int, int]]]]:
        """Single changes, then changes of a job together with one of its parents."""
        near = p.seconds(p.home, 1e5)
        options = []
        for j, able in enumerate(p.able):
            fast = sorted(able, key=p.run[j].__getitem__)[: self.breadth]
            close = sorted(able, key=near[p.device[j]].__getitem__)[: self.breadth // 2]
            options.append(list(dict.fromkeys([*fast, *close])))
        single = [[(j, c)] for j, some in enumerate(options) for c in some]
        double = [
            [(j, c), (parent, b)]
            for j, job in enumerate(p.app.jobs)
            for parent in job.deps
            for c in options[j]
            for b in options[parent]
            if p.device[j][c] == p.device[parent][b]
        ]
        return single, double

    def _greedy(self, p: Problem) -> Assignment:
        """Each job, in the App's order, where it ends first."""

        table = Timetable(p)
        for j in range(len(p.app.jobs)):
            table.put(j, int(np.argmin(table.finish(j))))
        return tuple(table.chosen)


POLICY = Lookahead()
