"""Other people's recordings as traces: link logs in mahimahi and FCC form, failures in FTA form and as machine events.

The user brings the file; none is shipped. What comes out is a recorded :class:`hedgerow.placing.traces.Trace`, sorted
and checked; a fault in a file is one line that names its line and field.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.traces import Trace, merged, open_trace, trace_of

_PACKET_BITS = 1500 * 8  # what mahimahi delivers at each time that it lists
_MOST_BINS = 1_000_000
_ADD, _REMOVE = "0", "1"


def mahimahi(
    path: str | Path, fleet: Fleet, source: str, target: str, bin_s: float = 1.0, until_s: float = 0.0
) -> Trace:
    """A mahimahi link log: a line is the millisecond at which one packet of 1500 bytes may pass; it repeats for ever.

    Rates are means over ``bin_s``; repeated up to ``until_s`` (0: once).
    """
    at: list[int] = []
    for n, text in _lines(path):
        value = _integer(text, f"{path}: line {n}: time in ms")
        if at and value < at[-1]:
            raise HedgerowError(f"{path}: line {n}: time in ms: {value} comes after {at[-1]}; the lines must be sorted")
        at.append(value)
    if not at:
        raise HedgerowError(f"{path}: holds no line; a mahimahi log has one time in ms a line")
    width = 1e3 * bin_s
    if at[-1] / width > _MOST_BINS:
        raise HedgerowError(f"{path}: its last time, {at[-1]} ms, is too late to be meant")
    bins = [0] * (int(at[-1] // width) + 1)
    for value in at:
        bins[int(value // width)] += 1
    period = len(bins) * bin_s
    rows: list[dict[str, Any]] = []
    start = 0.0
    while True:
        rows += [_rate(start + i * bin_s, source, target, k * _PACKET_BITS / (bin_s * 1e6)) for i, k in enumerate(bins)]
        start += period
        if start >= until_s:
            return trace_of(rows, str(path), fleet)


def fcc(path: str | Path, fleet: Fleet, source: str, target: str, unit: str | None = None) -> Trace:
    """A table of the FCC's Measuring Broadband America: columns ``unit_id``, ``dtime`` and ``bytes_sec`` by name.

    ``unit`` picks one measured household; without it the file must hold one only. Times count from the first line.
    """
    found: list[tuple[float, float]] = []
    units: set[str] = set()
    for n, row in _table(path, ("unit_id", "dtime", "bytes_sec")):
        if unit is not None and row["unit_id"] != unit:
            continue
        units.add(row["unit_id"])
        try:
            read = datetime.fromisoformat(row["dtime"])
        except ValueError:
            said = f"{path}: line {n}: dtime: '{row['dtime']}' is no date and time like 2020-09-01 00:00:00"
            raise HedgerowError(said) from None
        when = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()  # whatever zone this machine is in
        found.append((when, _number(row["bytes_sec"], f"{path}: line {n}: bytes_sec") * 8 / 1e6))
    if len(units) > 1:
        few = ", ".join(sorted(units)[:5])
        raise HedgerowError(f"{path}: holds {len(units)} units ({few}, …); say which with unit = …")
    if not found:
        raise HedgerowError(f"{path}: holds no measurement" + (f" of unit {unit}" if unit else ""))
    found.sort()
    return trace_of([_rate(t - found[0][0], source, target, rate) for t, rate in found], str(path), fleet)


def fta(path: str | Path, fleet: Fleet, scale: float = 1.0) -> Trace:
    """An event trace of the Failure Trace Archive: columns ``node_id``, ``event_type`` (0 unavailable, 1 available),
    ``event_start_time`` and ``event_stop_time``, in seconds, by name; blanks or tabs between them.

    Nodes take the fleet's devices in the order in which they appear; nodes beyond those are left out. Times count from
    the first start and are multiplied by ``scale``.
    """
    events: list[tuple[float, float, str]] = []
    for n, row in _table(path, ("node_id", "event_type", "event_start_time", "event_stop_time"), blanks=True):
        at = f"{path}: line {n}"
        if row["event_type"] not in ("0", "1"):
            raise HedgerowError(f"{at}: event_type: '{row['event_type']}' is neither 0 (unavailable) nor 1 (available)")
        start, stop = (_number(row[k], f"{at}: {k}") for k in ("event_start_time", "event_stop_time"))
        if stop < start:
            raise HedgerowError(f"{at}: event_stop_time: {stop:g} lies before the start at {start:g}")
        if row["event_type"] == "0":
            events.append((start, stop, row["node_id"]))
        else:
            events.append((start, start, row["node_id"]))  # only to know the node and the first time
    return _deaths(events, path, fleet, scale)


def machine_events(path: str | Path, fleet: Fleet, scale: float = 1.0) -> Trace:
    """Machine events as in Google's cluster traces: time in µs, machine, event (0 added, 1 removed, 2 updated), …"""
    down: dict[str, float] = {}
    events: list[tuple[float, float, str]] = []
    for n, text in _lines(path):
        cells = text.split(",")
        if len(cells) < 3:
            raise HedgerowError(f"{path}: line {n}: has {len(cells)} fields; time, machine and event are needed")
        t, machine, event = _number(cells[0], f"{path}: line {n}: time") / 1e6, cells[1].strip(), cells[2].strip()
        if event not in ("0", "1", "2"):
            raise HedgerowError(f"{path}: line {n}: event: '{event}' is none of 0 (added), 1 (removed), 2 (updated)")
        if event == _REMOVE:
            down.setdefault(machine, t)
        elif event == _ADD and machine in down:
            events.append((down.pop(machine), t, machine))
        else:
            events.append((t, t, machine))
    events += [(t, float("inf"), machine) for machine, t in down.items()]
    return _deaths(events, path, fleet, scale)


_NODES = {"fta": fta, "machine-events": machine_events}
_LINKS = ("mahimahi", "fcc")


def read_traces(wishes: Sequence[str], fleet: Fleet) -> Trace:
    """Traces as people name them, as one: ``trace.jsonl``, or a recording of another form before an equals sign.

    ``fta=FILE``, ``machine-events=FILE``, ``mahimahi:FROM:TO=FILE``, ``fcc:FROM:TO=FILE`` or ``fcc:FROM:TO:UNIT=FILE``.
    """
    return merged(*(_read_one(wish, fleet) for wish in wishes))


def _read_one(wish: str, fleet: Fleet) -> Trace:
    how, equals, path = wish.partition("=")
    if not equals or Path(wish).exists():
        return open_trace(wish, fleet)
    form, *ends = how.strip().split(":")
    if form in _NODES and not ends:
        return _NODES[form](path, fleet)
    if form in _LINKS and len(ends) in ((2,) if form == "mahimahi" else (2, 3)):
        for end in ends[:2]:
            fleet.index(end)
        return mahimahi(path, fleet, ends[0], ends[1]) if form == "mahimahi" else fcc(path, fleet, *ends)
    if form in _LINKS:
        raise HedgerowError(f"--trace {wish}: say of which link it is, e.g. --trace {form}:phone1:edge=FILE")
    near = did_you_mean(form, (*_NODES, *_LINKS))
    raise HedgerowError(f"--trace {wish}: there is no form '{how}'{near}; FILE alone is a trace.jsonl")


def _deaths(events: Sequence[tuple[float, float, str]], path: str | Path, fleet: Fleet, scale: float) -> Trace:
    if not events:
        raise HedgerowError(f"{path}: holds no event")
    events = sorted(events)
    nodes = dict.fromkeys(node for _, _, node in events)
    device = dict(zip(nodes, fleet.names, strict=False))
    zero = events[0][0]
    rows = []
    until: dict[str, float] = {}
    for start, stop, node in events:
        if node not in device or stop <= start:
            continue
        if start < until.get(node, 0.0):
            raise HedgerowError(f"{path}: node {node}: is unavailable twice at {start:g} s; its events overlap")
        until[node] = stop
        rows.append({"t": (start - zero) * scale, "ev": "down", "dev": device[node]})
        if stop < float("inf"):
            rows.append({"t": (stop - zero) * scale, "ev": "up", "dev": device[node]})
    return trace_of(sorted(rows, key=lambda row: float(row["t"])), str(path), fleet)


def _rate(t: float, source: str, target: str, mbps: float) -> dict[str, Any]:
    return {"t": t, "ev": "bw", "src": source, "dst": target, "mbps": mbps}


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise HedgerowError(f"{path}: cannot be read as text ({e})") from None
    for n, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield n, line.strip()


def _table(path: str | Path, wanted: Sequence[str], blanks: bool = False) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows by the names in the first line, which may begin with #."""
    names: list[str] = []
    for n, line in _lines(path):
        cells = line.lstrip("# ").split() if blanks else next(csv.reader([line.lstrip("# ")]))
        if not names:
            names = [c.strip().lower() for c in cells]
            for name in wanted:
                if name not in names:
                    raise HedgerowError(f"{path}: line {n}: no column is called '{name}'{did_you_mean(name, names)}")
            continue
        if len(cells) < len(names):
            raise HedgerowError(f"{path}: line {n}: has {len(cells)} fields, and the first line names {len(names)}")
        yield n, dict(zip(names, (c.strip() for c in cells), strict=False))


def _number(text: str, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise HedgerowError(f"{at}: '{text}' is no number") from None
    if not 0 <= value < float("inf"):
        raise HedgerowError(f"{at}: must be a finite number that is not negative (got {text})")
    return value


def _integer(text: str, at: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise HedgerowError(f"{at}: '{text}' is no whole number")
    return int(text)
