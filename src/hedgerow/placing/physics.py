"""The simulated machines: time passes, work is done, things die. They know the truth and decide nothing."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hedgerow.placing.network import Floats

Key = tuple[int, int]  # (request, job); job -1 = the request's own input


class Clock:
    """A heap of things to happen; equal times happen in the order in which they were announced."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        """Let ``what(*arguments)`` happen at ``when``, which is never before now."""
        self._count += 1
        heapq.heappush(self._heap, (max(float(when), self.now), self._count, what, arguments))

    def step(self, end: float) -> bool:
        """Let everything of the next moment happen; False when nothing is left until ``end``."""
        if not self._heap or self._heap[0][0] > end:
            return False
        self.now = moment = self._heap[0][0]
        while self._heap and self._heap[0][0] == moment:
            _, _, what, arguments = heapq.heappop(self._heap)
            what(*arguments)
        return True


class Log:
    """What happened, in order: plain rows that a trace or a picture is made from. Off, it keeps nothing."""

    def __init__(self, clock: Clock, on: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        self.on = on
        self._clock = clock

    def __call__(self, event: str, **values: Any) -> None:
        """Append ``{t, ev, …}``."""
        if self.on:
            self.rows.append({"t": self._clock.now, "ev": event, **values})


@dataclass(eq=False)
class Attempt:
    """One try of one job on one device."""

    id: int
    key: Key
    candidate: int
    device: int
    form: int
    load_s: float  # true
    run_s: float  # true
    memory: float
    ready_at: float  # believed arrival of its inputs
    believed_load_s: float
    believed_run_s: float
    believed_end: float = 0.0
    missing: int = 0  # inputs that are not there yet
    alive: bool = True
    phase: str = "waiting"  # waiting (for inputs), queued, load, run, done
    left: float = 0.0  # seconds of work left in this phase, alone on the device
    began: float = 0.0  # when it took its slot
    run_began: float = 0.0
    version: int = 0
    spent: float = 0.0  # seconds that it held a slot
    work: int = 0  # position in App.works: its type, by which others slow it
    met: Floats | None = None  # [T] seconds of running beside each type; None where nothing slows anything


@dataclass(frozen=True)
class Done:
    """One attempt that ended well; the last one of a job is what the answer rests on."""

    request: int
    job: int
    device: int
    form: int
    start_s: float  # of the slot, load included
    end_s: float
    value: float  # score of the form, NaN without one


@dataclass(eq=False)
class Machine:
    """A device with slots, memory for models, and a queue. First come, first served, but for what must wait for a
    model that is being loaded."""

    index: int
    slots: int
    room: float
    slowing: Floats  # [T, T]: share of its time alone that type t takes longer for each further running u
    clock: Clock
    log: Log
    done: Callable[[Attempt], None]
    evicted: Callable[[int], None]
    up: bool = True
    paused: bool = False  # asleep, or its owner wants it for himself: all stands still, nothing is lost
    running: dict[int, Attempt] = field(default_factory=dict)
    queue: deque[Attempt] = field(default_factory=deque)
    loaded: dict[int, float] = field(default_factory=dict)  # form -> bytes, least recently used first
    loading: dict[int, float] = field(default_factory=dict)
    busy_s: float = 0.0
    work_s: float = 0.0  # progress made, in seconds alone on the device
    loads: int = 0
    evictions: int = 0
    _since: float = 0.0

    def submit(self, a: Attempt) -> None:
        """Queue an attempt whose inputs are here."""
        a.phase = "queued"
        self.queue.append(a)
        self.fill()

    def fill(self) -> None:
        """Start whatever can start."""
        if not self.up or self.paused:
            return
        waiting: list[Attempt] = []
        while self.queue and len(self.running) < self.slots:
            a = self.queue.popleft()
            if a.form in self.loading or not (a.form in self.loaded or self._make_room(a)):
                waiting.append(a)
                if a.form not in self.loading:
                    break  # the first that lacks memory must not be overtaken for ever
                continue
            self._start(a)
        self.queue.extendleft(reversed(waiting))

    def _make_room(self, a: Attempt) -> bool:
        """Evict idle models, least recently used first, until ``a``'s form fits; evict none when that is not enough."""
        used = {r.form for r in self.running.values()}
        free = self.room - sum(self.loaded.values()) - sum(self.loading.values())
        idle = [form for form in self.loaded if form not in used]
        chosen: list[int] = []
        while free < a.memory and len(chosen) < len(idle):
            chosen.append(idle[len(chosen)])
            free += self.loaded[chosen[-1]]
        if free < a.memory:
            return False
        for form in chosen:
            del self.loaded[form]
            self.evictions += 1
            self.evicted(self.index)
            self.log("evict", dev=self.index, form=form)
        return True

    def _start(self, a: Attempt) -> None:
        self._pass_time()
        a.began = self.clock.now
        self.running[a.id] = a
        if a.form in self.loaded:
            self._run(a)
        else:
            self.loads += 1
            self.loading[a.form] = a.memory
            a.phase, a.left = "load", a.load_s
            self.log("load", dev=self.index, form=a.form, key=a.key, attempt=a.id)
        self._retime(a)

    def _run(self, a: Attempt) -> None:
        self.loaded[a.form] = self.loaded.pop(a.form)
        a.phase, a.left, a.run_began = "run", a.run_s, self.clock.now
        self.log("start", dev=self.index, form=a.form, key=a.key, attempt=a.id)

    def _rates(self) -> list[float]:
        """Progress per second of all that runs, in its order: 0 paused, 1 alone, less beside others."""
        if self.paused:
            return [0.0] * len(self.running)
        if not self._slows or len(self.running) == 1:
            return [1.0] * len(self.running)
        types = [a.work for a in self.running.values()]
        beside = np.add.reduce(self.slowing[:, types], axis=1)  # [T], itself included
        return [1.0 / (1.0 + float(beside[t] - self.slowing[t, t])) for t in types]

    @cached_property
    def _slows(self) -> bool:
        return bool(self.slowing.any())

    def _pass_time(self) -> None:
        """Credit the work done since the set of running attempts last changed."""
        passed = self.clock.now - self._since
        self._since = self.clock.now
        if not passed:
            return
        for a, rate in zip(self.running.values(), self._rates(), strict=True):
            a.left -= passed * rate
            self.work_s += passed * rate
            if a.met is not None and a.phase == "run":
                for b in self.running.values():
                    if b is not a:
                        a.met[b.work] += passed

    def _retime(self, changed: Attempt | None = None) -> None:
        """Announce ends anew: of all that run when they slow one another, else of the one that changed."""
        for a, rate in zip(self.running.values(), self._rates(), strict=True):
            if a is changed or self._slows:
                a.version += 1
                if rate > 0:
                    self.clock.at(self.clock.now + max(0.0, a.left) / rate, self._ended, a, a.version)

    def pause(self, on: bool) -> None:
        """Let all stand still, or go on."""
        if on == self.paused:
            return
        self._pass_time()
        self.paused = on
        for a, rate in zip(self.running.values(), self._rates(), strict=True):
            a.version += 1
            if rate > 0:
                self.clock.at(self.clock.now + max(0.0, a.left) / rate, self._ended, a, a.version)
        self.fill()

    def _ended(self, a: Attempt, version: int) -> None:
        if not a.alive or a.version != version:
            return
        self._pass_time()
        if a.phase == "load":
            self.loaded[a.form] = self.loading.pop(a.form)
            self.log("loaded", dev=self.index, form=a.form, key=a.key, attempt=a.id)
            self._run(a)
            self._retime(a)
        else:
            a.phase = "done"
            self._leave(a)
            self.log("finish", dev=self.index, form=a.form, key=a.key, attempt=a.id)
            self._retime()
            self.done(a)
        self.fill()

    def _leave(self, a: Attempt) -> None:
        del self.running[a.id]
        a.spent = self.clock.now - a.began
        self.busy_s += a.spent

    def cancel(self, a: Attempt) -> None:
        """Take an attempt away, wherever it is."""
        a.alive = False
        if a.id in self.running:
            self.log("cancel", dev=self.index, form=a.form, key=a.key, attempt=a.id)
            self._pass_time()
            if a.phase == "load":
                del self.loading[a.form]
            self._leave(a)
            self._retime()
            self.fill()
        elif a in self.queue:
            self.queue.remove(a)

    def die(self) -> None:
        """Running work, queue and loaded models are gone."""
        self._pass_time()
        self.up = self.paused = False
        for a in list(self.running.values()):
            a.alive = False
            self._leave(a)
            self.log("lost", dev=self.index, form=a.form, key=a.key, attempt=a.id)
        for a in self.queue:
            a.alive = False
        self.queue.clear()
        self.loaded.clear()
        self.loading.clear()

    def rise(self) -> None:
        """Up again, with nothing loaded."""
        self.up, self.paused = True, False
        self._since = self.clock.now
