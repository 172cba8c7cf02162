"""IBDASH's own book of what runs where: believed stretches per device, lengthened by whoever is put beside them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hedgerow.placing.network import Floats, Ints
from hedgerow.placing.policies.common import exec_seconds

Stretch = tuple[int, float, float]  # (type, start, end)
Timeline = Mapping[int, tuple[Stretch, ...]]  # by device; never changed in place


def running(timeline: Timeline, devices: int, types: int, at: float) -> Ints:
    """[D, T] how many of each type run at ``at``."""
    found = np.zeros((devices, types), np.int64)
    for d, stretches in timeline.items():
        for t, start, end in stretches:
            if start <= at < end:
                found[d, t] += 1
    return found


def put(
    timeline: Timeline, device: int, kind: int, start: float, seconds: float, slope: Floats, intercept: Floats
) -> dict[int, tuple[Stretch, ...]]:
    """The timeline with one more job on ``device`` from ``start`` on; those that run then end later.

    Each is lengthened by what the model says that the newcomer adds to it. ``slope``, ``intercept`` [T, T] of the
    device.
    """
    mine = timeline.get(device, ())
    present = [i for i, (_, a, b) in enumerate(mine) if a <= start < b]
    longer = []
    for i, (t, a, b) in enumerate(mine):
        if i in present:
            beside = np.zeros(len(slope), np.int64)
            for k in present:
                if k != i:
                    beside[mine[k][0]] += 1
            before = float(exec_seconds(slope[t], intercept[t], beside, t))
            beside[kind] += 1
            b += float(exec_seconds(slope[t], intercept[t], beside, t)) - before
        longer.append((t, a, b))
    return {**timeline, device: (*longer, (kind, start, start + seconds))}


def since(timeline: Timeline, at: float) -> dict[int, tuple[Stretch, ...]]:
    """Without what had ended by ``at``."""
    kept = {d: tuple(s for s in stretches if s[2] > at) for d, stretches in timeline.items()}
    return {d: s for d, s in kept.items() if s}
