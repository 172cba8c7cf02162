"""Planning a request in stages with a barrier between them: what IBDASH and the reduced M-TEC have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hedgerow.placing.network import Floats, Ints
from hedgerow.placing.policies.common import levels
from hedgerow.placing.policies.timeline import Timeline, since
from hedgerow.placing.view import Candidates, Event, JobRef, Placement, Score, View, refused

_KEPT = 4096  # requests that are remembered


@dataclass(frozen=True)
class Decision:
    """What was planned for one job."""

    replicas: tuple[int, ...]  # candidates, the fastest first
    failure: float  # of everything up to it
    reason: Score


@dataclass(frozen=True)
class Memory:
    """The state: the timeline, the plans of requests, and which of their jobs have ended. Never changed in place."""

    timeline: Timeline = field(default_factory=dict)
    plans: Mapping[str, Mapping[int, Decision]] = field(default_factory=dict)
    ended: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def after(self, event: Event) -> Memory:
        """The memory after an event: a job has ended, or a device is gone with what its timeline held."""
        request, job = event.job
        if event.kind == "finished" and request in self.plans:
            return replace(self, ended={**self.ended, request: self.ended.get(request, frozenset()) | {job}})
        if event.kind == "left":
            return replace(self, timeline={d: s for d, s in self.timeline.items() if d != event.device})
        return self


class Instance:
    """One request as it is planned, on one view. ``loaded`` grows while planning: (device, form)."""

    def __init__(self, view: View, job: JobRef) -> None:
        self.view, self.job = view, job
        known = view.known
        at = np.argwhere(np.isfinite(view.loaded_at))
        self.loaded = {(int(d), int(f)) for d, f in at}
        self.slope = view.beliefs.slope
        solo = view.beliefs.intercept  # [D, T]: every intercept is near the time alone
        self.intercept = np.repeat(solo[:, :, None], solo.shape[1], axis=2) if solo.ndim == 2 else solo
        self._sinks = frozenset(known.app.sinks)

    def work(self, j: int) -> int:
        """Type of a job."""
        return self.view.known.app.jobs[j].work

    def candidates(self, j: int) -> Candidates:
        """Of a job."""
        return self.view.known.candidates[self.work(j)]

    def out(self, j: int) -> Ints:
        """[C] who is out of the question, as far as can be said before the job is ready."""
        known, job = self.view.known, self.job
        nbytes = known.app.works[self.work(j)].bytes_out if j in self._sinks else None
        inputs = job.inputs if j == job.job else ()
        return refused(JobRef(job.request, j, self.work(j), job.home, inputs, nbytes, job.arrived), self.view)

    def inputs(self, j: int, done: Mapping[int, Decision]) -> list[tuple[int, list[int], int]]:
        """(device of a parent's first replica, devices of all its replicas, bytes) of each input of a job."""
        app = self.view.known.app
        if not app.jobs[j].deps:
            return [(self.job.home, [self.job.home], app.works[self.work(j)].bytes_in)]
        found = []
        for parent in app.jobs[j].deps:
            devices = [int(self.candidates(parent).device[c]) for c in done[parent].replicas]
            if devices:
                found.append((devices[0], devices, app.works[self.work(parent)].bytes_out))
        return found

    def seconds(self, source: int, nbytes: float) -> Floats:
        """[D] of bytes from a device on idle links."""
        return self.view.network.routes(source, self.view.up).seconds(nbytes)


Plan = Callable[[Instance, Timeline, np.random.Generator], tuple[dict[int, Decision], Timeline]]


def decide(
    plan: Plan, ready: Sequence[JobRef], view: View, memory: Memory, rng: np.random.Generator
) -> tuple[list[Placement], Memory]:
    """Placements by plan: a request is planned when its first job is ready, and its stages wait for one another.

    A job none of whose planned devices can take it makes its request be planned anew.
    """
    timeline: Timeline = since(memory.timeline, view.now)
    plans, ended = dict(memory.plans), dict(memory.ended)
    stage = {j: n for n, jobs in enumerate(levels(view.known.app)) for j in jobs}
    placed = []
    for job in ready:
        out = refused(job, view)
        known = plans.get(job.request)
        if known is None or not [c for c in known[job.job].replicas if not out[c]]:
            plans[job.request], timeline = plan(Instance(view, job), timeline, rng)
        chosen = plans[job.request][job.job]
        before = {j for j, n in stage.items() if n < stage[job.job]}
        if not before <= ended.get(job.request, frozenset()):
            placed.append(Placement(job, (), chosen.reason, held=True))
            continue
        able = tuple(c for c in chosen.replicas if not out[c])
        placed.append(Placement(job, able, replace(chosen.reason, refused=out)))
    kept = dict(list(plans.items())[-_KEPT:])
    return placed, Memory(timeline, kept, {r: e for r, e in ended.items() if r in kept})
