"""Rows of several rounds put together: models take turns, each time in a fresh process, and every sample counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hedgerow.weighing.timing import Samples, row_key

OF_ROUND = ("began", "ended", "calls")  # of an event: when it was measured, for what is joined by time


class Gathered:
    """Events of the same phase, size, batch and options, over all rounds."""

    def __init__(self) -> None:
        self._of: dict[str, list[dict[str, Any]]] = {}

    def add(self, event: dict[str, Any]) -> None:
        """One measured row of one round."""
        size, batch = event.get("size", {}), event.get("batch", 1)
        key = row_key(event["phase"], size, batch, event.get("options", {}), event["runtime"])
        self._of.setdefault(key, []).append(event)

    def rows(self, joined: Callable[[dict[str, Any]], dict[str, Any]] = lambda event: event) -> list[dict[str, Any]]:
        """One row each, in the order in which they were first measured; ``joined`` adds to each round's event."""
        return [together([joined(event) for event in events]) for events in self._of.values()]


def together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of several: all samples in order, the largest peak, noisy when any was; the last round tells the rest.

    Energy is the mean over rounds; a row is unsteady by all its samples (p95 > 1.5 p50, slm.md trap 11).
    """
    ms = [s for event in events for s in event.get("samples_ms") or [event["p50_ms"]]]
    samples = Samples(tuple(ms))
    peaks = [event["peak_bytes"] for event in events if event.get("peak_bytes") is not None]
    joules = [event["energy_j"] for event in events if event.get("energy_j") is not None]
    row = {
        **events[-1],
        "repeats": len(ms),
        "p50_ms": round(samples.quantile(0.5), 4),
        "p95_ms": round(samples.quantile(0.95), 4),
        "mean_ms": round(samples.mean, 4),
        "min_ms": round(min(ms), 4),
        "samples_ms": ms,
        "peak_bytes": max(peaks, default=None),
        "energy_j": sum(joules) / len(joules) if joules else None,
        "noisy": samples.unsteady or any(event.get("noisy", False) for event in events),
    }
    if len(events) > 1 and not row.get("note"):
        row["note"] = f"{len(events)} rounds, each in a fresh process, in turn with the other forms"
    return {name: value for name, value in row.items() if name not in OF_ROUND}
