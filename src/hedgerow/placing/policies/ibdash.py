"""IBDASH (Abdallah et al., SRDS 2022), step by step as its rules were described to us; no code of it was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.network import Floats
from hedgerow.placing.policies.common import exec_seconds, levels
from hedgerow.placing.policies.stages import Decision, Instance, Memory, decide
from hedgerow.placing.policies.timeline import Timeline, put, running
from hedgerow.placing.view import Event, JobRef, Placement, Score, State, View


@dataclass(frozen=True)
class Ibdash:
    """Stages with a barrier; in each the fastest device, then replicas while the chance of failure is above ``beta``.

    ``alpha`` weighs latency against failure, ``beta`` is the failure threshold, ``gamma`` the most replicas: they are
    no weights of three objectives. A request is planned whole when it arrives, on IBDASH's own timeline, which no
    report ever corrects. As there: latency is that of the slowest replica, parents count as independent even on one
    device, every time is rounded up to the tick, and the cost of a form that is not loaded is its loading.
    """

    name: str = "ibdash"
    alpha: float = 0.5
    beta: float = 0.25
    gamma: int = 3
    tick_s: float = 0.001

    def start(self, fleet: Fleet) -> State:
        """An empty timeline and no plan."""
        return Memory()

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        return decide(self.plan, ready, view, state or Memory(), rng)

    def learn(self, state: State, event: Event) -> State:
        """Which jobs have ended, for the barrier; nothing else."""
        return state.after(event) if isinstance(state, Memory) and event is not None else state

    def plan(
        self, here: Instance, timeline: Timeline, rng: np.random.Generator
    ) -> tuple[dict[int, Decision], Timeline]:
        """Steps 2 to 7 for all jobs of a request."""
        done: dict[int, Decision] = {}
        elapsed = 0.0
        for stage in levels(here.view.known.app):
            longest = 0.0
            for j in stage:
                done[j], timeline, slowest = self._job(here, j, done, timeline, elapsed, rng)
                longest = max(longest, slowest)
            elapsed += longest
        return done, timeline

    def _job(
        self,
        here: Instance,
        j: int,
        done: dict[int, Decision],
        timeline: Timeline,
        elapsed: float,
        rng: np.random.Generator,
    ) -> tuple[Decision, Timeline, float]:
        c, kind = here.candidates(j), here.work(j)
        begin = here.view.now + elapsed
        terms = self.terms(here, j, done, timeline, begin)
        out = here.out(j)
        total = np.where(out > 0, np.inf, terms["exec"] + terms["upload"] + terms["transfer"])
        order = np.argsort(total, kind="stable")
        fastest = order[total[order] == total[order[0]]] if np.isfinite(total[order[0]]) else order[:0]
        if not len(fastest):
            return Decision((), 1.0, Score("IBDASH: nobody can", terms, total, out)), timeline, 0.0
        first = int(fastest[0] if len(fastest) == 1 else rng.choice(fastest))
        normal = total / total[np.isfinite(total)].max()
        lam = here.view.beliefs.failure_rate[c.device]
        parents_ok = 1.0
        for parent in here.view.known.app.jobs[j].deps:
            parents_ok *= 1 - done[parent].failure
        pf = 1 - np.exp(-lam * (elapsed + np.where(np.isfinite(total), total, 0.0)))
        failure = 1 - parents_ok * (1 - float(pf[first]))
        score = self.alpha * float(normal[first]) + (1 - self.alpha) * failure
        replicas = [first]
        timeline = self._put(here, j, kind, first, timeline, begin, float(total[first]))
        for e in (int(i) for i in order if i != first and np.isfinite(total[i])):
            if failure <= self.beta or len(replicas) >= self.gamma:
                break
            less = failure * (1 - parents_ok * (1 - float(pf[e])))
            if self.alpha * float(normal[e]) + (1 - self.alpha) * less < score:
                score = self.alpha * float(normal[e]) + (1 - self.alpha) * less
                failure = less
                replicas.append(e)
                timeline = self._put(here, j, kind, e, timeline, begin, float(total[e]))
        reason = Score("IBDASH: the fastest, replicated while failure is likely", terms, total, out, len(fastest),
                       {"failure": pf, "latency": normal})  # fmt: skip
        return Decision(tuple(replicas), failure, reason), timeline, max(float(total[r]) for r in replicas)

    def _put(
        self, here: Instance, j: int, kind: int, c: int, timeline: Timeline, begin: float, seconds: float
    ) -> Timeline:
        d = int(here.candidates(j).device[c])
        here.loaded.add((d, int(here.candidates(j).form[c])))
        return put(timeline, d, kind, begin, seconds, here.slope[d], here.intercept[d])

    def terms(
        self, here: Instance, j: int, done: dict[int, Decision], timeline: Timeline, begin: float
    ) -> dict[str, Floats]:
        """[C] seconds of execution beside what the timeline has, of uploading the model, of the slowest input."""
        c, kind = here.candidates(j), here.work(j)
        beside = running(timeline, len(here.slope), len(here.slope[0]), begin)[c.device]
        took = exec_seconds(here.slope[c.device, kind], here.intercept[c.device, kind], beside, kind)
        loaded = np.array([key in here.loaded for key in zip(c.device.tolist(), c.form.tolist(), strict=True)])
        upload = np.where(loaded, 0.0, self._ticks(c.load_s))
        transfer = np.zeros(len(c.device))
        for source, others, nbytes in here.inputs(j, done):
            way = self._ticks(here.seconds(source, nbytes)[c.device])
            transfer = np.maximum(transfer, np.where(np.isin(c.device, others), 0.0, way))
        return {"exec": took, "upload": upload, "transfer": transfer}

    def _ticks(self, seconds: Floats) -> Floats:
        """Rounded up to whole ticks."""
        return np.ceil(seconds / self.tick_s) * self.tick_s if self.tick_s else seconds


POLICY = Ibdash()
