"""One simulated run: a policy meets a fleet whose devices really die.

The driver knows what a planner knows: what it sent where, what came back, and, ``notice_s`` after a death, who is
gone. Then everything that was running or held there is lost, and the same policy places it anew; a result whose only
holder died is made again by running its job once more. Inputs of requests are kept on their home's disk: they survive
its absence, but do not travel while it lasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.placing.belief import Ledger
from hedgerow.placing.dag import Demand
from hedgerow.placing.physics import Attempt, Clock, Done, Key, Log, Machine, Transfer, Wires
from hedgerow.placing.view import Believed, Event, Input, JobRef, Placement, Policy
from hedgerow.placing.world import World, draw
from hedgerow.run import seeds

INPUT = -1  # the "job" that a request's own input counts as


@dataclass
class _Job:
    status: str = "waiting"  # waiting, ready, placed, done
    attempts: dict[int, Attempt] = field(default_factory=dict)
    spent: float = 0.0  # slot seconds of the attempt that made the result
    delivered: bool = False  # a sink's answer is home


@dataclass(frozen=True)
class _Errand:
    """Why bytes travel: input ``part`` of an attempt, or (no attempt) the answer of a job."""

    key: Key
    attempt: Attempt | None = None
    part: int = 0


class Driver:
    """The planner at work in one simulated run; :func:`hedgerow.placing.simulator.run` reads what it leaves."""

    def __init__(self, demand: Demand, known: Believed, policy: Policy, world: World, seed: int, record: bool) -> None:
        self.demand, self.app, self.known, self.policy, self.world = demand, demand.app, known, policy, world
        self.fleet = known.fleet
        self.record = record
        self.truth = draw(world, self.fleet, len(demand.requests), len(self.app.jobs), seed)
        self.rng = seeds(seed).generator(f"policy/{policy.name}")
        self.state = policy.start(self.fleet)
        self.clock = Clock()
        self.log = Log(self.clock, record)
        self.machines = [
            Machine(d, int(known.slots[d]), float(known.room[d]), world.interference, self.clock, self.log,
                    self._finished, self._evicted)
            for d in range(len(self.fleet.devices))
        ]  # fmt: skip
        self.wires = Wires(known.network, self.truth, self.clock, self.log, lambda d: self.machines[d].up)
        self.book = Ledger(known, self.machines)
        places = {name: d for d, name in enumerate(self.fleet.names)}
        self.homes = [places[r.home] for r in demand.requests]
        self.sinks = self.app.sinks
        self.children = [[i for i, j in enumerate(self.app.jobs) if d in j.deps] for d in range(len(self.app.jobs))]
        self.jobs = [[_Job() for _ in self.app.jobs] for _ in demand.requests]
        self.holders: dict[Key, dict[int, None]] = {}  # believed; in order of arrival
        self.held: list[dict[Key, None]] = [{} for _ in self.machines]
        self.ready: dict[Key, None] = {}
        self.unplaced: dict[Key, None] = {}  # no candidate now; asked again when the fleet changes
        self.casualties: list[list[_Errand]] = [[] for _ in self.machines]  # cut by a death not yet noticed
        self.parked: list[list[_Errand]] = [[] for _ in self.machines]  # until a home is back
        self.stuck: list[_Errand] = []  # no way now
        self.travelling: dict[int, dict[int, Transfer]] = {}  # attempt -> its transfers
        self.lives = [0 for _ in self.machines]  # deaths so far
        self.unnoticed: set[int] = set()
        self.departed: set[int] = set()
        self.answered: list[float | None] = [None for _ in demand.requests]
        self.open = len(demand.requests)
        self.count = self.lost = 0
        self.done: list[Done] = []
        self.decisions: list[tuple[float, Placement]] = []
        self.decision_s: list[float] = []

    def live(self) -> None:
        """Let time pass until every request is answered or nobody waits any longer."""
        for r, request in enumerate(self.demand.requests):
            self.clock.at(request.arrives_s, self._arrive, r)
        for d, device in enumerate(self.fleet.devices):
            if device.name in self.world.leave:
                self.clock.at(self.world.leave[device.name], self._leave, d)
            if self.world.failures and device.failure is not None:
                self._live(d, self.truth.lives(device))
        end = max(r.arrives_s for r in self.demand.requests) + self.world.patience_s
        while self.open and self.clock.step(end):
            self._decide()
        for machine in self.machines:
            machine.die()

    # --- deciding -----------------------------------------------------------------------------------------------------
    def _arrive(self, r: int) -> None:
        self.holders[r, INPUT] = {self.homes[r]: None}
        self.log("arrive", key=(r, INPUT), dev=self.homes[r])
        for j, job in enumerate(self.app.jobs):
            if not job.deps:
                self._make_ready((r, j))

    def _job(self, key: Key) -> _Job:
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
            if not self.holders.get((r, d)):
                self._job(key).status = "waiting"
                self._remake((r, d))
        if self._job(key).status == "waiting":
            return None
        works = self.app.works
        inputs = [Input(tuple(self.holders[r, d]), works[self.app.jobs[d].work].bytes_out) for d in job.deps]
        inputs = inputs or [Input(tuple(self.holders[r, INPUT]), works[job.work].bytes_in)]
        home = works[job.work].bytes_out if j in self.sinks else None
        return JobRef(self.demand.requests[r].id, j, job.work, self.homes[r], tuple(inputs), home)

    def _remake(self, key: Key) -> None:
        if self._job(key).status == "done":
            self._make_ready(key)

    def _dispatch(self, key: Key, placement: Placement) -> None:
        if self.record:
            self.decisions.append((self.clock.now, placement))
        if not placement.replicas:
            self.unplaced[key] = None
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
                self._fetch(_Errand(key, a, part))

    def _attempt(self, key: Key, candidate: int, device: int, job: JobRef) -> Attempt:
        c = self.known.candidates[job.work]
        self.count += 1
        wrong = float(self.truth.speed[device]) if c.assumed[candidate] else 1.0
        luck = float(np.exp(c.spread[candidate] * self.truth.luck[key]))
        load, took = float(c.load_s[candidate]), float(c.run_s[candidate])
        ways = [self.book.way(data, device, self.wires.queued_bytes) for data in job.inputs]
        ready = self.clock.now + max((w[0] for w in ways if w is not None), default=0.0)
        return Attempt(
            self.count, key, candidate, device, int(c.form[candidate]), load * wrong, took * wrong * luck,
            float(c.memory[candidate]), ready, load, took, missing=len(job.inputs),
        )  # fmt: skip

    # --- moving bytes -------------------------------------------------------------------------------------------------
    def _data(self, errand: _Errand) -> tuple[Key, int]:
        """What an errand moves, and how many bytes it is."""
        r, j = errand.key
        if errand.attempt is None:
            return errand.key, self.app.works[self.app.jobs[j].work].bytes_out
        job = self.app.jobs[j]
        if not job.deps:
            return (r, INPUT), self.app.works[job.work].bytes_in
        return (r, job.deps[errand.part]), self.app.works[self.app.jobs[job.deps[errand.part]].work].bytes_out

    def _fetch(self, errand: _Errand) -> None:
        """Bring an input to its attempt, or an answer home; by the best way that is believed to be open."""
        a = errand.attempt
        if not (a.alive if a is not None else self._undelivered(errand.key)):
            return
        what, nbytes = self._data(errand)
        target = a.device if a is not None else self.homes[errand.key[0]]
        holders = self.holders.get(what, {})
        if target in holders:
            self._arrived(errand)
            return
        found = self.book.way(Input(tuple(holders), nbytes), target, self.wires.queued_bytes)
        home = self.homes[errand.key[0]]
        if found is not None and self.book.up[target]:
            self._send(errand, found[1], target, found[2], nbytes)
        elif not self.book.up[home] and (home == target or home in holders):
            self.parked[home].append(errand)
        elif any(self.book.up[h] for h in holders):
            self.stuck.append(errand)
        elif a is not None:
            self._give_up(a)

    def _send(self, errand: _Errand, source: int, target: int, links: Sequence[int], nbytes: int) -> None:
        self.count += 1
        transfer = Transfer(self.count, nbytes, source, target, links, self._landed, errand)
        dead = self.wires.send(transfer)
        if dead is not None:
            self.casualties[dead].append(errand)
            return
        if errand.attempt is not None:
            self.travelling.setdefault(errand.attempt.id, {})[transfer.id] = transfer
        what, _ = self._data(errand)
        self.log("send", key=what, src=source, dst=target, bytes=nbytes)

    def _landed(self, transfer: Transfer) -> None:
        errand = transfer.purpose
        what, _ = self._data(errand)
        self.log("receive", key=what, src=transfer.source, dst=transfer.target, bytes=transfer.nbytes)
        if errand.attempt is not None:
            self.travelling.get(errand.attempt.id, {}).pop(transfer.id, None)
        self._arrived(errand)

    def _arrived(self, errand: _Errand) -> None:
        a = errand.attempt
        if a is None:
            self._deliver(errand.key)
            return
        what, _ = self._data(errand)
        self._hold(what, a.device)
        a.missing -= 1
        if a.missing == 0 and self.machines[a.device].up:
            self.machines[a.device].submit(a)

    def _hold(self, what: Key, device: int) -> None:
        self.holders.setdefault(what, {})[device] = None
        if what[1] != INPUT or device != self.homes[what[0]]:  # what lies on a home's disk survives
            self.held[device][what] = None

    def _undelivered(self, key: Key) -> bool:
        job = self._job(key)
        return job.status == "done" and not job.delivered

    def _deliver(self, key: Key) -> None:
        r = key[0]
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
            for a in list(job.attempts.values()):
                self._call_off(a)
            job.attempts.clear()
        for j in (INPUT, *range(len(self.app.jobs))):
            for device in self.holders.pop((r, j), {}):
                self.held[device].pop((r, j), None)

    # --- what ends ----------------------------------------------------------------------------------------------------
    def _finished(self, a: Attempt) -> None:
        """A machine has done an attempt: the first of its job wins, the others are called off."""
        job = self._job(a.key)
        for other in list(job.attempts.values()):
            if other is not a:
                self._call_off(other)
        job.attempts.clear()
        job.status, job.spent = "done", a.spent
        self.travelling.pop(a.id, None)
        self.book.ended(a, self.clock.now)
        c = self.known.candidates[self.app.jobs[a.key[1]].work]
        value = float(c.value[a.candidate])
        self.done.append(Done(*a.key, a.device, a.form, a.began, self.clock.now, value))
        self._hold(a.key, a.device)
        took = self.clock.now - a.run_began
        self._learn(Event("finished", self.clock.now, a.device, a.form, a.believed_run_s, took))
        for child in self.children[a.key[1]]:
            deps = self.app.jobs[child].deps
            states = self.jobs[a.key[0]]
            if states[child].status == "waiting" and all(states[d].status == "done" for d in deps):
                self._make_ready((a.key[0], child))
        if a.key[1] in self.sinks:
            self._fetch(_Errand(a.key))

    def _call_off(self, a: Attempt) -> None:
        """Stop an attempt wherever it is; its machine, if up, is free for others."""
        for transfer in self.travelling.pop(a.id, {}).values():
            self.wires.drop(transfer)
        self.machines[a.device].cancel(a)
        self.book.ended(a, self.clock.now)

    def _give_up(self, a: Attempt) -> None:
        """An attempt whose input nobody holds any more."""
        self._call_off(a)
        self._without(a)

    def _without(self, a: Attempt) -> None:
        job = self._job(a.key)
        job.attempts.pop(a.id, None)
        if job.status == "placed" and not job.attempts:
            self._make_ready(a.key)

    def _evicted(self, device: int) -> None:
        self.book.changed.add(device)

    def _learn(self, event: Event) -> None:
        self.state = self.policy.learn(self.state, event)

    # --- devices that die and come back -------------------------------------------------------------------------------
    def _live(self, d: int, lives: Iterator[tuple[float, float]]) -> None:
        up, down = next(lives)
        self.clock.at(self.clock.now + up, self._fail, d, down, lives)

    def _fail(self, d: int, down: float, lives: Iterator[tuple[float, float]]) -> None:
        if d not in self.departed:
            self._die(d)
            self.clock.at(self.clock.now + down, self._rise, d, lives)

    def _leave(self, d: int) -> None:
        self.departed.add(d)
        if self.machines[d].up:
            self._die(d)

    def _die(self, d: int) -> None:
        self.log("down", dev=d)
        self.machines[d].die()
        self.casualties[d] += [t.purpose for t in self.wires.cut(d)]
        self.lives[d] += 1
        self.unnoticed.add(d)
        self.clock.at(self.clock.now + self.world.notice_s, self._notice, d, self.lives[d])

    def _notice(self, d: int, life: int) -> None:
        """The planner learns of a death: what was there is gone, what it cut is taken up again."""
        if life != self.lives[d] or d not in self.unnoticed:
            return
        self.unnoticed.discard(d)
        self.log("notice", dev=d)
        lost = self.book.gone(d)
        self._learn(Event("left", self.clock.now, d))
        for a in lost:
            self.lost += 1
            a.alive = False
            for transfer in self.travelling.pop(a.id, {}).values():
                self.wires.drop(transfer)
            self._without(a)
        held, self.held[d] = self.held[d], {}
        for what in held:
            self.holders.get(what, {}).pop(d, None)
            if what[1] in self.sinks and self._undelivered(what) and not self.holders.get(what):
                self._remake(what)
        errands, self.casualties[d] = self.casualties[d], []
        self._again(errands)

    def _rise(self, d: int, lives: Iterator[tuple[float, float]]) -> None:
        if d in self.departed:
            return
        self._notice(d, self.lives[d])
        self.log("up", dev=d)
        self.machines[d].rise()
        self.book.back(d, self.clock.now)
        self._learn(Event("joined", self.clock.now, d))
        errands, self.parked[d] = self.parked[d], []
        self._again(errands)
        self._live(d, lives)

    def _again(self, errands: Sequence[_Errand]) -> None:
        """The fleet has changed: try once more what had no way or no device."""
        stuck, self.stuck = self.stuck, []
        for errand in (*errands, *stuck):
            self._fetch(errand)
        waiting, self.unplaced = self.unplaced, {}
        self.ready.update(waiting)
