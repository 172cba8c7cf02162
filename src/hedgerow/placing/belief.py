"""The planner's book: what it sent where, and when it believes each slot free. It knows reports, never the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.placing.learning import Learner, Planner
from hedgerow.placing.network import Floats
from hedgerow.placing.physics import Attempt, Machine
from hedgerow.placing.view import NEVER, Believed, Input, View, slot, way

_SAME = 1e-9


class Ledger:
    """Believed timetable of every device. A device whose reports differ from it gets a new one at the next view."""

    def __init__(self, known: Believed, machines: Sequence[Machine], planner: Planner | None = None) -> None:
        self.known = known
        self.learner = Learner(known, planner or Planner())
        self.paused = np.zeros(len(machines), bool)
        self.sent_types = np.zeros((len(machines), len(known.app.works)), np.int64)
        self.up = np.ones(len(machines), bool)
        self.sent_to: list[dict[int, Attempt]] = [{} for _ in machines]
        self.changed: set[int] = set()
        self._machines = machines
        self._free_at = np.full((len(machines), int(known.slots.max())), NEVER)
        for d, slots in enumerate(known.slots):
            self._free_at[d, :slots] = 0.0
        self._loaded_at = np.full((len(machines), len(known.forms)), NEVER)

    def view(self, now: float, queued_bytes: Floats) -> View:
        """What a policy may see now; later bookings do not reach into it."""
        for d in sorted(self.changed):
            if self._machines[d].up:  # of a dead device no report comes: the last timetable stands until it is noticed
                self._renew(d, now)
        self.changed.clear()
        network = self.learner.network
        backlog = queued_bytes * network.s_per_byte
        arrays = self.up.copy(), self._free_at.copy(), self._loaded_at.copy(), backlog, self.sent_types.copy()
        paused = self.paused.copy()
        for array in (*arrays, paused):
            array.flags.writeable = False
        return View(now, self.known, *arrays, paused, network, self.learner.beliefs(now))

    def way(self, data: Input, device: int, queued_bytes: Floats) -> tuple[float, int, list[int]] | None:
        """(seconds, holder, links) of the best way of ``data`` to a device over what is believed to be up."""
        network = self.learner.network
        return way(network, self.up, queued_bytes * network.s_per_byte, data, device)

    def sent(self, a: Attempt) -> None:
        """An attempt is on its way to its device."""
        self.sent_to[a.device][a.id] = a
        self.sent_types[a.device, a.work] += 1
        self._book(a)

    def ended(self, a: Attempt, now: float) -> None:
        """An attempt is over; when it was not believed to end now, its device's timetable is wrong."""
        if self.sent_to[a.device].pop(a.id, None) is not None:
            self.sent_types[a.device, a.work] -= 1
        if abs(now - a.believed_end) > _SAME:
            self.changed.add(a.device)

    def gone(self, device: int) -> list[Attempt]:
        """The device is known to be dead; returns what had been sent there."""
        lost = list(self.sent_to[device].values())
        self.sent_to[device].clear()
        self.sent_types[device] = 0
        self.up[device] = False
        return lost

    def back(self, device: int, now: float) -> None:
        """The device is up again, empty."""
        self.up[device] = True
        self._renew(device, now)

    def _book(self, a: Attempt) -> None:
        row = self._free_at[a.device]
        loaded = float(self._loaded_at[a.device, a.form])
        _, loaded, end = slot(float(row[0]), a.ready_at, loaded, a.believed_load_s, a.believed_run_s)
        self._loaded_at[a.device, a.form] = loaded
        row[0] = a.believed_end = end
        row.sort()

    def _renew(self, device: int, now: float) -> None:
        """The timetable from what the device reports: what runs, since when; then what waits, in order of arrival."""
        machine, row = self._machines[device], self._free_at[device]
        row[:] = NEVER
        row[: machine.slots] = now
        self._loaded_at[device] = NEVER
        for form in machine.loaded:
            self._loaded_at[device, form] = 0.0
        for a in machine.running.values():
            if a.phase == "load":
                loaded = max(now, a.began + a.believed_load_s)
                self._loaded_at[device, a.form] = loaded
                a.believed_end = loaded + a.believed_run_s
            else:
                a.believed_end = max(now, a.run_began + a.believed_run_s)
            row[0] = a.believed_end
            row.sort()
        waiting = [a for a in self.sent_to[device].values() if a.id not in machine.running]
        for a in sorted(waiting, key=lambda a: (a.ready_at, a.id)):
            self._book(a)
