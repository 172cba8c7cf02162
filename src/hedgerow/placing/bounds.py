"""How far from the best: proved optima of small plans, exhaustive search through the simulator, and lower bounds.

Needs the extra ``bounds`` (OR-Tools) for :func:`optimum` only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.placing.dag import Demand
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.policies.common import choose, in_turn, mean_costs, upward
from hedgerow.placing.schedule import Problem
from hedgerow.placing.simulator import run
from hedgerow.placing.view import DOWN, Believed, Draft, Event, JobRef, Placement, Score, State, View, refused
from hedgerow.placing.world import Truth, World

_TICKS = 1_000_000  # a second in CP-SAT's whole numbers
_MOST = 200_000  # placements that an exhaustive search goes through


@dataclass(frozen=True)
class Bound:
    """Seconds until the last answer. ``proved``: nothing shorter exists; ``value`` is then the optimum."""

    value: float
    below: float  # no schedule is shorter than this
    proved: bool


def optimum(p: Problem, limit_s: float = 30.0) -> Bound:
    """The shortest schedule of one request: CP-SAT with optional intervals, pairwise transfers on idle links.

    Without co-running, failures, queues on links and loading times (they only lengthen a schedule), so it is a lower
    bound of what any policy reaches in the simulator, and exact where none of them occurs. Raises HedgerowError
    without the extra, and when no schedule is found within ``limit_s`` seconds.
    """
    cp = _solver()
    model = cp.CpModel()
    app = p.app
    horizon = _ticks(sum(float(run[np.isfinite(run)].max()) for run in p.run) + _longest_ways(p)) + _TICKS
    start = [model.new_int_var(0, horizon, f"s{j}") for j in range(len(app.jobs))]
    end = [model.new_int_var(0, horizon, f"e{j}") for j in range(len(app.jobs))]
    last = model.new_int_var(0, horizon, "last")
    on: list[dict[int, Any]] = []
    at: dict[int, list[Any]] = {}
    for j, able in enumerate(p.able):
        if not able:
            raise HedgerowError(f"no device may run '{app.jobs[j].name}'")
        on.append({c: model.new_bool_var(f"x{j},{c}") for c in able})
        model.add_exactly_one(on[j].values())
        for c, chosen in on[j].items():
            took = _ticks(float(p.run[j][c]))
            at.setdefault(int(p.device[j][c]), []).append(
                model.new_optional_interval_var(start[j], took, end[j], chosen, f"i{j},{c}")
            )
            if not app.jobs[j].deps:
                way = _ticks(float(p.seconds(p.home, app.works[app.jobs[j].work].bytes_in)[p.device[j][c]]))
                model.add(start[j] >= way).only_enforce_if(chosen)
    for d, intervals in at.items():
        busy = [model.new_fixed_size_interval_var(0, _ticks(t), "") for t in p.free[d] if t > 0]
        model.add_cumulative([*intervals, *busy], [1] * (len(intervals) + len(busy)), len(p.free[d]))
    for e in app.edges:
        if e.source >= 0 and e.target >= 0:
            _precede(model, p, e.source, e.target, e.bytes, on, start, end)
        elif e.target < 0:
            for c, chosen in on[e.source].items():
                device = int(p.device[e.source][c])
                way = 0 if device == p.home else _ticks(float(p.seconds(device, e.bytes)[p.home]))
                model.add(last >= end[e.source] + way).only_enforce_if(chosen)
    model.minimize(last)
    solver = cp.CpSolver()
    solver.parameters.max_time_in_seconds = limit_s
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    status = solver.solve(model)
    if status not in (cp.OPTIMAL, cp.FEASIBLE):
        raise HedgerowError(f"no schedule was found within {limit_s:g} s; give it more time, or a smaller plan")
    value = solver.objective_value / _TICKS
    return Bound(value, solver.best_objective_bound / _TICKS, status == cp.OPTIMAL)


def _precede(
    model: Any, p: Problem, i: int, j: int, nbytes: int, on: Sequence[dict[int, Any]], start: list[Any], end: list[Any]
) -> None:
    for b, parent in on[i].items():
        source = int(p.device[i][b])
        ways = p.seconds(source, nbytes)
        for c, child in on[j].items():
            target = int(p.device[j][c])
            way = 0 if source == target else _ticks(float(ways[target]))
            model.add(start[j] >= end[i] + way).only_enforce_if(parent, child)


def _longest_ways(p: Problem) -> float:
    """A horizon's share for transfers: every edge on its slowest way, and every device's backlog."""
    total = max((t for times in p.free.values() for t in times), default=0.0)
    for e in p.app.edges:
        ways = np.concatenate([p.seconds(d, e.bytes)[sorted({*p.free, p.home})] for d in sorted({*p.free, p.home})])
        total += float(ways[np.isfinite(ways)].max(initial=0.0))
    return total


def _ticks(seconds: float) -> int:
    return round(seconds * _TICKS)


def _solver() -> Any:
    try:
        from ortools.sat.python import cp_model
    except ImportError as e:
        raise HedgerowError("proved optima need OR-Tools: pip install 'hedgerow[bounds]'") from e
    return cp_model


def critical_path(p: Problem) -> float:
    """Seconds of the longest way through the DAG, each job on its fastest candidate and no byte moved."""
    best = [float(run.min()) for run in p.run]
    ends: list[float] = []
    for j, job in enumerate(p.app.jobs):
        ends.append(best[j] + max((ends[d] for d in job.deps), default=0.0))
    return max(ends)


def least_work(p: Problem) -> float:
    """Seconds that all slots together need at least for the fastest candidates' work. Valid while running beside
    others never speeds a job up, which the caller's truth must satisfy (:func:`never_faster`)."""
    return sum(float(run.min()) for run in p.run) / sum(len(times) for times in p.free.values())


def lower_bound(p: Problem) -> float:
    """The larger of the two; for one request, of any size."""
    return max(critical_path(p), least_work(p))


def never_faster(truth: Truth) -> bool:
    """Whether running beside others never speeds up: without it solo times are no lower bound."""
    return bool((truth.slowing >= 0).all())


# --- through the simulator -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Given:
    """Every job goes to the candidate that is stated; where that cannot take it, nobody does."""

    assignment: tuple[int, ...]  # [J]
    name: str = "given"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        placed = []
        for job in ready:
            out, c = refused(job, view), self.assignment[job.job]
            placed.append(Placement(job, () if out[c] else (c,), Score("given", {}, np.zeros(len(out)), out)))
        return placed, state

    def learn(self, state: State, event: Event) -> State:
        """It learns nothing."""
        return state


def exhaustive(demand: Demand, known: Believed, world: World, seed: int) -> tuple[float, tuple[int, ...]]:
    """(seconds, assignment) of the best of all |C|^|V| placements of one request, each lived through the simulator.

    The exact optimum of one device a job without replicas or waiting on purpose, co-running included.
    """
    if len(demand.requests) != 1:
        raise HedgerowError("an exhaustive search is for one request")
    counts = [len(known.candidates[job.work].device) for job in demand.app.jobs]
    if np.prod([float(n) for n in counts]) > _MOST:
        raise HedgerowError(f"{' · '.join(map(str, counts))} placements are too many to try; take a smaller plan")
    best, where = np.inf, tuple([0] * len(counts))
    for chosen in itertools.product(*map(range, counts)):
        answered = run(demand, known, Given(chosen), world, seed).answered_s[0]
        if answered is not None and answered - demand.requests[0].arrives_s < best:
            best, where = answered - demand.requests[0].arrives_s, chosen
    return best, where


@dataclass(frozen=True)
class Clairvoyant:
    """Earliest finish among the devices that will not die before: it knows when each one fails. A bound, no peer."""

    deaths: tuple[tuple[tuple[float, float], ...], ...]  # per device: (dies, is back), ascending
    name: str = "clairvoyant"

    def start(self, fleet: Fleet) -> State:
        """It remembers nothing; it knows."""
        return None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class; where every device dies too early, as though none did."""
        rank = upward(view.known.app, *mean_costs(view))
        nearest = np.array([next((a for a, b in times if b > view.now), np.inf) for times in self.deaths])

        def rule(draft: Draft, job: JobRef) -> Placement:
            terms = draft.terms(job)
            out = refused(job, draft.view, terms)
            device = view.known.candidates[job.work].device
            needed = rank[job.job] - terms["run"].mean()  # whoever holds the output must last until it is used
            dies = view.now + np.add.reduce(list(terms.values())) + needed > nearest[device]
            spared = np.where((out == 0) & dies, DOWN, out)
            spared = spared if (spared == 0).any() else out
            return choose(job, "earliest finish on a device that lives", terms, spared, rng)

        return in_turn(ready, view, rule), state

    def learn(self, state: State, event: Event) -> State:
        """There is nothing left to learn."""
        return state


def clairvoyant(known: Believed, truth: Truth, until_s: float) -> Clairvoyant:
    """The policy that knows the deaths of one seed's truth up to ``until_s``."""
    deaths = []
    for device in known.fleet.devices:
        at, found = 0.0, []
        for up, down in truth.lives(device):
            found.append((at + up, at + up + down))
            at += up + down
            if at > until_s:
                break
        deaths.append(tuple(found))
    return Clairvoyant(tuple(deaths))
