"""What a policy sees and what it answers. All of it is belief, none of it can be changed, and nothing of it is truth.

Arrays have one row a device [D], a core slot [D, S], a form [F], a link [L] or a candidate [C]; a candidate is one
(device, form) that may do a Work. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from hedgerow.placing.dag import App
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.network import Bools, Floats, Ints, Network
from hedgerow.placing.options import Menu

State = Any  # whatever a policy wants to remember; it must never change it in place
NEVER = np.inf


@dataclass(frozen=True)
class Form:
    """One form of one Pack, or a plain program (``pack`` and ``variant`` empty)."""

    pack: str
    name: str
    variant: str

    @property
    def label(self) -> str:
        """``isic-encoder/onnx-int8``."""
        return f"{self.name}/{self.variant}" if self.variant else self.name


@dataclass(frozen=True)
class Candidates:
    """Where and as what one Work may run, with the believed times of a request on an idle device."""

    device: Ints
    form: Ints
    run_s: Floats  # median
    load_s: Floats
    spread: Floats  # sigma of the logarithm of the run time, from the measured p95 / p50
    memory: Floats  # bytes
    price: Floats  # money per busy second
    value: Floats  # the score by which forms are ranked, NaN without one
    assumed: Bools  # nobody measured it there
    doubt: Floats  # sigma of the logarithm of its error: 0 measured, NaN assumed (the World says), else from the band

    @staticmethod
    def of(menu: Menu, forms: Mapping[Form, int], fleet: Fleet) -> Candidates:
        """The chosen option of every device that has one."""
        chosen = [d.options[d.chosen] for d in menu.devices if d.chosen is not None]
        timings = [o.timing for o in chosen if o.timing is not None]
        p50 = np.array([t.p50_ms for t in timings])
        p95 = np.array([t.p95_ms for t in timings])
        ratio = np.divide(p95, p50, out=np.ones_like(p50), where=p50 > 0)
        beyond = np.log(np.maximum(ratio, 1.0)) / Z95
        # the p95 of a predicted time is the end of its band: how wrong it may be for good, not how calls spread
        likely = np.array([t.source == "predicted" for t in timings], bool)
        assumed = np.array([t.source == "assumed" for t in timings], bool)
        made = Candidates(
            np.array([o.device for o in chosen], np.int64),
            np.array([forms[Form(o.pack, o.name, o.variant)] for o in chosen], np.int64),
            p50 / 1e3,
            np.array([t.load_ms for t in timings]) / 1e3,
            np.where(likely, 0.0, beyond),
            np.array([t.memory_bytes for t in timings], float),
            np.array([fleet.devices[o.device].price_per_s for o in chosen]),
            np.array([float(o.score["value"]) if o.score else np.nan for o in chosen]),
            likely | assumed,
            np.where(likely, beyond, np.where(assumed, np.nan, 0.0)),
        )
        for array in vars(made).values():
            array.flags.writeable = False
        return made


Z95 = 1.6448536269514722  # the 95 % quantile of a standard normal variable


@dataclass(frozen=True)
class Believed:
    """The part of a view that does not change while time passes."""

    fleet: Fleet
    app: App
    network: Network
    forms: tuple[Form, ...]
    menus: tuple[Menu, ...]  # per Work
    candidates: tuple[Candidates, ...]  # per Work
    slots: Ints  # [D] requests that may run at the same time
    room: Floats  # [D] bytes for models
    own_only: Bools  # [D]

    @staticmethod
    def of(fleet: Fleet, app: App, menus: Sequence[Menu]) -> Believed:
        """Everything that follows from the files and the menus."""
        chosen = [d.options[d.chosen] for m in menus for d in m.devices if d.chosen is not None]
        forms = tuple(dict.fromkeys(Form(o.pack, o.name, o.variant) for o in chosen))
        index = {form: i for i, form in enumerate(forms)}
        slots = []
        for i, device in enumerate(fleet.devices):
            threads = max((o.timing.threads for o in chosen if o.device == i and o.timing), default=1)
            most = max(1, device.usable_cores // threads)
            slots.append(min(most, device.rules.max_tasks or most))
        return Believed(
            fleet,
            app,
            Network.of(fleet),
            forms,
            tuple(menus),
            tuple(Candidates.of(m, index, fleet) for m in menus),
            np.array(slots, np.int64),
            np.array([d.usable_memory for d in fleet.devices], float),
            np.array([d.rules.own_only for d in fleet.devices]),
        )


@dataclass(frozen=True)
class Input:
    """Bytes that a job needs, and the devices that hold them."""

    holders: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class JobRef:
    """A job whose predecessors are done."""

    request: str
    job: int  # position in the App
    work: int
    home: int
    inputs: tuple[Input, ...]
    bytes_home: int | None  # bytes of its answer that go home; None when it is no sink
    arrived: float = 0.0  # when its request arose


@dataclass(frozen=True)
class Beliefs:
    """What was learnt so far of things that no file can state for good. T types: the App's works."""

    failure_rate: Floats  # [D] deaths per second of being up
    slope: Floats  # [D, T, T] seconds that type t takes longer for each running u
    intercept: Floats  # [D, T]: seconds of type t alone; 0 where it may not run
    slow_s_per_byte: Floats  # [L] at the 10 % quantile of the rate
    seen_at: Floats  # [L] when a transfer last showed the rate; -infinite: never


@dataclass(frozen=True)
class View:
    """The fleet as it is believed to be at ``now``."""

    now: float
    known: Believed
    up: Bools  # [D]
    free_at: Floats  # [D, S] when each slot is free, ascending; infinite beyond the device's slots
    loaded_at: Floats  # [D, F] when a form is, or will be, loaded for work already sent there; infinite: not
    backlog_s: Floats  # [L] seconds of traffic that waits at each link
    sent: Ints  # [D, T] jobs of each type that were sent there and have not come back
    paused: Bools  # [D] asleep, or its owner wants it for himself
    network: Network  # at the rates that are believed now
    beliefs: Beliefs

    def arrival(self, data: Input) -> Floats:
        """[D] seconds until ``data`` is on each device, from its nearest holder; infinite if from none."""
        best = np.full(len(self.up), NEVER)
        for holder in data.holders:
            if self.up[holder]:
                routes = self.network.routes(holder, self.up)
                best = np.minimum(best, routes.seconds(data.bytes) + routes.waiting(self.backlog_s))
        return best

    def homeward(self, job: JobRef) -> Floats:
        """[D] seconds that the job's answer takes from each device to home; 0 for a job that is no sink."""
        if job.bytes_home is None:
            return np.zeros(len(self.up))
        routes = self.network.routes(job.home, self.up, back=True)
        return routes.seconds(job.bytes_home) + routes.waiting(self.backlog_s)


# Why a candidate is out of the question at this time; {device} and {home} are filled in when somebody asks.
ABLE, NOT_OWN, DOWN, NO_WAY_IN, NO_WAY_HOME, NOT_HOME, PAUSED, NOT_CLOUD, NOT_DRAWN, OUTSIDE, NO_SLOT = range(11)
REASONS = (
    "",
    "its owner lets {device} serve only its own requests",
    "{device} is down",
    "no way leads to {device} at this time",
    "no way leads from {device} home to {home} at this time",
    "only the home device is asked",
    "{device} is asleep, or its owner wants it for himself",
    "only the cloud is asked",
    "other devices were drawn",
    "it lies outside the cluster of {home}",
    "no slot of {device} is free at this time",
)


@dataclass(frozen=True)
class Score:
    """Why a job went where it went: every term for every candidate, and who was out of the question."""

    rule: str  # what was decided by, in words
    terms: Mapping[str, Floats]  # [C] each; seconds
    total: Floats  # [C]; infinite = impossible now
    refused: Ints  # [C] positions in REASONS
    tied: int = 1  # how many shared the best total
    shares: Mapping[str, Floats] = field(default_factory=dict)  # [C] each; terms that are no times: 0 to 1, or money
    unit: Literal["s", "score"] = "s"  # of the total


@dataclass(frozen=True)
class Placement:
    """A job and the candidates (positions in its Work's :class:`Candidates`) that shall each do it.

    No replica: nobody can at this time, and the driver asks again when the fleet has changed; with ``held`` also
    whenever a job has ended.
    """

    job: JobRef
    replicas: tuple[int, ...]
    reason: Score
    held: bool = False

    def targets(self, known: Believed) -> tuple[tuple[str, str], ...]:
        """The replicas by name: (device, form) each."""
        c = known.candidates[self.job.work]
        return tuple((known.fleet.names[c.device[i]], known.forms[c.form[i]].label) for i in self.replicas)


@dataclass(frozen=True)
class Event:
    """Something that happened: finished (a job on a device), transfer (over a link), joined, left, paused, resumed
    (a device)."""

    kind: str
    at: float
    device: int
    form: int = -1
    believed_s: float = 0.0  # of a finished job: how long its run was believed to take,
    took_s: float = 0.0  # and how long it took
    work: int = -1
    link: int = -1  # of a transfer
    bytes: int = 0
    job: tuple[str, int] = ("", -1)  # request and position in the App of a finished job


class Policy(Protocol):
    """A pure decision: the same arguments give the same answer. No I/O, no clock, no randomness but ``rng``."""

    @property
    def name(self) -> str:
        """By which people ask for it, and by which its random stream goes."""
        ...

    def start(self, fleet: Fleet) -> State:
        """What it remembers at the beginning."""
        ...

    def place(
        self, ready: Sequence[JobRef], view: View, state: State, rng: np.random.Generator
    ) -> tuple[list[Placement], State]:
        """One Placement for every ready job, in their order."""
        ...

    def learn(self, state: State, event: Event) -> State:
        """What it remembers after ``event``."""
        ...


# --- shared by policies ----------------------------------------------------------------------------------------------
def refused(job: JobRef, view: View, terms: Mapping[str, Floats] | None = None) -> Ints:
    """[C] positions in :data:`REASONS`: owner's rule first, then down, then unreachable and in which direction.

    ``terms``: those that :meth:`Draft.terms` found on this view, where they are known already.
    """
    known = view.known
    device = known.candidates[job.work].device
    out = np.zeros(len(device), np.int64)
    if terms is not None:
        out[~np.isfinite(terms["transfer home"])] = NO_WAY_HOME
        out[~np.isfinite(terms["transfer in"])] = NO_WAY_IN  # of the slowest input
    else:
        out[~np.isfinite(view.homeward(job)[device])] = NO_WAY_HOME
        for data in job.inputs:
            out[~np.isfinite(view.arrival(data)[device])] = NO_WAY_IN
    out[view.paused[device]] = PAUSED
    out[~view.up[device]] = DOWN
    out[known.own_only[device] & (device != job.home)] = NOT_OWN
    return out


def slot(free_s: float, ready_s: float, loaded_s: float, load_s: float, run_s: float) -> tuple[float, float, float]:
    """(start, loaded, end) of a request on a slot free at ``free_s`` whose inputs arrive at ``ready_s``.

    ``loaded_s`` is when its form is loaded; infinite: this request loads it, for ``load_s``.
    """
    start = max(free_s, ready_s, loaded_s if np.isfinite(loaded_s) else 0.0)
    loaded = loaded_s if np.isfinite(loaded_s) else start + load_s
    return start, loaded, max(start, loaded) + run_s


def way(
    network: Network, up: Bools, backlog_s: Floats, data: Input, device: int
) -> tuple[float, int, list[int]] | None:
    """(seconds, holder, links) of the best way of ``data`` to one device; None when there is none."""
    best: tuple[float, int, list[int]] | None = None
    rate, delay = network.plain  # lists: numpy is slow at one number at a time
    for holder in data.holders:
        links = network.path(holder, device, up) if up[holder] else None
        if links is None:
            continue
        took = 0.0
        for x in links:
            took += rate[x] * data.bytes + delay[x] + float(backlog_s[x])
        if best is None or took < best[0]:
            best = took, holder, links
    return best


class Draft:
    """A view that a policy may write on while it places several jobs at once: each booking delays the next.

    Nothing is copied before the first booking: a policy that places one job only reads.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.free_at, self.loaded_at, self.backlog_s, self.sent = (
            view.free_at, view.loaded_at, view.backlog_s, view.sent
        )  # fmt: skip
        self._own = False

    def _write(self) -> None:
        """From now on these arrays are this draft's own."""
        self._own = True
        self.free_at, self.loaded_at = self.free_at.copy(), self.loaded_at.copy()
        self.backlog_s, self.sent = self.backlog_s.copy(), self.sent.copy()
        self.view = replace(self.view, backlog_s=self.backlog_s, sent=self.sent)

    def terms(self, job: JobRef) -> dict[str, Floats]:
        """[C] seconds each: transfer in, wait for a slot, load, run, transfer home. They sum to the time to finish."""
        view, c = self.view, self.view.known.candidates[job.work]
        inputs = np.zeros(len(c.device))
        for data in job.inputs:
            inputs = np.maximum(inputs, view.arrival(data)[c.device])
        loaded = self.loaded_at[c.device, c.form]
        present = np.isfinite(loaded)
        free = np.maximum(self.free_at[c.device, 0], np.where(present, loaded, 0.0))
        wait = np.maximum(free - view.now - np.where(np.isfinite(inputs), inputs, 0.0), 0.0)
        return {
            "transfer in": inputs,
            "wait": wait,
            "load": np.where(present, 0.0, c.load_s),
            "run": c.run_s,
            "transfer home": view.homeward(job)[c.device],
        }

    def book(self, job: JobRef, candidate: int) -> None:
        """Send the job to the candidate: its inputs lengthen the queues of links, its run takes the earliest slot."""
        if not self._own:
            self._write()
        network = self.view.network
        c = self.view.known.candidates[job.work]
        d, f = int(c.device[candidate]), int(c.form[candidate])
        ready = self.view.now
        for data in job.inputs:
            found = way(network, self.view.up, self.backlog_s, data, d)
            if found is not None:
                ready = max(ready, self.view.now + found[0])
                self.backlog_s[found[2]] += network.s_per_byte[found[2]] * data.bytes
        row = self.free_at[d]
        times = (float(c.load_s[candidate]), float(c.run_s[candidate]))
        _, self.loaded_at[d, f], row[0] = slot(float(row[0]), ready, float(self.loaded_at[d, f]), *times)
        row.sort()
        self.sent[d, job.work] += 1
