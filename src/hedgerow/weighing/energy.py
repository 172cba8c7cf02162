"""A smart plug's log joined to rows by time: what the whole device drew while one phase of one cell was measured."""

from __future__ import annotations

import csv
import math
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from hedgerow.errors import HedgerowError


def read_plug(path: Path) -> list[tuple[float, float]]:
    """(seconds since 1970, watts) in order of time, from a CSV file with the columns ``time`` and ``watts``.

    ``time`` is ISO 8601 (with its zone) or seconds since 1970. A last line without its end is one that is being
    written, and is left out. Raises HedgerowError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise HedgerowError(f"{path} cannot be read as a plug's log: {e.strerror or e}") from e
    except UnicodeDecodeError as e:
        raise HedgerowError(f"{path} cannot be read as a plug's log: {e}") from e
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    if not {"time", "watts"} <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ())
        raise HedgerowError(f"{path}: a plug's log has the columns time and watts, not {found}")
    entries = []
    try:
        for row in reader:
            entries.append((_seconds(row["time"]), _finite(row["watts"])))
            if entries[-1][1] < 0:
                raise ValueError(f"a power of {row['watts']} watts")
    except (TypeError, ValueError, OverflowError, csv.Error) as e:
        why = str(e)  # which quotes the cell, however long it is
        raise HedgerowError(f"{path}, line {reader.line_num}: {why if len(why) <= 120 else why[:117] + '…'}") from e
    return sorted(entries)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        if at.tzinfo is None:
            raise ValueError(f"the time {text} names no zone (write …Z or …+02:00)") from None
        return at.timestamp()
    return _finite(number)


def _finite(text: str | float) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


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


def of_call(
    log: list[tuple[float, float]], began: float, ended: float, calls: int | None, mean_ms: float
) -> float | None:
    """Joules of one call: the mean power while the phase ran times the mean time of a call.

    What lay between the calls (preparing the cache) is drawn too but is not charged. None where the log ends before.
    """
    total = joules(log, began, ended)
    if total is None or ended <= began or not calls:
        return None
    return round(total / (ended - began) * mean_ms / 1e3, 6)
