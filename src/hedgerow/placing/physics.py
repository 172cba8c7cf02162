"""The simulated machines and wires: time passes, work is done, things die. They know the truth and decide nothing."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hedgerow.placing.network import Floats, Network
from hedgerow.placing.world import Truth

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


@dataclass(eq=False)
class Transfer:
    """Bytes on their way from one device to another, hop by hop."""

    id: int
    nbytes: int
    source: int
    target: int
    links: Sequence[int]
    arrived: Callable[[Transfer], None]
    purpose: Any  # what the one who sent it remembers by it
    hop: int = 0
    flying: bool = False  # has left the current link's sender
    alive: bool = True


class Wires:
    """Every link sends one transfer at a time, in the order in which they came."""

    def __init__(
        self,
        network: Network,
        truth: Truth,
        clock: Clock,
        log: Log,
        is_up: Callable[[int], bool],
        seen: Callable[[int, int, float], None],
    ) -> None:
        self.network, self.clock, self.log = network, clock, log
        self.s_per_byte = network.s_per_byte * truth.rate
        self.queues: list[deque[Transfer]] = [deque() for _ in network.source]
        self.queued_bytes = np.zeros(len(network.source))
        self.moving: dict[int, Transfer] = {}
        self.bytes_moved = 0
        self.money = 0.0
        self._is_up = is_up
        self._seen = seen  # (link, bytes, seconds): a transfer over one link that was seen to end
        self._began: list[float] = [0.0 for _ in network.source]  # since when the head of each link is timed,
        self._left: list[float] = [0.0 for _ in network.source]  # and its bytes that were left then
        self._first: list[float] = [0.0 for _ in network.source]  # when its first byte left
        self._version = [0 for _ in network.source]

    def send(self, transfer: Transfer) -> int | None:
        """Begin a transfer; returns the dead device that makes it impossible, if there is one (nothing is sent)."""
        for link in transfer.links:
            for end in (int(self.network.source[link]), int(self.network.target[link])):
                if not self._is_up(end):
                    return end
        self.moving[transfer.id] = transfer
        self._enqueue(transfer)
        return None

    def _enqueue(self, transfer: Transfer) -> None:
        link = transfer.links[transfer.hop]
        transfer.flying = False
        self.queues[link].append(transfer)
        self.queued_bytes[link] += transfer.nbytes
        if len(self.queues[link]) == 1:
            self._begin(link)

    def _begin(self, link: int) -> None:
        head = self.queues[link][0]
        self._left[link], self._first[link] = float(head.nbytes), self.clock.now
        self._time(link, head)

    def _time(self, link: int, head: Transfer) -> None:
        self._began[link] = self.clock.now
        self._version[link] += 1
        rate = self.s_per_byte[link]
        if np.isfinite(rate):
            self.clock.at(self.clock.now + self._left[link] * rate, self._sent, link, head, self._version[link])

    def set_rate(self, link: int, s_per_byte: float) -> None:
        """The link's true rate changes; what is on it goes on at the new one. Infinite: it is cut."""
        queue = self.queues[link]
        if queue and np.isfinite(self.s_per_byte[link]):
            sent = (self.clock.now - self._began[link]) / self.s_per_byte[link]
            self._left[link] = max(0.0, self._left[link] - sent)
        self.s_per_byte[link] = s_per_byte
        if queue:
            self._time(link, queue[0])

    def _sent(self, link: int, transfer: Transfer, version: int) -> None:
        if not transfer.alive or version != self._version[link]:
            return
        self._seen(link, transfer.nbytes, self.clock.now - self._first[link])
        self._dequeue(link, transfer)
        transfer.flying = True
        self.bytes_moved += transfer.nbytes
        self.money += transfer.nbytes * self.network.price_per_byte[link]
        self.clock.at(self.clock.now + self.network.delay_s[link], self._hopped, transfer)

    def _dequeue(self, link: int, transfer: Transfer) -> None:
        first = self.queues[link][0] is transfer
        self.queues[link].remove(transfer)
        self.queued_bytes[link] -= transfer.nbytes
        if first and self.queues[link]:
            self._begin(link)

    def _hopped(self, transfer: Transfer) -> None:
        if not transfer.alive:
            return
        transfer.hop += 1
        if transfer.hop < len(transfer.links):
            self._enqueue(transfer)
            return
        del self.moving[transfer.id]
        transfer.alive = False
        transfer.arrived(transfer)

    def drop(self, transfer: Transfer) -> None:
        """Stop a transfer where it is."""
        if not transfer.alive:
            return
        transfer.alive = False
        self.moving.pop(transfer.id, None)
        if not transfer.flying and transfer.hop < len(transfer.links):
            self._dequeue(transfer.links[transfer.hop], transfer)

    def cut(self, device: int) -> list[Transfer]:
        """Drop every transfer that still needs ``device``; returns them in the order in which they began."""
        lost = []
        for transfer in self.moving.values():
            rest = transfer.links[transfer.hop :]
            needs = {int(self.network.target[link]) for link in rest}
            needs |= {int(self.network.source[link]) for link in (rest[1:] if transfer.flying else rest)}
            if device in needs:
                lost.append(transfer)
        for transfer in lost:
            self.drop(transfer)
        return lost
