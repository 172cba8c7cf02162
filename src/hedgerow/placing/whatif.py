"""What buying, unplugging or upgrading a device would change: fleets that differ from a given one in one respect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hedgerow.errors import HedgerowError
from hedgerow.placing.fleet import Device, Fleet
from hedgerow.placing.traces import Trace

_HARDWARE = (
    "memory",
    "cores",
    "profile",
    "fingerprint",
    "probed",
    "like",
    "factor",
    "source",
    "price_per_s",
    "energy_w",
)


def bought(fleet: Fleet, wish: str) -> Fleet:
    """The fleet with one more device: ``edge2=edge`` is another one like ``edge``, with links like its."""
    new, old = _pair(wish, "--with", "edge2=edge")
    model = fleet.device(old)
    if new in fleet.names:
        raise HedgerowError(f"--with {wish}: the fleet has a device '{new}' already; give the new one another name")
    links = []
    for x in fleet.links:
        if x.source_device == old:
            links.append(x.model_copy(update={"source_device": new}))
        elif x.target_device == old:
            links.append(x.model_copy(update={"target_device": new}))
    home = (*fleet.home, new) if len(fleet.home) == len(fleet.devices) else fleet.home
    devices = (*fleet.devices, model.model_copy(update={"name": new}))
    return replace(fleet, devices=devices, links=(*fleet.links, *links), home=home)


def upgraded(fleet: Fleet, wish: str) -> Fleet:
    """The fleet with one device's hardware exchanged: ``laptop=edge`` gives ``laptop`` what ``edge`` is made of.

    Its name, tier, links, its owner's rules and how often it fails stay. Devices that are said to be like it keep their
    speed: they are like what it was, which stays in the fleet as an unplugged device.
    """
    name, other = _pair(wish, "--swap", "laptop=edge")
    at, model = fleet.index(name), fleet.device(other)
    new = fleet.devices[at].model_copy(update={key: getattr(model, key) for key in _HARDWARE})
    devices = (*fleet.devices[:at], new, *fleet.devices[at + 1 :])
    if other == name or not any(d.like == name for d in (*devices, *fleet.unplugged)):
        return replace(fleet, devices=devices)
    was = f"{name} as it was"
    while was in {d.name for d in fleet.unplugged}:
        was += " before"
    gone = fleet.devices[at].model_copy(update={"name": was})
    return replace(fleet, devices=_like(devices, name, was), unplugged=(*_like(fleet.unplugged, name, was), gone))


def _like(devices: Sequence[Device], old: str, new: str) -> tuple[Device, ...]:
    """Devices of which those that are like ``old`` are like ``new`` instead."""
    return tuple(d.model_copy(update={"like": new}) if d.like == old else d for d in devices)


def _pair(wish: str, option: str, example: str) -> tuple[str, str]:
    new, sign, old = (part.strip() for part in wish.partition("="))
    if not (new and sign and old):
        raise HedgerowError(f"{option} {wish}: write NAME=DEVICE, e.g. {option} {example}")
    return new, old


def changes(fleet: Fleet, more: Sequence[str] = (), swap: Sequence[str] = ()) -> list[tuple[str, Fleet]]:
    """(label, fleet) of each wish apart."""
    found = [(f"with {wish.replace('=', ' like ')}", bought(fleet, wish)) for wish in more]
    return [*found, *((f"{wish.replace('=', ' made of ')}", upgraded(fleet, wish)) for wish in swap)]


def changed(fleet: Fleet, more: Sequence[str] = (), swap: Sequence[str] = ()) -> Fleet:
    """The fleet with every wish fulfilled."""
    for wish in more:
        fleet = bought(fleet, wish)
    for wish in swap:
        fleet = upgraded(fleet, wish)
    return fleet


def for_fleet(trace: Trace, recorded: Fleet, fleet: Fleet) -> Trace:
    """What a trace of ``recorded`` says about the devices and links of another fleet.

    Durations of jobs are left out: who runs what is what changes. Devices that the trace knew die when it says so and
    at no other time; a new one dies as its file says.
    """
    ends = {(x.source_device, x.target_device) for x in fleet.links}
    kept = []
    for row in trace.rows:
        known = row["dev"] in fleet.names if "dev" in row else row.get("home", fleet.home[0]) in fleet.names
        if row["ev"] == "ran" or not known or (row["ev"] == "bw" and (row["src"], row["dst"]) not in ends):
            continue
        kept.append(row)
    watched = frozenset(recorded.names) if trace.replayed or trace.watched else trace.watched
    return replace(trace, rows=tuple(kept), replayed=False, watched=watched)
