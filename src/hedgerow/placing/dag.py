"""What is to be done: requests, each a DAG of jobs whose edges are bytes that one job leaves for the next.

A request of a plain :class:`hedgerow.kinds.base.Workload` is the smallest such DAG: its input travels from home to the
device, one job runs, its answer travels home. ``app.toml`` holds any other::

    name = "find, then answer"
    [[jobs]]
    name = "embed"
    packs = ["packs/encoder"]          # rivals; the best that meets needs and limits is chosen per device
    batch = 4
    [[jobs]]
    name = "sort"
    deps = ["embed"]
    seconds = 0.05                     # a plain program: on one core of "this" machine
    memory = "60MB"
    source = "measured: 20 runs on this machine"
    bytes_out = "2kB"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from hedgerow import files, kinds
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.base import Unit, Workload
from hedgerow.pack import Pack, open_pack
from hedgerow.placing.fleet import Bytes, Source
from hedgerow.schema import Record, check


@dataclass(frozen=True)
class Work:
    """What a job does: any of some rival Packs on ``batch`` units, or a plain program of known length."""

    name: str
    packs: tuple[Pack, ...] = ()
    batch: int = 1
    size: Mapping[str, int] = field(default_factory=dict)  # of one unit
    bytes_in: int = 0  # that a source job takes from home
    bytes_out: int = 0  # that every consumer, or home, takes from it
    seconds: float | None = None  # of a plain program, on one core of "this"
    memory: int = 0
    source: str = ""
    need: tuple[str, ...] = ()  # beside those of the whole call
    limit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A node of the DAG; ``work`` is a position in :attr:`App.works`."""

    name: str
    work: int
    deps: tuple[int, ...] = ()  # positions of jobs


@dataclass(frozen=True)
class Edge:
    """``bytes`` that ``target`` needs from ``source``; positions of jobs, -1 = home."""

    source: int
    target: int
    bytes: int


@dataclass(frozen=True)
class App:
    """A DAG of jobs in topological order. Built by :func:`app_of`, which refuses cycles."""

    name: str
    works: tuple[Work, ...]
    jobs: tuple[Job, ...]

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Every transfer of one request: from home into sources, between jobs, from sinks home."""
        found = []
        for i, job in enumerate(self.jobs):
            if not job.deps:
                found.append(Edge(-1, i, self.works[job.work].bytes_in))
            found += [Edge(d, i, self.works[self.jobs[d].work].bytes_out) for d in job.deps]
        found += [Edge(i, -1, self.works[self.jobs[i].work].bytes_out) for i in self.sinks]
        return tuple(found)

    @property
    def sinks(self) -> tuple[int, ...]:
        """Jobs that nobody waits for but home."""
        used = {d for job in self.jobs for d in job.deps}
        return tuple(i for i in range(len(self.jobs)) if i not in used)


@dataclass(frozen=True)
class Request:
    """One run of an App that arises at ``home`` at ``arrives_s``."""

    id: str
    home: str
    arrives_s: float


@dataclass(frozen=True)
class Demand:
    """One App and the requests for it."""

    app: App
    requests: tuple[Request, ...]


def app_of(name: str, works: Sequence[Work], jobs: Sequence[tuple[str, int, Sequence[str]]], where: str = "app") -> App:
    """An App from (name, work, names of the jobs it waits for); raises for unknown deps, duplicates and cycles."""
    names = [job[0] for job in jobs]
    for job_name in names:
        if names.count(job_name) > 1:
            raise HedgerowError(f"{where}: two jobs are called '{job_name}'; give each a name of its own")
    if not jobs:
        raise HedgerowError(f"{where}: there is no job; add [[jobs]]")
    deps = {}
    for job_name, _, wanted in jobs:
        for d in wanted:
            if d not in names:
                raise HedgerowError(f"{where}: job '{job_name}' waits for unknown job '{d}'{did_you_mean(d, names)}")
        deps[job_name] = tuple(dict.fromkeys(wanted))
    order = _topological(names, deps, where)
    place = {n: i for i, n in enumerate(order)}
    work = {n: w for n, w, _ in jobs}
    return App(name, tuple(works), tuple(Job(n, work[n], tuple(sorted(place[d] for d in deps[n]))) for n in order))


def _topological(names: Sequence[str], deps: Mapping[str, Sequence[str]], where: str) -> list[str]:
    """Names so that each stands after all it waits for, else in the order given (Kahn 1962)."""
    order: list[str] = []
    left = list(names)
    while left:
        ready = next((n for n in left if all(d in order for d in deps[n])), None)
        if ready is None:
            chain = [left[0]]  # every job that is left waits for one that is left: following them must come round
            while (following := next(d for d in deps[chain[-1]] if d in left)) not in chain:
                chain.append(following)
            cycle = " → ".join([*chain[chain.index(following) :], following])
            raise HedgerowError(f"{where}: jobs wait for one another in a circle: {cycle}; take one of these deps away")
        order.append(ready)
        left.remove(ready)
    return order


# --- from a Workload -------------------------------------------------------------------------------------------------
def app_of_packs(
    packs: Sequence[Pack], batch: int = 1, size: Mapping[str, int] | None = None, unit: Unit | None = None
) -> App:
    """The App of one job that any of these rival Packs can do; ``unit`` None takes the kind's."""
    return App("request", (work_of_packs("run", packs, batch, size, unit),), (Job("run", 0),))


def work_of_packs(
    name: str, packs: Sequence[Pack], batch: int = 1, size: Mapping[str, int] | None = None, unit: Unit | None = None
) -> Work:
    """Rival Packs of one kind as Work; bytes on the wire come from the kind's unit of work."""
    if not packs:
        raise HedgerowError("there is no Pack to place; name at least one")
    found: dict[str, list[str]] = {}
    for p in packs:
        found.setdefault(p.info.kind, []).append(str(p.path))
    if len(found) > 1:
        held = "; ".join(f"{kind}: {', '.join(paths)}" for kind, paths in sorted(found.items()))
        raise HedgerowError(f"Packs of different kinds answer different questions; place one kind at a time ({held})")
    digests = [p.digest for p in packs]
    for p in packs:
        if digests.count(p.digest) > 1:
            raise HedgerowError(f"{p.path} is given twice (digest {p.digest[:12]}); name each Pack once")
    if batch < 1:
        raise HedgerowError(f"a request holds at least one unit of work (batch {batch})")
    unit = unit or kinds.kind(packs[0].info.kind).unit
    size = dict(size or unit.usual)
    for key in size:
        if key not in unit.usual:
            raise HedgerowError(f"a {unit.name} has no size '{key}'{did_you_mean(key, unit.usual)}")
    bytes_in, bytes_out = unit.bytes_in(size) * batch, unit.bytes_out(size) * batch
    return Work(name, tuple(packs), batch, {**unit.usual, **size}, bytes_in, bytes_out)


def stream(app: App, homes: Sequence[str], requests: int, every_ms: float = 0.0) -> Demand:
    """``requests`` runs of ``app``, one every ``every_ms``, arising at the homes in turn; ids ``request-1`` …"""
    if requests < 1:
        raise HedgerowError(f"there must be at least one request (got {requests})")
    if every_ms < 0:
        raise HedgerowError(f"the time between requests is negative ({every_ms} ms)")
    made = (Request(f"request-{i + 1}", homes[i % len(homes)], i * every_ms / 1e3) for i in range(requests))
    return Demand(app, tuple(made))


def demand_of(workload: Workload, homes: Sequence[str], unit: Unit | None = None) -> Demand:
    """The requests of a Workload."""
    app = app_of_packs(workload.packs, workload.batch, workload.size or None, unit)
    return stream(app, homes, workload.requests, workload.every_ms)


# --- from app.toml ---------------------------------------------------------------------------------------------------
class _Job(Record):
    name: str = Field(min_length=1)
    deps: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    batch: int = Field(default=1, ge=1)
    size: dict[str, int] = {}
    need: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    seconds: float | None = Field(default=None, gt=0)
    memory: Bytes | None = None
    source: Source | None = None
    bytes_in: Bytes | None = None
    bytes_out: Bytes | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> _Job:
        if bool(self.packs) == (self.seconds is not None):
            raise ValueError("a job has either packs or seconds")
        if self.seconds is not None and (self.source is None or self.memory is None):
            raise ValueError("seconds go with memory and a source: what the number rests on")
        if self.packs and (self.memory is not None or self.source is not None):
            raise ValueError("memory and time of a Pack come from its costs; remove memory and source")
        return self


class _AppFile(Record):
    name: str = "app"
    jobs: list[dict[str, Any]] = Field(min_length=1)


def open_app(path: str | Path) -> App:
    """Read and check ``app.toml``; Packs are opened relative to it. The first fault is one line naming the job."""
    path = Path(path)
    raw = check(_AppFile, files.read_toml(path), str(path))
    works, jobs = [], []
    for i, entry in enumerate(raw.jobs):
        name = entry.get("name")
        job = check(_Job, entry, f"{path}: job '{name}'" if isinstance(name, str) else f"{path}: job {i + 1}")
        works.append(_work(job, path.parent))
        jobs.append((job.name, i, job.deps))
    return app_of(raw.name, works, jobs, str(path))


def _work(job: _Job, folder: Path) -> Work:
    if job.seconds is not None:
        out = job.bytes_out or 0
        return Work(job.name, bytes_in=job.bytes_in or 0, bytes_out=out, seconds=job.seconds, memory=job.memory or 0,
                    source=job.source or "", limit=job.limit)  # fmt: skip
    made = work_of_packs(job.name, [open_pack(folder / p) for p in job.packs], job.batch, job.size)
    bytes_in = made.bytes_in if job.bytes_in is None else job.bytes_in
    bytes_out = made.bytes_out if job.bytes_out is None else job.bytes_out
    return Work(job.name, made.packs, made.batch, made.size, bytes_in, bytes_out, need=job.need, limit=job.limit)
