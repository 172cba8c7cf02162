"""Who holds which bytes, and how they get to where they are needed: inputs to attempts, answers home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.placing.physics import Attempt, Key
from hedgerow.placing.progress import INPUT, Errand
from hedgerow.placing.view import Input
from hedgerow.placing.wires import Transfer

if TYPE_CHECKING:
    from hedgerow.placing.driver import Driver


class Courier:
    """A driver's transfers. It knows who is believed to hold what, and which errands wait for a way or for a device."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.holders: dict[Key, dict[int, None]] = {}  # believed; in order of arrival
        self._held: list[dict[Key, None]] = [{} for _ in driver.machines]
        self._casualties: list[list[Errand]] = [[] for _ in driver.machines]  # cut by a death not yet noticed
        self._parked: list[list[Errand]] = [[] for _ in driver.machines]  # until a home is back
        self._stuck: list[Errand] = []  # no way now
        self._travelling: dict[int, dict[int, Transfer]] = {}  # attempt -> its transfers

    def hold(self, what: Key, device: int) -> None:
        """A device has these bytes now. What lies on a home's disk survives the device's death."""
        self.holders.setdefault(what, {})[device] = None
        if what[1] != INPUT or device != self._driver.homes[what[0]]:
            self._held[device][what] = None

    def forget(self, what: Key) -> None:
        """Nobody needs these bytes any more."""
        for device in self.holders.pop(what, {}):
            self._held[device].pop(what, None)

    def _what(self, errand: Errand) -> tuple[Key, int]:
        """What an errand moves, and how many bytes it is."""
        app, (r, j) = self._driver.app, errand.key
        job = app.jobs[j]
        if errand.attempt is None:
            return errand.key, app.works[job.work].bytes_out
        if not job.deps:
            return (r, INPUT), app.works[job.work].bytes_in
        return (r, job.deps[errand.part]), app.works[app.jobs[job.deps[errand.part]].work].bytes_out

    def fetch(self, errand: Errand) -> None:
        """Bring an input to its attempt, or an answer home; by the best way that is believed to be open."""
        driver, a = self._driver, errand.attempt
        if not (a.alive if a is not None else driver.undelivered(errand.key)):
            return
        what, nbytes = self._what(errand)
        home = driver.homes[errand.key[0]]
        target = a.device if a is not None else home
        holders = self.holders.get(what, {})
        if target in holders:
            self._arrived(errand)
            return
        found = driver.book.way(Input(tuple(holders), nbytes), target, driver.wires.queued_bytes)
        up = driver.book.up
        if found is not None and up[target]:
            self._send(errand, found[1], target, found[2], nbytes)
        elif not up[home] and (home == target or home in holders):
            self._parked[home].append(errand)
        elif any(up[h] for h in holders):
            self._stuck.append(errand)
        elif a is not None:
            driver.give_up(a)

    def _send(self, errand: Errand, source: int, target: int, links: Sequence[int], nbytes: int) -> None:
        transfer = Transfer(self._driver.next_id(), nbytes, source, target, links, self._landed, errand)
        dead = self._driver.wires.send(transfer)
        if dead is not None:
            self._casualties[dead].append(errand)
            return
        if errand.attempt is not None:
            self._travelling.setdefault(errand.attempt.id, {})[transfer.id] = transfer
        what, _ = self._what(errand)
        self._driver.log("send", key=what, src=source, dst=target, bytes=nbytes)

    def _landed(self, transfer: Transfer) -> None:
        errand = transfer.purpose
        what, _ = self._what(errand)
        self._driver.log("receive", key=what, src=transfer.source, dst=transfer.target, bytes=transfer.nbytes)
        if errand.attempt is not None:
            self._travelling.get(errand.attempt.id, {}).pop(transfer.id, None)
        self._arrived(errand)

    def _arrived(self, errand: Errand) -> None:
        a = errand.attempt
        if a is None:
            self._driver.deliver(errand.key)
            return
        what, _ = self._what(errand)
        self.hold(what, a.device)
        a.missing -= 1
        machine = self._driver.machines[a.device]
        if a.missing == 0 and machine.up:
            machine.submit(a)

    def stop(self, a: Attempt) -> None:
        """Whatever is still on its way to an attempt stays where it is."""
        for transfer in self._travelling.pop(a.id, {}).values():
            self._driver.wires.drop(transfer)

    # --- devices that die and come back -------------------------------------------------------------------------------
    def cut(self, device: int) -> None:
        """A device has died, unnoticed: what it sent, carried or received breaks off."""
        self._casualties[device] += [t.purpose for t in self._driver.wires.cut(device)]

    def lose(self, device: int) -> list[Key]:
        """The planner knows that a device is dead: everything that it held, and nobody may name it any more."""
        held, self._held[device] = self._held[device], {}
        for what in held:
            self.holders.get(what, {}).pop(device, None)
        return list(held)

    def cut_off(self, device: int) -> list[Errand]:
        """The errands that a device's death broke off; they are no longer kept here."""
        errands, self._casualties[device] = self._casualties[device], []
        return errands

    def waiting_for(self, home: int) -> list[Errand]:
        """The errands that wait for a home to come back; they are no longer kept here."""
        errands, self._parked[home] = self._parked[home], []
        return errands

    def again(self, errands: Sequence[Errand]) -> None:
        """The fleet has changed: these errands, and all that had no way, are tried once more."""
        stuck, self._stuck = self._stuck, []
        for errand in (*errands, *stuck):
            self.fetch(errand)
