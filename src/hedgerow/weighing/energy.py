"""A smart plug's log joined to rows by time: what the whole device drew while one phase of one cell was measured."""

from __future__ import annotations

import csv
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from hedgerow.errors import HedgerowError


def read_plug(path: Path) -> list[tuple[float, float]]:
    """(seconds since 1970, watts) in order of time, from a CSV file with the columns ``time`` and ``watts``.

    ``time`` is ISO 8601 (with its zone) or seconds since 1970. Raises HedgerowError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise HedgerowError(f"{path} cannot be read as a plug's log: {e}") from e
    reader = csv.DictReader(text.splitlines())
    if not {"time", "watts"} <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ())
        raise HedgerowError(f"{path}: a plug's log has the columns time and watts, not {found}")
    entries = []
    for row in reader:
        try:
            entries.append((_seconds(row["time"]), float(row["watts"])))
        except (TypeError, ValueError) as e:
            raise HedgerowError(f"{path}, line {reader.line_num}: {e}") from e
    return sorted(entries)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()


def joules(log: list[tuple[float, float]], began: float, ended: float) -> float | None:
    """Energy between two times, the power linear between entries; None where the log does not reach over both."""
    if len(log) < 2 or log[0][0] > began or log[-1][0] < ended:
        return None
    total = 0.0
    for (t0, w0), (t1, w1) in pairwise(log):
        left, right = max(t0, began), min(t1, ended)
        if right > left:
            slope = (w1 - w0) / (t1 - t0) if t1 > t0 else 0.0
            total += (right - left) * (w0 + slope * ((left + right) / 2 - t0))
    return total


def of_call(path: Path, began: float, ended: float, calls: int | None, mean_ms: float) -> float | None:
    """Joules of one call: the mean power while the phase ran times the mean time of a call.

    What lay between the calls (preparing the cache) is drawn too but is not charged. None where the log ends before.
    """
    total = joules(read_plug(path), began, ended)
    if total is None or ended <= began or not calls:
        return None
    return round(total / (ended - began) * mean_ms / 1e3, 6)
