"""M-TEC: latency, probability of failure and money jointly. A reconstruction after its abstract and IBDASH's rules.

The paper's algorithm was not released and its text not read; nothing here is claimed to be it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.placing.fleet import Fleet
from hedgerow.placing.network import Bools, Floats
from hedgerow.placing.policies.common import (
    SAME,
    exec_seconds,
    extra_seconds,
    in_order,
    levels,
    mean_costs,
    ordered,
    upward,
)
from hedgerow.placing.policies.stages import Decision, Instance, Memory, decide
from hedgerow.placing.policies.timeline import Timeline, put, running
from hedgerow.placing.view import Draft, Event, JobRef, Placement, Score, State, View, refused


@dataclass(frozen=True)
class Rated:
    """What is known of every candidate [C] of one job when replicas are chosen; infinite ``latency``: it cannot."""

    latency: Floats  # F, seconds
    dies: Floats  # probability that the candidate's own device dies too early
    parents_ok: float | Floats  # probability that what it needs survives; one number, or [C]
    cost: Floats  # money


@dataclass(frozen=True)
class Mtec:
    """score(d) = w_lat·F/F_max + w_pf·PF + w_cost·cost/cost_max; the lowest wins, ties are drawn.

    F = wait + slowest input + load + run + what co-running adds + the answer's way home. Ready jobs go by HEFT's
    upward rank. Replicas are added while PF > ``threshold`` and the score of the whole set falls, its latency being
    the expected minimum. PF counts a device once, for as long as it is needed: its own run, and an input that lies
    elsewhere until it has come. Owner's rules come first: who is refused has no score.

    The last fields are switches that turn each addition to IBDASH off. With all of them off (:func:`reduced`) it is
    IBDASH, bit for bit.
    """

    name: str = "mtec"
    w_lat: float = 0.6
    w_pf: float = 0.25
    w_cost: float = 0.15
    threshold: float = 0.25
    most: int = 3
    expected_minimum: bool = True  # else: the newest replica's latency stands for the set's
    distinct: bool = True  # else: parents count as independent even on one device
    by_score: bool = True  # else: the fastest comes first, and replicas in order of speed
    stages: bool = False  # a barrier between stages, planned whole on a timeline of its own
    tick_s: float = 0.0  # every time is rounded up to it; only with stages

    def start(self, fleet: Fleet) -> State:
        """It remembers something only with stages."""
        return Memory() if self.stages else None

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """See the class."""
        if self.stages:
            return decide(self._plan, ready, view, state or Memory(), rng)
        draft = Draft(view)
        placed: dict[int, Placement] = {}
        order = [0] if len(ready) == 1 else ordered(ready, upward(view.known.app, *mean_costs(view)))
        for i in order:
            placed[i] = self.place_one(draft, ready[i], rng, last=i == order[-1])
        return in_order(ready, placed), state

    def learn(self, state: State, event: Event) -> State:
        """With stages: which jobs have ended. What is learnt of links and devices comes with the view."""
        return state.after(event) if isinstance(state, Memory) and event is not None else state

    def place_one(
        self, draft: Draft, job: JobRef, rng: np.random.Generator, first: int | None = None, last: bool = False
    ) -> Placement:
        """The candidates of one ready job, booked on ``draft`` unless it is the ``last``; ``first`` fixes the first."""
        terms = draft.terms(job)
        terms["co-running"] = extra_seconds(draft, job)
        out = refused(job, draft.view, terms)
        latency = np.where(out > 0, np.inf, np.add.reduce(list(terms.values())))
        rated = self._rated(draft, job, terms, latency)
        replicas, score, tied, pf = self.replicas(rated, rng, first)
        for c in () if last else replicas:
            draft.book(job, c)
        rule = "M-TEC (reconstruction): latency, failure and cost jointly"
        shares = {"failure": pf, "cost": rated.cost}
        return Placement(job, tuple(replicas), Score(rule, terms, score, out, tied, shares, "score"))

    def _rated(self, draft: Draft, job: JobRef, terms: Mapping[str, Floats], latency: Floats) -> Rated:
        view = draft.view
        c = view.known.candidates[job.work]
        lam = view.beliefs.failure_rate
        until = np.where(np.isfinite(latency), latency, 0.0)
        dies = -np.expm1(-lam[c.device] * until)
        ok = np.ones(len(c.device))
        if view.known.app.jobs[job.job].deps:  # what lies at home survives there
            way = np.where(np.isfinite(terms["transfer in"]), terms["transfer in"], 0.0)
            for data in job.inputs:
                gone = np.ones(len(c.device))
                here: Bools = np.zeros(len(c.device), bool)
                for holder in data.holders:
                    here |= c.device == holder
                    gone *= -np.expm1(-lam[holder] * way)
                ok *= np.where(here, 1.0, 1 - gone)
        money = c.price * (terms["load"] + terms["run"] + terms["co-running"])
        if view.network.price_per_byte.any():
            money = money + self._paid(view, job)[c.device]
        return Rated(latency, dies, ok, money)

    def _paid(self, view: View, job: JobRef) -> Floats:
        """[D] money for the job's bytes."""
        paid = np.zeros(len(view.up))
        for data in job.inputs:
            ways = [view.network.routes(h, view.up).price_per_byte for h in data.holders if view.up[h]]
            if ways:
                paid += data.bytes * np.minimum.reduce(ways)
        if job.bytes_home is not None:
            paid += job.bytes_home * view.network.routes(job.home, view.up, back=True).price_per_byte
        return paid

    def replicas(
        self, r: Rated, rng: np.random.Generator, first: int | None = None
    ) -> tuple[list[int], Floats, int, Floats]:
        """(replicas, [C] score of each candidate alone, how many shared the best, [C] PF of each alone)."""
        able = np.isfinite(r.latency)
        if not able.any():
            return [], np.full(len(able), np.inf), 1, np.ones(len(able))
        normal = r.latency / r.latency[able].max()
        most = float(r.cost[able].max())
        cost = r.cost / most if most > 0 else np.zeros(len(able))
        pf = 1 - r.parents_ok * (1 - r.dies)
        alone = self.w_lat * normal + self.w_pf * pf + (self.w_cost * cost if self.w_cost else 0.0)
        alone = np.where(able, alone, np.inf)
        key = alone if self.by_score else r.latency
        best = np.flatnonzero(key <= key.min() + (SAME if self.by_score else 0.0))
        best = best[np.argsort(key[best], kind="stable")]
        lead = int(best[0] if len(best) == 1 else rng.choice(best)) if first is None else first
        chosen, failure, score = [lead], float(pf[lead]), float(alone[lead])
        if failure <= self.threshold or self.most <= 1:  # the usual case: nobody needs the others in order
            return chosen, alone, len(best), pf
        for e in (int(i) for i in np.argsort(key, kind="stable") if i != lead and able[i]):
            if failure <= self.threshold or len(chosen) >= self.most:
                break
            failed, total = self._with(r, normal, cost, [*chosen, e], failure)
            if total < score:
                chosen, failure, score = [*chosen, e], failed, total
        return chosen, alone, len(best), pf

    def _with(self, r: Rated, normal: Floats, cost: Floats, chosen: list[int], before: float) -> tuple[float, float]:
        """(PF, score) of a set of replicas whose last one is new; ``before`` is the PF without it."""
        e = chosen[-1]
        if self.expected_minimum:
            ok = float(np.max(np.broadcast_to(r.parents_ok, r.dies.shape)[chosen]))
            failed = 1 - ok * (1 - float(np.prod(r.dies[chosen])))
            latency = expected_minimum(normal[chosen], r.dies[chosen])
        else:
            ok = float(np.broadcast_to(r.parents_ok, r.dies.shape)[e])
            failed = before * (1 - ok * (1 - float(r.dies[e])))
            latency = float(normal[e])
        score = self.w_lat * latency + self.w_pf * failed
        return failed, score + (self.w_cost * float(cost[chosen].sum()) if self.w_cost else 0.0)

    # --- with a barrier between stages --------------------------------------------------------------------------------
    def _plan(
        self, here: Instance, timeline: Timeline, rng: np.random.Generator
    ) -> tuple[dict[int, Decision], Timeline]:
        app = here.view.known.app
        done: dict[int, Decision] = {}
        needed: dict[int, dict[frozenset[int], float]] = {}  # job -> what must survive, and until when
        elapsed = 0.0
        for stage in levels(app):
            slowest = 0.0
            for j in stage:
                terms = self._stage_terms(here, j, done, timeline, here.view.now + elapsed)
                out, c, kind = here.out(j), here.candidates(j), here.work(j)
                latency = np.where(out > 0, np.inf, terms["exec"] + terms["upload"] + terms["transfer"])
                rated = self._stage_rated(here, j, done, needed, latency, terms, elapsed)
                chosen, score, tied, pf = self.replicas(rated, rng)
                rule = "M-TEC (reconstruction), in stages"
                reason = Score(rule, terms, score, out, tied, {"failure": pf, "cost": rated.cost}, "score")
                failure = 1.0
                if chosen:
                    failure = self._failure(rated, chosen)
                    took = [float(latency[e]) for e in chosen]
                    typical = rated.dies[chosen]
                    slow = expected_minimum(np.array(took), typical) if self.expected_minimum else max(took)
                    slowest = max(slowest, slow)
                    keys = frozenset(int(c.device[e]) for e in chosen)
                    needed[j] = self._needs(here, j, needed) | {keys: elapsed + max(took)}
                for e in chosen:
                    d = int(c.device[e])
                    here.loaded.add((d, int(c.form[e])))
                    begin = here.view.now + elapsed
                    timeline = put(timeline, d, kind, begin, float(latency[e]), here.slope[d], here.intercept[d])
                done[j] = Decision(tuple(chosen), failure, reason)
            elapsed += slowest
        return done, timeline

    def _failure(self, r: Rated, chosen: list[int]) -> float:
        """PF of the chosen set, by the rule that is switched on."""
        ok = np.broadcast_to(r.parents_ok, r.dies.shape)
        if self.expected_minimum:
            return 1 - float(ok[chosen[0]]) * (1 - float(np.prod(r.dies[chosen])))
        failed = 1 - float(ok[chosen[0]]) * (1 - float(r.dies[chosen[0]]))
        for e in chosen[1:]:
            failed = failed * (1 - float(ok[e]) * (1 - float(r.dies[e])))
        return failed

    def _stage_terms(
        self, here: Instance, j: int, done: Mapping[int, Decision], timeline: Timeline, begin: float
    ) -> dict[str, Floats]:
        c, kind = here.candidates(j), here.work(j)
        beside = running(timeline, len(here.slope), len(here.slope[0]), begin)[c.device]
        took = exec_seconds(here.slope[c.device, kind], here.intercept[c.device, kind], beside, kind)
        loaded = np.array([key in here.loaded for key in zip(c.device.tolist(), c.form.tolist(), strict=True)])
        way = np.zeros(len(c.device))
        for source, others, nbytes in here.inputs(j, done):
            seconds = self._ticks(here.seconds(source, nbytes)[c.device])
            way = np.maximum(way, np.where(np.isin(c.device, others), 0.0, seconds))
        return {"exec": took, "upload": np.where(loaded, 0.0, self._ticks(c.load_s)), "transfer": way}

    def _ticks(self, seconds: Floats) -> Floats:
        return np.ceil(seconds / self.tick_s) * self.tick_s if self.tick_s else seconds

    def _needs(
        self, here: Instance, j: int, needed: Mapping[int, Mapping[frozenset[int], float]]
    ) -> dict[frozenset[int], float]:
        """Sets of devices of which one must survive, and until when, for the parents of a job."""
        found: dict[frozenset[int], float] = {}
        for parent in here.view.known.app.jobs[j].deps:
            for devices, until in needed.get(parent, {}).items():
                found[devices] = max(found.get(devices, 0.0), until)
        return found

    def _stage_rated(
        self,
        here: Instance,
        j: int,
        done: Mapping[int, Decision],
        needed: Mapping[int, Mapping[frozenset[int], float]],
        latency: Floats,
        terms: Mapping[str, Floats],
        elapsed: float,
    ) -> Rated:
        c, lam = here.candidates(j), here.view.beliefs.failure_rate
        dies = 1 - np.exp(-lam[c.device] * (elapsed + np.where(np.isfinite(latency), latency, 0.0)))
        cost = c.price * (terms["exec"] + terms["upload"])
        ok: float | Floats = 1.0
        if not self.distinct:
            for parent in here.view.known.app.jobs[j].deps:
                ok *= 1 - done[parent].failure
            return Rated(latency, dies, ok, cost)
        ok = np.ones(len(dies))
        for devices, until in self._needs(here, j, needed).items():
            gone = float(np.prod([-np.expm1(-lam[d] * until) for d in sorted(devices)]))
            alone = np.isin(c.device, list(devices)) & (len(devices) == 1)
            ok *= np.where(alone, 1.0, 1 - gone)  # the same device is counted once: as the candidate itself
        return Rated(latency, dies, ok, cost)


def expected_minimum(latency: Floats, dies: Floats) -> float:
    """Mean of the first result's latency, given that there is one; replicas die independently.

    Σ_i F_i (1 - p_i) Π_{k<i} p_k / (1 - Π p), in order of F.
    """
    order = np.argsort(latency, kind="stable")
    reached, total = 1.0, 0.0
    for i in order:
        total += reached * (1 - float(dies[i])) * float(latency[i])
        reached *= float(dies[i])
    return total / (1 - reached) if reached < 1 else float(latency.max())


def reduced(alpha: float = 0.5, beta: float = 0.25, gamma: int = 3, tick_s: float = 0.001) -> Mtec:
    """M-TEC with switches that turn each addition to IBDASH off: the placements of IBDASH, bit for bit."""
    return Mtec(
        "mtec-reduced", w_lat=alpha, w_pf=1 - alpha, w_cost=0.0, threshold=beta, most=gamma, expected_minimum=False,
        distinct=False, by_score=False, stages=True, tick_s=tick_s,
    )  # fmt: skip


POLICY = Mtec()
