"""One request as a scheduling problem on what is believed, and how long an assignment of its jobs would take.

The model that planners of whole requests search in: what a driver does, links without queues. Also the list schedulers
of the textbooks on it. Times are seconds from now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.dag import App
from hedgerow.placing.network import Floats, Ints
from hedgerow.placing.view import Draft, JobRef, refused

Assignment = tuple[int, ...]  # [J] candidate of each job


@dataclass(frozen=True)
class Problem:
    """The jobs of one request, each with its candidates [C]; infinite ``run`` where one cannot."""

    app: App
    device: tuple[Ints, ...]  # [J] of [C]
    form: tuple[Ints, ...]
    run: tuple[Floats, ...]
    load: tuple[Floats, ...]  # 0 where the form is loaded
    price: tuple[Floats, ...]  # money per busy second
    failure_rate: Floats  # [D]
    free: dict[int, list[float]]  # per device that may be used: when each slot is free, ascending
    home: int
    sinks: frozenset[int]
    seconds: Callable[[int, float], Floats]  # (from device, bytes) -> [D] on idle links

    @property
    def able(self) -> list[list[int]]:
        """[J] candidates that can."""
        return [np.flatnonzero(np.isfinite(run)).tolist() for run in self.run]


def problem_of(draft: Draft, job: JobRef, extra: Callable[[Draft, JobRef], Floats] | None = None) -> Problem:
    """The whole request of ``job``, from its beginning; ``extra`` gives the seconds that co-running adds [C]."""
    view = draft.view
    known, app = view.known, view.known.app
    runs, loads = [], []
    sinks = frozenset(app.sinks)
    for j, node in enumerate(app.jobs):
        work = app.works[node.work]
        ref = JobRef(job.request, j, node.work, job.home, (), work.bytes_out if j in sinks else None, job.arrived)
        c = known.candidates[node.work]
        out = refused(ref, view)
        out[~np.isfinite(view.network.routes(job.home, view.up).delay_s[c.device])] = 1
        run = c.run_s + (extra(draft, ref) if extra is not None else 0.0)
        runs.append(np.where(out > 0, np.inf, run))
        loads.append(np.where(np.isfinite(draft.loaded_at[c.device, c.form]), 0.0, c.load_s))
    used = sorted({int(d) for n, r in zip(app.jobs, runs, strict=True)
                   for d in known.candidates[n.work].device[np.isfinite(r)]})  # fmt: skip
    free = {d: [max(0.0, float(t) - view.now) for t in draft.free_at[d] if np.isfinite(t)] for d in used}

    def seconds(source: int, nbytes: float) -> Floats:
        return view.network.routes(source, view.up).seconds(nbytes)

    per_job = [known.candidates[n.work] for n in app.jobs]
    return Problem(
        app, tuple(c.device for c in per_job), tuple(c.form for c in per_job), tuple(runs), tuple(loads),
        tuple(c.price for c in per_job), view.beliefs.failure_rate, free, job.home, sinks, seconds,
    )  # fmt: skip


def evaluate(p: Problem, chosen: Sequence[int]) -> tuple[float, list[float]]:
    """(seconds until every answer is home, [J] end of each job) when each job is sent off as soon as it is ready.

    Devices serve in the order in which inputs arrive; whoever first needs a form loads it, others wait for that.
    """
    app = p.app
    free = {d: list(times) for d, times in p.free.items()}
    loaded: dict[tuple[int, int], float] = {}
    ends = [0.0] * len(app.jobs)
    missing = [len(job.deps) for job in app.jobs]
    heap: list[tuple[float, int]] = []
    for j, job in enumerate(app.jobs):
        if not job.deps:
            nbytes = app.works[job.work].bytes_in
            heapq.heappush(heap, (float(p.seconds(p.home, nbytes)[p.device[j][chosen[j]]]), j))
    children = [[k for k, job in enumerate(app.jobs) if j in job.deps] for j in range(len(app.jobs))]
    last = 0.0
    while heap:
        ready, j = heapq.heappop(heap)
        c = chosen[j]
        d, form, load = int(p.device[j][c]), int(p.form[j][c]), float(p.load[j][c])
        slots = free[d]
        begin = max(ready, slots[0])
        if load and (d, form) in loaded:
            begin, load = max(begin, loaded[d, form]), 0.0
        elif load:
            loaded[d, form] = begin + load
        ends[j] = slots[0] = begin + load + float(p.run[j][c])
        slots.sort()
        out = app.works[app.jobs[j].work].bytes_out
        if j in p.sinks:
            last = max(last, ends[j] + (0.0 if d == p.home else float(p.seconds(d, out)[p.home])))
        for child in children[j]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(heap, (_inputs(p, child, chosen, ends), child))
    return last, ends


def _inputs(p: Problem, j: int, chosen: Sequence[int], ends: Sequence[float]) -> float:
    """When the last input of ``j`` is on its device."""
    at = int(p.device[j][chosen[j]])
    latest = 0.0
    for parent in p.app.jobs[j].deps:
        source = int(p.device[parent][chosen[parent]])
        out = p.app.works[p.app.jobs[parent].work].bytes_out
        latest = max(latest, ends[parent] + (0.0 if source == at else float(p.seconds(source, out)[at])))
    return latest


def exposure(p: Problem, chosen: Sequence[int], ends: Sequence[float]) -> float:
    """Probability that a device dies before the last job on it ends; devices are counted once."""
    until: dict[int, float] = {}
    for j, c in enumerate(chosen):
        d = int(p.device[j][c])
        until[d] = max(until.get(d, 0.0), ends[j])
    return float(-np.expm1(-sum(float(p.failure_rate[d]) * t for d, t in until.items())))


def money(p: Problem, chosen: Sequence[int]) -> float:
    """Busy seconds at the owners' prices."""
    return float(sum(p.price[j][c] * (p.load[j][c] + p.run[j][c]) for j, c in enumerate(chosen)))


# --- list schedulers -------------------------------------------------------------------------------------------------
class Timetable:
    """Busy stretches of every slot; places a job in the first gap that holds it (insertion, as in HEFT)."""

    def __init__(self, p: Problem) -> None:
        self.p = p
        self.ends = [0.0] * len(p.app.jobs)
        self.chosen = [-1] * len(p.app.jobs)
        self._busy: dict[int, list[list[tuple[float, float]]]] = {
            d: [[(0.0, t)] for t in times] for d, times in p.free.items()
        }

    def inputs(self, j: int) -> Floats:
        """[C] when the last input of ``j`` is on each candidate's device; its parents are placed."""
        p = self.p
        job = p.app.jobs[j]
        if not job.deps:
            return p.seconds(p.home, p.app.works[job.work].bytes_in)[p.device[j]]
        latest = np.zeros(len(p.device[j]))
        for parent in job.deps:
            source = int(p.device[parent][self.chosen[parent]])
            way = p.seconds(source, p.app.works[p.app.jobs[parent].work].bytes_out)[p.device[j]]
            latest = np.maximum(latest, self.ends[parent] + np.where(p.device[j] == source, 0.0, way))
        return latest

    def finish(self, j: int) -> Floats:
        """[C] earliest end of ``j`` on each candidate; infinite where it cannot run."""
        ready, found = self.inputs(j), np.full(len(self.p.device[j]), np.inf)
        for c in np.flatnonzero(np.isfinite(self.p.run[j])):
            took = float(self.p.run[j][c] + self.p.load[j][c])
            found[c] = min(_gap(s, float(ready[c]), took) for s in self._busy[int(self.p.device[j][c])]) + took
        return found

    def put(self, j: int, c: int) -> None:
        """Place ``j`` on candidate ``c`` in its first gap."""
        ready, took = float(self.inputs(j)[c]), float(self.p.run[j][c] + self.p.load[j][c])
        slots = self._busy[int(self.p.device[j][c])]
        starts = [_gap(s, ready, took) for s in slots]
        best = int(np.argmin(starts))
        slots[best] = sorted([*slots[best], (starts[best], starts[best] + took)])
        self.chosen[j], self.ends[j] = c, starts[best] + took


def _gap(busy: Sequence[tuple[float, float]], ready: float, took: float) -> float:
    """Start of the first gap that holds ``took`` from ``ready`` on."""
    at = ready
    for start, end in busy:
        if at + took <= start:
            return at
        at = max(at, end)
    return at


def mean_run(p: Problem) -> Floats:
    """[J] mean seconds over the candidates that can."""
    return np.array([run[np.isfinite(run)].mean() if np.isfinite(run).any() else 0.0 for run in p.run])


def mean_edges(p: Problem) -> Floats:
    """[E] mean seconds of each edge between two different devices that may be used, from the first few of them."""
    some = sorted(p.free)[:8]
    others = np.array(sorted(p.free))
    found = []
    for e in p.app.edges:
        seconds = [float(np.mean(p.seconds(d, e.bytes)[others[others != d]])) for d in some if len(others) > 1]
        found.append(float(np.mean([s for s in seconds if np.isfinite(s)] or [0.0])))
    return np.array(found)


def heft(p: Problem, rank: Floats) -> Assignment:
    """HEFT (Topcuoglu, Hariri & Wu 2002): by upward rank, each where it ends earliest, with insertion."""
    table = Timetable(p)
    for j in _by_rank(p.app, rank):
        table.put(j, int(np.argmin(table.finish(j))))
    return tuple(table.chosen)


def cpop(p: Problem, up: Floats, down: Floats) -> Assignment:
    """CPOP (ibid.): jobs of the critical path on the one device where their sum is least, others as in HEFT."""
    rank = up + down
    path = [j for j in range(len(rank)) if rank[j] >= rank.max() - 1e-9 * max(1.0, rank.max())]
    table = Timetable(p)
    sums = {d: sum(_on(p, j, d) for j in path) for d in p.free}
    best = min(sums, key=lambda d: (sums[d], d), default=-1)
    for j in _by_rank(p.app, rank):
        where = np.flatnonzero((p.device[j] == best) & np.isfinite(p.run[j]))
        table.put(j, int(where[0]) if j in path and len(where) else int(np.argmin(table.finish(j))))
    return tuple(table.chosen)


def _on(p: Problem, j: int, device: int) -> float:
    where = np.flatnonzero(p.device[j] == device)
    return float(p.run[j][where[0]] + p.load[j][where[0]]) if len(where) else np.inf


def peft(p: Problem, edges: Floats) -> Assignment:
    """PEFT (Arabnejad & Barbosa 2014): earliest finish plus the optimistic cost of everything that follows."""
    app, follow = p.app, optimistic(p, edges)
    rank = np.array([f[np.isfinite(f)].mean() if np.isfinite(f).any() else 0.0 for f in follow])
    table = Timetable(p)
    for j in _by_rank(app, rank):
        table.put(j, int(np.argmin(table.finish(j) + np.where(np.isfinite(follow[j]), follow[j], 0.0))))
    return tuple(table.chosen)


def optimistic(p: Problem, edges: Floats) -> list[Floats]:
    """[J] of [C]: PEFT's optimistic cost table, the least time from a job's end on a candidate to the request's."""
    app = p.app
    between = {(e.source, e.target): float(edges[i]) for i, e in enumerate(app.edges)}
    table: list[Floats] = [np.zeros(len(d)) for d in p.device]
    for j in reversed(range(len(app.jobs))):
        for child in (k for k, job in enumerate(app.jobs) if j in job.deps):
            ahead = table[child] + p.run[child] + p.load[child]
            away = between[j, child] * (p.device[j][:, None] != p.device[child][None, :])
            table[j] = np.maximum(table[j], (ahead[None, :] + away).min(1))
        if j in p.sinks:
            table[j] = np.maximum(table[j], np.where(p.device[j] == p.home, 0.0, between[j, -1]))
    return table


def _by_rank(app: App, rank: Floats) -> list[int]:
    """Jobs by falling rank, each after its parents also where ranks are equal."""
    order: list[int] = []
    left = sorted(range(len(app.jobs)), key=lambda j: (-rank[j], j))
    while left:
        j = next(j for j in left if all(d in order for d in app.jobs[j].deps))
        order.append(j)
        left.remove(j)
    return order
