"""One simulated run: a policy meets a fleet whose devices really die.

The driver knows what a planner knows: what it sent where, what came back, and, ``notice_s`` after a death, who is
gone. Then everything that was running or held there is lost, and the same policy places it anew; a result whose only
holder died is made again by running its job once more. Inputs of requests are kept on their home's disk: they survive
its absence, but do not travel while it lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.placing.belief import Ledger
from hedgerow.placing.courier import Courier
from hedgerow.placing.dag import Demand
from hedgerow.placing.fate import Fate
from hedgerow.placing.learning import Planner
from hedgerow.placing.physics import Attempt, Clock, Done, Key, Log, Machine
from hedgerow.placing.progress import INPUT, Errand, JobState
from hedgerow.placing.traces import Trace
from hedgerow.placing.view import Believed, Event, Input, JobRef, Placement, Policy
from hedgerow.placing.wires import Wires
from hedgerow.placing.world import World, draw
from hedgerow.run import seeds


class Driver:
    """The planner at work in one simulated run; :func:`hedgerow.placing.simulator.run` reads what it leaves."""

    def __init__(
        self,
        demand: Demand,
        known: Believed,
        policy: Policy,
        world: World,
        seed: int,
        record: bool,
        planner: Planner | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.demand, self.app, self.known, self.policy, self.world = demand, demand.app, known, policy, world
        self.fleet = known.fleet
        self.record = record
        works = [w.name for w in self.app.works]
        self.truth = draw(world, self.fleet, len(demand.requests), len(self.app.jobs), seed, works)
        self.rng = seeds(seed).generator(f"policy/{policy.name}")
        self.state = policy.start(self.fleet)
        self.clock = Clock()
        self.log = Log(self.clock, record)
        self.machines = [
            Machine(d, int(known.slots[d]), float(known.room[d]), self.truth.slowing[d], self.clock, self.log,
                    self._finished, self._evicted)
            for d in range(len(self.fleet.devices))
        ]  # fmt: skip
        self.wires = Wires(
            known.network, self.truth, self.clock, self.log, lambda d: self.machines[d].up, self._carried
        )
        self.book = Ledger(known, self.machines, planner)
        self.courier = Courier(self)
        self.fate = Fate(self, trace or Trace(()))
        places = {name: d for d, name in enumerate(self.fleet.names)}
        self.homes = [places[r.home] for r in demand.requests]
        self.sinks = self.app.sinks
        self.children = [[i for i, j in enumerate(self.app.jobs) if d in j.deps] for d in range(len(self.app.jobs))]
        self.jobs = [[JobState() for _ in self.app.jobs] for _ in demand.requests]
        self.ready: dict[Key, None] = {}
        self.unplaced: dict[Key, None] = {}  # no candidate now; asked again when the fleet changes
        self.holding: dict[Key, None] = {}  # held back by the policy; asked again when a job has ended
        self.lives = [0 for _ in self.machines]  # deaths so far
        self.unnoticed: set[int] = set()
        self.answered: list[float | None] = [None for _ in demand.requests]
        self.open = len(demand.requests)
        self.count = self.lost = 0
        self.done: list[Done] = []
        self.failed = [False for _ in demand.requests]  # whether a death took work or a result of it
        self.decisions: list[tuple[float, Placement]] = []
        self.decision_s: list[float] = []

    def live(self) -> None:
        """Let time pass until every request is answered or nobody waits any longer."""
        for r, request in enumerate(self.demand.requests):
            self.clock.at(request.arrives_s, self._arrive, r)
        self.fate.begin()
        end = max(r.arrives_s for r in self.demand.requests) + self.world.patience_s
        while self.open and self.clock.step(end):
            self._decide()
        for machine in self.machines:
            machine.die()

    # --- deciding -----------------------------------------------------------------------------------------------------
    def _arrive(self, r: int) -> None:
        self.courier.hold((r, INPUT), self.homes[r])
        self.log("arrive", key=(r, INPUT), dev=self.homes[r])
        for j, job in enumerate(self.app.jobs):
            if not job.deps:
                self._make_ready((r, j))

    def _job(self, key: Key) -> JobState:
        return self.jobs[key[0]][key[1]]

    def _make_ready(self, key: Key) -> None:
        self._job(key).status = "ready"
        self.ready[key] = None

    def _decide(self) -> None:
        """Ask the policy about everything that is ready; jobs whose inputs were lost first have those made again."""
        while self.ready:
            keys = list(self.ready)
            self.ready.clear()
            jobs = {key: ref for key in keys if (ref := self._ref(key)) is not None}
            if not jobs:
                continue
            view = self.book.view(self.clock.now, self.wires.queued_bytes)
            before = perf_counter()
            placements, self.state = self.policy.place(list(jobs.values()), view, self.state, self.rng)
            self.decision_s.append(perf_counter() - before)
            if [p.job for p in placements] != list(jobs.values()):
                raise HedgerowError(f"policy {self.policy.name} must answer for every ready job, in order")
            for key, placement in zip(jobs, placements, strict=True):
                self._dispatch(key, placement)

    def _ref(self, key: Key) -> JobRef | None:
        """The job as a policy sees it; None when an input is lost and has to be made again."""
        r, j = key
        job = self.app.jobs[j]
        for d in job.deps:
            if not self.courier.holders.get((r, d)):
                self._job(key).status = "waiting"
                self._remake((r, d))
        if self._job(key).status == "waiting":
            return None
        works, holders = self.app.works, self.courier.holders
        inputs = [Input(tuple(holders[r, d]), works[self.app.jobs[d].work].bytes_out) for d in job.deps]
        inputs = inputs or [Input(tuple(holders[r, INPUT]), works[job.work].bytes_in)]
        home = works[job.work].bytes_out if j in self.sinks else None
        request = self.demand.requests[r]
        return JobRef(request.id, j, job.work, self.homes[r], tuple(inputs), home, request.arrives_s)

    def _remake(self, key: Key) -> None:
        if self._job(key).status == "done":
            self.failed[key[0]] = True
            self._make_ready(key)

    def _dispatch(self, key: Key, placement: Placement) -> None:
        if self.record:
            self.decisions.append((self.clock.now, placement))
        if not placement.replicas:
            (self.holding if placement.held else self.unplaced)[key] = None
            return
        self._job(key).status = "placed"
        candidates = self.known.candidates[placement.job.work]
        known = [c for c in placement.replicas if 0 <= c < len(candidates.device)]
        devices = [int(candidates.device[c]) for c in known if self.book.up[candidates.device[c]]]
        if len(set(devices)) < len(placement.replicas):
            what = f"policy {self.policy.name} placed {placement.job.request}"
            raise HedgerowError(f"{what} twice on one device, or where nobody can take it")
        for c, d in zip(placement.replicas, devices, strict=True):
            a = self._attempt(key, c, d, placement.job)
            self._job(key).attempts[a.id] = a
            self.log("place", key=key, dev=d, form=a.form, attempt=a.id)
            self.book.sent(a)
            for part in range(len(placement.job.inputs)):
                self.courier.fetch(Errand(key, a, part))

    def _attempt(self, key: Key, candidate: int, device: int, job: JobRef) -> Attempt:
        c = self.known.candidates[job.work]
        wrong = self.truth.wrong(device, float(c.doubt[candidate]))
        luck = float(np.exp(c.spread[candidate] * self.truth.luck[key]))
        load, took = float(c.load_s[candidate]), float(c.run_s[candidate])
        ways = [self.book.way(data, device, self.wires.queued_bytes) for data in job.inputs]
        ready = self.clock.now + max((w[0] for w in ways if w is not None), default=0.0)
        times = self.fate.times(key, device, load * wrong, took * wrong * luck)
        a = Attempt(
            self.next_id(), key, candidate, device, int(c.form[candidate]), *times,
            float(c.memory[candidate]), ready, load, took, missing=len(job.inputs), work=job.work,
        )  # fmt: skip
        if self.machines[device].slowing.any():
            a.met = np.zeros(len(self.app.works))
        return a

    def undelivered(self, key: Key) -> bool:
        """Whether a sink's result waits to come home."""
        job = self._job(key)
        return job.status == "done" and not job.delivered

    def deliver(self, key: Key) -> None:
        """A sink's answer is home."""
        r = key[0]
        if self._job(key).delivered:  # made again while the first answer waited for its home: it came twice
            return
        self._job(key).delivered = True
        self.log("answer", key=key, dev=self.homes[r])
        if all(self.jobs[r][s].delivered for s in self.sinks):
            self._close(r)

    def _close(self, r: int) -> None:
        """A request is answered: call off what was being made again although its bytes were already on the way."""
        self.answered[r] = self.clock.now
        self.open -= 1
        for j, job in enumerate(self.jobs[r]):
            self.ready.pop((r, j), None)
            self.unplaced.pop((r, j), None)
            self.holding.pop((r, j), None)
            for a in list(job.attempts.values()):
                self._call_off(a)
            job.attempts.clear()
        for j in (INPUT, *range(len(self.app.jobs))):
            self.courier.forget((r, j))

    def next_id(self) -> int:
        """A number for an attempt or a transfer; no two have the same."""
        self.count += 1
        return self.count

    # --- what ends ----------------------------------------------------------------------------------------------------
    def _finished(self, a: Attempt) -> None:
        """A machine has done an attempt: the first of its job wins, the others are called off."""
        job = self._job(a.key)
        for other in list(job.attempts.values()):
            if other is not a:
                self._call_off(other)
        job.attempts.clear()
        job.status, job.spent = "done", a.spent
        self.courier.stop(a)
        self.book.ended(a, self.clock.now)
        c = self.known.candidates[self.app.jobs[a.key[1]].work]
        value = float(c.value[a.candidate])
        self.done.append(Done(*a.key, a.device, a.form, a.began, self.clock.now, value))
        self.courier.hold(a.key, a.device)
        took, key = self.clock.now - a.run_began, (self.demand.requests[a.key[0]].id, a.key[1])
        if a.met is not None and took > 0:
            self.book.learner.ran(a.device, a.work, took, a.met / took)
        self._learn(Event("finished", self.clock.now, a.device, a.form, a.believed_run_s, took, a.work, job=key))
        held, self.holding = self.holding, {}
        self.ready.update(held)
        for child in self.children[a.key[1]]:
            deps = self.app.jobs[child].deps
            states = self.jobs[a.key[0]]
            if states[child].status == "waiting" and all(states[d].status == "done" for d in deps):
                self._make_ready((a.key[0], child))
        if a.key[1] in self.sinks:
            self.courier.fetch(Errand(a.key))

    def _call_off(self, a: Attempt) -> None:
        """Stop an attempt wherever it is; its machine, if up, is free for others."""
        self.courier.stop(a)
        self.machines[a.device].cancel(a)
        self.book.ended(a, self.clock.now)

    def give_up(self, a: Attempt) -> None:
        """An attempt whose input nobody holds any more."""
        self._call_off(a)
        self._without(a)

    def _without(self, a: Attempt) -> None:
        job = self._job(a.key)
        job.attempts.pop(a.id, None)
        if job.status == "placed" and not job.attempts:
            self.failed[a.key[0]] = True
            self._make_ready(a.key)

    def _evicted(self, device: int) -> None:
        self.book.changed.add(device)

    def _learn(self, event: Event) -> None:
        self.state = self.policy.learn(self.state, event)

    def _is_up(self, device: int) -> bool:
        return self.machines[device].up

    def _carried(self, link: int, nbytes: int, seconds: float) -> None:
        self.book.learner.transferred(link, nbytes, seconds, self.clock.now)
        self._learn(Event("transfer", self.clock.now, -1, took_s=seconds, link=link, bytes=nbytes))

    # --- devices that die and come back -------------------------------------------------------------------------------
    def die(self, d: int) -> None:
        """A device is gone; the planner does not know yet."""
        self.log("down", dev=d)
        self.machines[d].die()
        self.courier.cut(d)
        self.lives[d] += 1
        self.unnoticed.add(d)
        self.clock.at(self.clock.now + self.world.notice_s, self._notice, d, self.lives[d])

    def pause(self, d: int, on: bool) -> None:
        """A device sleeps, or its owner wants it; its agent says so at once."""
        if on == self.machines[d].paused:
            return
        self.log("pause" if on else "resume", dev=d)
        self.book.paused[d] = on
        self.book.changed.add(d)
        self.machines[d].pause(on)
        self._learn(Event("paused" if on else "resumed", self.clock.now, d))
        if not on:
            self._again(())

    def _notice(self, d: int, life: int) -> None:
        """The planner learns of a death: what was there is gone, what it cut is taken up again."""
        if life != self.lives[d] or d not in self.unnoticed:
            return
        self.unnoticed.discard(d)
        self.log("notice", dev=d)
        lost = self.book.gone(d)
        self.book.learner.left(d, self.clock.now)
        self._learn(Event("left", self.clock.now, d))
        for a in lost:
            self.lost += 1
            a.alive = False
            self.courier.stop(a)
            self._without(a)
        for what in self.courier.lose(d):
            if what[1] in self.sinks and self.undelivered(what) and not self.courier.holders.get(what):
                self._remake(what)
        self._again(self.courier.cut_off(d))

    def rise(self, d: int) -> None:
        """A device is up again, empty; whoever had not noticed its death does so now."""
        self._notice(d, self.lives[d])
        self.log("up", dev=d)
        self.machines[d].rise()
        self.book.paused[d] = False
        self.book.back(d, self.clock.now)
        self.book.learner.joined(d, self.clock.now)
        self._learn(Event("joined", self.clock.now, d))
        self._again(self.courier.waiting_for(d))

    def _again(self, errands: Sequence[Errand]) -> None:
        """The fleet has changed: try once more what had no way or no device."""
        self.courier.again(errands)
        waiting, self.unplaced = self.unplaced, {}
        self.ready.update(waiting)
