"""What happens to a simulated fleet from outside: deaths and returns, owners who want their device, links that change.

All of it is drawn from the world's named streams or read from a trace; the driver and its policies only ever meet it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hedgerow.errors import HedgerowError
from hedgerow.placing.physics import Key
from hedgerow.placing.traces import BUSY_FROM, Trace

if TYPE_CHECKING:
    from hedgerow.placing.driver import Driver

_WORDS = {"request": "request", "job": "job", "dev": "device"}
_FOREVER = 1e15  # seconds; of an attempt that was never seen to end


class Fate:
    """Announces to a driver's clock what will befall its devices and links."""

    def __init__(self, driver: Driver, trace: Trace) -> None:
        self.driver, self.trace = driver, trace
        self._departed: set[int] = set()
        self._places = {name: d for d, name in enumerate(driver.fleet.names)}
        self._links = {(x.source_device, x.target_device): i for i, x in enumerate(driver.fleet.links)}
        self._jobs = {job.name: j for j, job in enumerate(driver.app.jobs)}
        self._requests = {r.id: i for i, r in enumerate(driver.demand.requests)}
        self._ran: dict[tuple[Key, int], list[tuple[float, float]]] = {}
        for row in trace.rows:
            if row["ev"] == "ran":
                self._known(row)
                key = self._requests[row["request"]], self._jobs[row["job"]]
                took = row["run_s"] if row["run_s"] is not None else _FOREVER
                load = row["load_s"] if row["load_s"] is not None else _FOREVER
                self._ran.setdefault((key, self._places[row["dev"]]), []).append((load, took))

    def _known(self, row: dict[str, Any]) -> None:
        for field, names in (("request", self._requests), ("job", self._jobs), ("dev", self._places)):
            if row[field] not in names:
                raise HedgerowError(f"the trace is of another run: here is no {_WORDS[field]} '{row[field]}'")

    def begin(self) -> None:
        """Announce everything. A trace that says when a device dies takes the place of its stated failure rate."""
        d, clock = self.driver, self.driver.clock
        told = {row["dev"] for row in self.trace.rows if row["ev"] in ("down", "up")} | self.trace.watched
        for i, device in enumerate(d.fleet.devices):
            if device.name in d.world.leave:
                clock.at(d.world.leave[device.name], self._leave, i)
            if d.world.failures and device.failure is not None and not (self.trace.replayed or device.name in told):
                self._live(i, d.truth.lives(device))
        for row in self.trace.rows:
            clock.at(row["t"], self._happen, row)

    def times(self, key: Key, device: int, load_s: float, run_s: float) -> tuple[float, float]:
        """(seconds to load, to run) of the next attempt: as the trace saw it, else as the world has it."""
        seen = self._ran.get((key, device))
        return seen.pop(0) if seen else (load_s, run_s)

    def _happen(self, row: dict[str, Any]) -> None:
        event = row["ev"]
        if event == "bw":
            link = self._links[row["src"], row["dst"]]
            wires = self.driver.wires
            wires.set_rate(link, 8 / (row["mbps"] * 1e6) if row["mbps"] > 0 else float("inf"))
            return
        if event not in ("down", "up", "busy", "sleep", "wake"):
            return
        device = self._places[row["dev"]]
        machine = self.driver.machines[device]
        if device in self._departed:
            return
        if event == "down" and machine.up:
            self.driver.die(device)
        elif event == "up" and not machine.up:
            self.driver.rise(device)
        elif event in ("busy", "sleep", "wake") and machine.up:
            self.driver.pause(device, event == "sleep" or (event == "busy" and row["cpu"] >= BUSY_FROM))

    def _live(self, d: int, lives: Iterator[tuple[float, float]]) -> None:
        up, down = next(lives)
        self.driver.clock.at(self.driver.clock.now + up, self._fail, d, down, lives)

    def _fail(self, d: int, down: float, lives: Iterator[tuple[float, float]]) -> None:
        if d not in self._departed:
            self.driver.die(d)
            self.driver.clock.at(self.driver.clock.now + down, self._rise, d, lives)

    def _rise(self, d: int, lives: Iterator[tuple[float, float]]) -> None:
        if d not in self._departed:
            self.driver.rise(d)
            self._live(d, lives)

    def _leave(self, d: int) -> None:
        self._departed.add(d)
        if self.driver.machines[d].up:
            self.driver.die(d)
