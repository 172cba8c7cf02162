"""Truth: what a simulated fleet really does, which no policy ever sees. Every draw comes from a named stream of one
seed, so that all policies meet the same failures, the same luck and the same errors of belief."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hedgerow.placing.fleet import Device, Fleet
from hedgerow.placing.network import Floats
from hedgerow.run import Seeds, seeds
from hedgerow.schema import Record


class World(Record):
    """How far truth may differ from belief, and how the fleet is watched. All of it is our choice, none is measured."""

    failures: bool = True  # devices die and come back as their file says
    jitter: bool = True  # run times spread log-normally with the measured p50 and p95
    doubt: float = Field(default=0.2, ge=0)  # sigma of the logarithm of the error of an assumed speed or link rate; a
    # predicted time errs by its own band, unless this is 0: then nothing errs
    interference: float = Field(default=0.0, ge=0)  # each further request running on a device slows all by this share
    interference_spread: float = Field(default=0.0, ge=0)  # sigma of the logarithm of that share, by device and types
    notice_s: float = Field(default=1.0, ge=0)  # from a device's death until the planner knows: its heartbeat
    patience_s: float = Field(default=3600.0, gt=0)  # after the last arrival; then what is not answered is unfinished
    leave: dict[str, float] = {}  # device -> second at which it leaves for good


AS_BELIEVED = World(failures=False, jitter=False, doubt=0.0, patience_s=1e9)


@dataclass(frozen=True)
class Truth:
    """One draw of a World."""

    speed: Floats  # [D] true run time / believed run time, where the believed one is assumed
    rate: Floats  # [L] true time per byte / believed time per byte
    luck: Floats  # [R, J] standard normal: how hard each job of each request turns out
    seed: int
    slowing: Floats  # [D, T, T] share of its time alone that type t takes longer for each u that runs beside it
    normal: Floats  # [D] the draw behind ``speed`` before its sigma: standard normal; 0 where nothing errs

    def wrong(self, device: int, doubt: float) -> float:
        """True / believed run time on a device; ``doubt``: sigma of the logarithm, NaN for that of the World."""
        return float(self.speed[device]) if np.isnan(doubt) else float(np.exp(doubt * self.normal[device]))

    def lives(self, device: Device) -> Iterator[tuple[float, float]]:
        """(seconds up, seconds down), again and again: a fresh iterator of the device's own stream."""
        if device.failure is None:
            return
        rng = seeds(self.seed).generator(f"failures/{device.name}")
        while True:
            yield float(rng.exponential(device.failure.mean_up_s)), float(rng.exponential(device.failure.mean_down_s))


def draw(world: World, fleet: Fleet, requests: int, jobs: int, seed: int, works: Sequence[str] = ()) -> Truth:
    """The truth of one seed. ``works`` names the types that may run beside one another.

    A device or link keeps its draw when others are unplugged: streams go by name.
    """
    named = seeds(seed)

    def error(name: str, assumed: bool) -> float:
        return float(np.exp(world.doubt * normal(name))) if assumed else 1.0

    def normal(name: str) -> float:
        return float(named.generator(name).standard_normal()) if world.doubt else 0.0

    luck = named.generator("luck").standard_normal((requests, jobs)) if world.jitter else np.zeros((requests, jobs))
    return Truth(
        np.array([error(f"speed/{d.name}", True) for d in fleet.devices]),
        np.array([error(f"link/{x.name}", x.source.startswith("assumed:")) for x in fleet.links]),
        luck,
        seed,
        np.stack([_slowing(world, f"interference/{d.name}", works, named) for d in fleet.devices]),
        np.array([normal(f"speed/{d.name}") for d in fleet.devices]),
    )


def _slowing(world: World, name: str, works: Sequence[str], named: Seeds) -> Floats:
    """[T, T] of one device; a type keeps its draw when others are added."""
    if not world.interference or not world.interference_spread:
        return np.full((len(works), len(works)), world.interference)
    drawn = [[named.generator(f"{name}/{t}/{u}").standard_normal() for u in works] for t in works]
    return world.interference * np.exp(world.interference_spread * np.array(drawn))
