"""Fleet: the devices, what their owners allow, the links between them, and what each of these statements rests on.

``fleet.toml``::

    name = "a small household"
    home = ["phone1"]                  # where requests arise and answers must arrive
    currency = "EUR"

    [[devices]]
    name = "phone1"
    tier = "phone"                     # phone, laptop, edge, cloud
    memory = "6GB"
    cores = 4
    like = "this"                      # or another device; "this" = the machine where the costs were measured
    factor = 4.0                       # times slower than it
    source = "assumed: a phone core taken as four times slower"
    rules = { max_memory = "400MB", max_tasks = 1, own_only = true }
    failure = { mean_up_s = 1800, mean_down_s = 60, source = "assumed: goes out of reach now and then" }

    [[links]]
    from = "phone1"
    to = "laptop"                      # both ways unless both = false
    mbps = 40
    rtt_ms = 8
    source = "assumed: home Wi-Fi"

A device has ``profile = "device.json"`` (as ``hedgerow.weighing.probe`` writes it) or ``fingerprint``, when Packs were
weighed on it; ``like`` + ``factor`` + ``source`` where nobody weighed; or both, and then what was measured wins. Every
``source`` begins with ``measured:``, ``published:`` or ``assumed:``; what is assumed is printed as assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hedgerow import cost, files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing.quantities import parse_size
from hedgerow.schema import Record, check

Tier = Literal["phone", "laptop", "edge", "cloud"]
Bytes = Annotated[int, BeforeValidator(parse_size)]
THIS = "this"
SOURCES = ("measured:", "published:", "assumed:")


def _stated(source: str) -> str:
    word, colon, rest = source.partition(":")
    if f"{word}:" not in SOURCES or not colon or not rest.strip():
        raise ValueError("a source begins with 'measured:', 'published:' or 'assumed:' and then says what it rests on")
    return source


Source = Annotated[str, BeforeValidator(lambda value: _stated(value) if isinstance(value, str) else value)]


class Rules(Record):
    """What the owner of a device allows. The owner's rule wins over every policy."""

    max_memory: Bytes | None = None  # of all models together
    max_cores: int | None = Field(default=None, ge=1)
    max_tasks: int | None = Field(default=None, ge=1)  # that run at the same time
    own_only: bool = False  # serves only requests that arise on it
    runtimes: tuple[str, ...] | None = None  # e.g. ["numpy", "onnx"]; None = whatever was weighed for it


class Failure(Record):
    """Times up and down, each exponentially distributed: a device dies, and comes back with nothing loaded."""

    mean_up_s: float = Field(gt=0)
    mean_down_s: float = Field(gt=0)
    source: Source


class Power(Record):
    """What a busy slot of a device draws beyond an idle device."""

    watts: float = Field(gt=0)
    source: Source


class Device(Record):
    """One device of the fleet, checked."""

    name: str = Field(min_length=1)
    tier: Tier
    memory: Bytes
    cores: int = Field(ge=1)
    profile: str | None = None
    fingerprint: str | None = Field(default=None, min_length=6)
    probed: cost.Device | None = Field(default=None, exclude=True)  # what ``profile`` holds, with its rates
    like: str | None = None
    factor: float | None = Field(default=None, gt=0)
    source: Source | None = None
    price_per_s: float = Field(default=0.0, ge=0)  # for a busy second
    energy_w: Power | None = None  # None: nobody has measured it; kept so that it is said
    rules: Rules = Rules()
    failure: Failure | None = None

    @field_validator("name")
    @classmethod
    def _not_this(cls, name: str) -> str:
        if name == THIS:
            raise ValueError("'this' means the machine where the costs were measured; call the device something else")
        return name

    @model_validator(mode="after")
    def _rests_on_something(self) -> Device:
        if self.profile and self.fingerprint:
            raise ValueError("give profile or fingerprint, not both")
        if self.like is None and (self.factor is not None or self.source is not None):
            raise ValueError('factor and source go with like = "this" or like = "another device"')
        if self.like is not None and self.factor is None:
            raise ValueError("like needs a factor: how many times slower this device is (below 1: faster)")
        if self.like is not None and self.source is None:
            raise ValueError('like needs a source: what the factor rests on, e.g. "assumed: …"')
        if self.like is None and not self.profile and not self.fingerprint:
            raise ValueError(
                'nothing says how fast it is: give profile = "device.json", a fingerprint, or like + factor + source'
            )
        return self

    @property
    def usable_memory(self) -> int:
        """Bytes that the owner's rules leave for models."""
        return min(self.memory, self.rules.max_memory or self.memory)

    @property
    def usable_cores(self) -> int:
        """Cores that the owner's rules leave."""
        return min(self.cores, self.rules.max_cores or self.cores)


class Link(Record):
    """A directed connection after opening; ``both`` in the file makes two of them."""

    source_device: str = Field(alias="from")
    target_device: str = Field(alias="to")
    both: bool = True
    mbps: float = Field(gt=0)
    rtt_ms: float = Field(ge=0)
    price_per_gb: float = Field(default=0.0, ge=0)
    source: Source

    @property
    def name(self) -> str:
        """``phone1→laptop``."""
        return f"{self.source_device}→{self.target_device}"


class _File(Record):
    name: str = ""
    home: tuple[str, ...] = Field(min_length=1)
    currency: str = "EUR"
    this: str | None = None  # fingerprint of the machine that like = "this" means
    devices: list[dict[str, Any]] = Field(min_length=1)
    links: list[dict[str, Any]] = []

    @field_validator("home", mode="before")
    @classmethod
    def _one_or_more(cls, home: object) -> object:
        return (home,) if isinstance(home, str) else home


@dataclass(frozen=True)
class Fleet:
    """A checked fleet; built by :meth:`open` or :meth:`of`. Everything here is belief: what the file states."""

    name: str
    home: tuple[str, ...]
    currency: str
    this: str | None
    devices: tuple[Device, ...]
    links: tuple[Link, ...]  # directed
    unplugged: tuple[Device, ...] = ()  # left out, but still known where another is like them

    @staticmethod
    def open(path: str | Path) -> Fleet:
        """Read and check ``fleet.toml``; the first fault is one line that names the device or link."""
        path = Path(path)
        return Fleet.of(files.read_toml(path), str(path), path.parent)

    @staticmethod
    def of(data: Mapping[str, Any], where: str = "fleet", folder: Path | None = None) -> Fleet:
        """A fleet from what the file holds; profiles are read relative to ``folder``."""
        raw = check(_File, data, where)
        devices = tuple(_device(entry, i, where, folder or Path()) for i, entry in enumerate(raw.devices))
        links = tuple(link for i, entry in enumerate(raw.links) for link in _links(entry, i, where))
        fleet = Fleet(raw.name or Path(where).stem, raw.home, raw.currency, raw.this, devices, links)
        _check_names(fleet, where)
        _check_likes(fleet, where)
        _check_paths(fleet, where)
        return fleet

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the devices, in the file's order."""
        return tuple(d.name for d in self.devices)

    def index(self, name: str, what: str = "device") -> int:
        """Position of a device; HedgerowError with the nearest name for an unknown one."""
        if name not in self.names:
            raise HedgerowError(f"the fleet has no {what} '{name}'{did_you_mean(name, self.names)}")
        return self.names.index(name)

    def device(self, name: str) -> Device:
        """The device of that name."""
        return self.devices[self.index(name)]

    def without(self, names: Iterable[str]) -> Fleet:
        """The same fleet with these devices unplugged. Raises when no home is left."""
        gone = set(names)
        for name in gone:
            self.index(name)
        home = tuple(h for h in self.home if h not in gone)
        if not home:
            raise HedgerowError(f"without {', '.join(sorted(gone))} no home is left from which requests could come")
        links = tuple(x for x in self.links if x.source_device not in gone and x.target_device not in gone)
        devices = tuple(d for d in self.devices if d.name not in gone)
        unplugged = (*self.unplugged, *(d for d in self.devices if d.name in gone))
        return replace(self, home=home, devices=devices, links=links, unplugged=unplugged)

    @property
    def digest(self) -> str:
        """Hex digest of everything in the fleet."""
        return files.digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The checked fleet as plain values."""
        return {
            "name": self.name,
            "home": list(self.home),
            "currency": self.currency,
            "this": self.this,
            "devices": [d.model_dump(mode="json") for d in self.devices],
            "links": [x.model_dump(mode="json", by_alias=True) for x in self.links],
            "without": [d.name for d in self.unplugged],
        }

    def assumptions(self) -> list[str]:
        """Every statement of the file that was not measured or published, one line each."""
        lines = []
        for d in self.devices:
            if d.like is not None and d.source is not None:
                lines.append(f"{d.name}: speed = {d.like} × {d.factor:g} slower ({d.source})")
            if d.failure is None:
                lines.append(f"{d.name}: no failure rate is given; it is taken never to fail")
            elif not d.failure.source.startswith(("measured:", "published:")):
                lines.append(
                    f"{d.name}: up {d.failure.mean_up_s:g} s, down {d.failure.mean_down_s:g} s on average "
                    f"({d.failure.source})"
                )
        seen = set()
        for x in self.links:
            pair = frozenset((x.source_device, x.target_device))
            if x.source.startswith("assumed:") and (pair, x.source) not in seen:
                seen.add((pair, x.source))
                arrow = "↔" if x.both else "→"
                ends = f"{x.source_device} {arrow} {x.target_device}"
                lines.append(f"{ends}: {x.mbps:g} Mbit/s, {x.rtt_ms:g} ms round trip ({x.source})")
        return lines


# --- checking --------------------------------------------------------------------------------------------------------
def _device(entry: Mapping[str, Any], i: int, where: str, folder: Path) -> Device:
    name = entry.get("name")
    at = f"{where}: device '{name}'" if isinstance(name, str) and name else f"{where}: device {i + 1}"
    given = dict(entry)
    profile = given.get("profile")
    if isinstance(profile, str):
        probed = check(cost.Device, files.read_json(folder / profile), f"{at}: {folder / profile}")
        if "memory" not in given and not probed.memory_bytes:  # llama-bench's file does not say
            raise HedgerowError(f"{at}: {folder / profile} states no memory: add memory_bytes there, or memory here")
        given.setdefault("memory", probed.memory_bytes)
        given.setdefault("cores", probed.cores)
        device = check(Device, given, at)
        return device.model_copy(update={"fingerprint": probed.fingerprint, "probed": probed})
    return check(Device, given, at)


def _links(entry: Mapping[str, Any], i: int, where: str) -> list[Link]:
    ends = [entry.get("from"), entry.get("to")]
    at = f"{where}: link {'→'.join(ends)}" if all(isinstance(e, str) for e in ends) else f"{where}: link {i + 1}"  # type: ignore[arg-type]
    link = check(Link, entry, at)
    if not link.both:
        return [link]
    back = link.model_copy(update={"source_device": link.target_device, "target_device": link.source_device})
    return [link, back]


def _check_names(fleet: Fleet, where: str) -> None:
    names: set[str] = set()
    for name in fleet.names:
        if name in names:
            raise HedgerowError(f"{where}: two devices are called '{name}'; give each a name of its own")
        names.add(name)
    for home in fleet.home:
        if home not in names:
            raise HedgerowError(f"{where}: home '{home}' is no device of this fleet{did_you_mean(home, names)}")
    if len(set(fleet.home)) < len(fleet.home):
        raise HedgerowError(f"{where}: home names a device twice")
    seen = set()
    for link in fleet.links:
        for end in (link.source_device, link.target_device):
            if end not in names:
                raise HedgerowError(f"{where}: link {link.name}: unknown device '{end}'{did_you_mean(end, names)}")
        if link.source_device == link.target_device:
            raise HedgerowError(f"{where}: link {link.name} leads from a device to itself; remove it")
        if link.name in seen:
            raise HedgerowError(f"{where}: link {link.name} is given twice (a link goes both ways unless both = false)")
        seen.add(link.name)


def _check_likes(fleet: Fleet, where: str) -> None:
    like = {d.name: d.like for d in fleet.devices}
    for d in fleet.devices:
        if d.like is not None and d.like != THIS and d.like not in like:
            known = [*fleet.names, THIS]
            raise HedgerowError(
                f"{where}: device '{d.name}' is like '{d.like}', which is no device{did_you_mean(d.like, known)}"
            )
        chain = [d.name]
        while (following := like.get(chain[-1])) is not None and following != THIS:
            if following in chain:
                cycle = " → ".join([*chain[chain.index(following) :], following])
                raise HedgerowError(
                    f'{where}: like goes round in a circle: {cycle}; one of them must be like "this" or be weighed'
                )
            chain.append(following)


def _check_paths(fleet: Fleet, where: str) -> None:
    """Data must reach every device from a home, and its answers must come back there."""
    onward: dict[str, list[str]] = {name: [] for name in fleet.names}
    back: dict[str, list[str]] = {name: [] for name in fleet.names}
    for link in fleet.links:
        onward[link.source_device].append(link.target_device)
        back[link.target_device].append(link.source_device)
    there, returning = _reached(fleet.home, onward), _reached(fleet.home, back)
    for name in fleet.names:
        if name not in there:
            raise HedgerowError(
                f"{where}: no path leads from home ({', '.join(fleet.home)}) to '{name}'; add a link or remove it"
            )
        if name not in returning:
            raise HedgerowError(
                f"{where}: no path leads from '{name}' back to home ({', '.join(fleet.home)}); add a link or remove it"
            )


def _reached(start: Sequence[str], graph: Mapping[str, Sequence[str]]) -> set[str]:
    seen, todo = set(start), list(start)
    while todo:
        for name in graph[todo.pop()]:
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen
