"""``trace.jsonl``: what happened to a fleet, one JSON object a line, sorted by time; recorded once, replayed for ever.

::

    {"t":0.2,"ev":"arrive","request":"request-17","home":"phone1"}
    {"t":3,"ev":"bw","src":"phone1","dst":"edge","mbps":9.1,"rtt":0.04}      rtt in seconds, optional; 0 mbps: cut
    {"t":12.5,"ev":"down","dev":"phone1"}          {"t":40.1,"ev":"up","dev":"phone1"}
    {"t":5,"ev":"busy","dev":"laptop","cpu":0.8}   the owner is at work: from 0.5 on, all of ours stands still
    {"t":6,"ev":"sleep","dev":"phone1"}            {"t":9,"ev":"wake","dev":"phone1"}
    {"t":0,"ev":"ran","request":"request-1","job":"run","dev":"edge","load_s":0.1,"run_s":0.9}   null: not seen to end
    {"t":7,"ev":"battery","dev":"phone1","level":0.4}      {"t":7,"ev":"price","dev":"cloud","per_s":0.0001}

A real run writes the same lines as a simulated one (:func:`recorded`), and either replays in the simulator: durations,
deaths and link rates are then those of the trace, and the same policy with the same seed decides the same.
Traces are recorded or generated; ``kind`` says which, and results keep them apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean

if TYPE_CHECKING:
    from hedgerow.placing.dag import App, Demand
    from hedgerow.placing.fleet import Fleet

BUSY_FROM = 0.5  # share of the processor that the owner takes
_NUMBER, _TEXT = "a number", "a text"
_EVENTS: dict[str, dict[str, str]] = {  # fields of each event; ? marks what may be absent, ~ what may be null
    "arrive": {"request": _TEXT, "home": _TEXT, "?app": _TEXT, "?size": _NUMBER},
    "down": {"dev": _TEXT},
    "up": {"dev": _TEXT},
    "bw": {"src": _TEXT, "dst": _TEXT, "mbps": _NUMBER, "?rtt": _NUMBER},
    "busy": {"dev": _TEXT, "cpu": _NUMBER},
    "sleep": {"dev": _TEXT},
    "wake": {"dev": _TEXT},
    "ran": {"request": _TEXT, "job": _TEXT, "dev": _TEXT, "~load_s": _NUMBER, "~run_s": _NUMBER},
    "battery": {"dev": _TEXT, "level": _NUMBER},
    "price": {"dev": _TEXT, "per_s": _NUMBER},
}


@dataclass(frozen=True)
class Trace:
    """Checked rows in order of time. Built by :func:`open_trace`, :func:`trace_of` and the importers."""

    rows: tuple[dict[str, Any], ...]
    kind: str = "recorded"  # or "generated"
    replayed: bool = False  # of a whole run: what it does not say did not happen
    watched: frozenset[str] = frozenset()  # devices that die when it says so and at no other time

    @property
    def digest(self) -> str:
        """Hex digest of the rows."""
        return files.digest(list(self.rows))


def open_trace(path: str | Path, fleet: Fleet | None = None) -> Trace:
    """Read and check ``trace.jsonl``; the first fault is one line that names the file, the line and the field."""
    path = Path(path)
    rows = _read(path)
    generated = bool(rows) and rows[0].get("ev") == "trace"
    header = rows[0] if generated else {}
    body = rows[1:] if generated else rows
    found = trace_of(body, str(path), fleet, str(header.get("kind", "recorded")), first=2 if generated else 1)
    return replace(found, replayed=bool(header.get("replayed", False)))


def _read(path: Path) -> list[dict[str, Any]]:
    """Objects, one a line; unlike in a file that is being appended to, a last line without its end counts."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise HedgerowError(f"{path}: cannot be read as text ({e})") from None
    rows = []
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise HedgerowError(f"{path}: line {n}: not JSON ({e})") from None
        if not isinstance(row, dict):
            raise HedgerowError(f"{path}: line {n}: expected a JSON object")
        rows.append(row)
    return rows


def save_trace(path: str | Path, trace: Trace) -> None:
    """Write ``trace.jsonl``, whole or not at all."""
    header = {"t": 0.0, "ev": "trace", "kind": trace.kind, "replayed": trace.replayed}
    files.write_text(Path(path), "".join(f"{files.canonical(row)}\n" for row in (header, *trace.rows)))


def trace_of(
    rows: Iterable[Mapping[str, Any]],
    where: str = "trace",
    fleet: Fleet | None = None,
    kind: str = "recorded",
    first: int = 1,
) -> Trace:
    """Rows checked: known events and fields, finite numbers in range, sorted by time, devices of ``fleet``."""
    checked: list[dict[str, Any]] = []
    before = -math.inf
    for n, row in enumerate(rows, first):
        at = f"{where}: line {n}"
        _fields(row, at)
        if row["t"] < before:
            raise HedgerowError(f"{at}: t: {row['t']:g} comes after {before:g}; sort the lines by time")
        before = float(row["t"])
        _range(row, at)
        if fleet is not None:
            _names(row, at, fleet)
        checked.append(dict(row))
    return Trace(tuple(checked), kind)


def _fields(row: Mapping[str, Any], at: str) -> None:
    event = row.get("ev")
    if not isinstance(event, str) or event not in _EVENTS:
        raise HedgerowError(f"{at}: ev: there is no event {event!r}{did_you_mean(str(event), _EVENTS)}")
    fields = {"t": _NUMBER, **_EVENTS[event]}
    known = {name.lstrip("?~") for name in fields} | {"ev"}
    for name in row:
        if name not in known:
            raise HedgerowError(f"{at}: '{event}' has no field '{name}'{did_you_mean(name, known)}")
    for name, wanted in fields.items():
        bare = name.lstrip("?~")
        if bare not in row:
            if name.startswith("?"):
                continue
            raise HedgerowError(f"{at}: {bare}: '{event}' needs it, and it is missing")
        value = row[bare]
        if value is None and name.startswith("~"):
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number if wanted == _NUMBER else isinstance(value, str) and value):
            raise HedgerowError(f"{at}: {bare}: must be {wanted} (got {value!r})")


def _range(row: Mapping[str, Any], at: str) -> None:
    for name in ("t", "mbps", "rtt", "per_s", "load_s", "run_s", "size"):
        value = row.get(name)
        if value is not None and value < 0:
            raise HedgerowError(f"{at}: {name}: must not be negative (got {value:g})")
    for name in ("cpu", "level"):
        if not 0 <= row.get(name, 0) <= 1:
            raise HedgerowError(f"{at}: {name}: is a share between 0 and 1 (got {row[name]:g})")


def _names(row: Mapping[str, Any], at: str, fleet: Fleet) -> None:
    for field in ("dev", "src", "dst", "home"):
        name = row.get(field)
        if name is not None and name not in fleet.names:
            hint = did_you_mean(name, fleet.names)
            raise HedgerowError(f"{at}: {field}: the fleet has no device '{name}'{hint}")
    if row["ev"] == "bw":
        ends = {(x.source_device, x.target_device) for x in fleet.links}
        if (row["src"], row["dst"]) not in ends:
            raise HedgerowError(f"{at}: src, dst: the fleet has no link {row['src']}→{row['dst']}")


# --- recording and replaying -----------------------------------------------------------------------------------------
def recorded(log: Sequence[Mapping[str, Any]], ended_s: float, rates: Mapping[tuple[str, str], float]) -> Trace:
    """The trace of a run from its log: arrivals, deaths, pauses, and how long every attempt really took.

    ``rates`` are the links' true rates in Mbit/s at the beginning. An attempt that was lost or called off has no
    length: replayed, it runs until it is lost or called off again.
    """
    rows: list[dict[str, Any]] = [
        {"t": 0.0, "ev": "bw", "src": src, "dst": dst, "mbps": mbps} for (src, dst), mbps in rates.items()
    ]
    attempts: dict[int, dict[str, Any]] = {}
    since: dict[int, float] = {}  # of each attempt: when its phase began, less what its device had stood still before
    still: dict[str, float] = {}  # seconds that each device has stood still
    stopped: dict[str, float] = {}
    plain = {"down": "down", "up": "up", "pause": "sleep", "resume": "wake"}
    for row in log:
        event, at = row["ev"], row["t"]
        if event == "arrive":
            rows.append({"t": at, "ev": "arrive", "request": row["request"], "home": row["dev"]})
        elif event in plain:
            device = row["dev"]
            rows.append({"t": at, "ev": plain[event], "dev": device})
            if event == "pause":
                stopped[device] = at
            elif device in stopped:
                still[device] = still.get(device, 0.0) + at - stopped.pop(device)
        elif event == "bw":
            rows.append({"t": at, "ev": "bw", "src": row["src"], "dst": row["dst"], "mbps": row["mbps"]})
        elif event == "place":
            fixed = {"request": row["request"], "job": row["job"], "dev": row["dev"]}
            attempts[row["attempt"]] = {"t": at, "ev": "ran", **fixed, "load_s": None, "run_s": None}
            rows.append(attempts[row["attempt"]])
        elif event == "load":
            since[row["attempt"]] = at - still.get(row["dev"], 0.0)
        elif event == "loaded":
            attempts[row["attempt"]]["load_s"] = at - still.get(row["dev"], 0.0) - since[row["attempt"]]
        elif event == "start":
            since[row["attempt"]] = at - still.get(row["dev"], 0.0)
            if attempts[row["attempt"]]["load_s"] is None:
                attempts[row["attempt"]]["load_s"] = 0.0
        elif event == "finish":
            attempts[row["attempt"]]["run_s"] = at - still.get(row["dev"], 0.0) - since[row["attempt"]]
    return replace(trace_of(rows, "the recording"), replayed=True)


def demand_of_trace(app: App, trace: Trace) -> Demand:
    """The requests that a trace saw arrive, with their ids and homes."""
    from hedgerow.placing.dag import Demand, Request

    found = [Request(r["request"], r["home"], float(r["t"])) for r in trace.rows if r["ev"] == "arrive"]
    if not found:
        raise HedgerowError("the trace holds no 'arrive': nothing was asked for")
    known: set[str] = set()
    for request in found:
        if request.id in known:
            raise HedgerowError(f"the trace holds two requests '{request.id}'; give each a name of its own")
        known.add(request.id)
    return Demand(app, tuple(found))


def merged(*traces: Trace) -> Trace:
    """Several traces as one, in order of time; generated as soon as one of them is."""
    rows = sorted((row for t in traces for row in t.rows), key=lambda row: float(row["t"]))
    kind = "generated" if any(t.kind == "generated" for t in traces) else "recorded"
    return Trace(tuple(rows), kind, any(t.replayed for t in traces))
