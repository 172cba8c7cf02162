"""simulate: the same requests, failures and luck for several policies or fleets, over many seeds, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.placing import question
from hedgerow.placing.dag import Demand
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.learning import Planner
from hedgerow.placing.measures import MEASURES, measures, timeline, utilisation
from hedgerow.placing.plan import shares
from hedgerow.placing.policies import policy as policy_named
from hedgerow.placing.simulator import Run, run
from hedgerow.placing.traces import Trace, demand_of_trace, open_trace
from hedgerow.placing.view import Believed
from hedgerow.placing.whatif import changes, for_fleet
from hedgerow.placing.world import World

FORMAT = 1


@dataclass(frozen=True)
class Scenario:
    """One line of the comparison: a policy on a fleet in a world."""

    label: str
    policy: str
    known: Believed
    demand: Demand
    world: World
    trace: Trace | None = None
    planner: Planner | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of every scenario; ``data`` is deterministic, ``measured`` (decision times) is not."""

    data: Mapping[str, Any]
    measured: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Hex digest of the deterministic part: equal for equal arguments, on every run."""
        return files.digest(self.data)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**self.data, "measured": dict(self.measured)}

    def __str__(self) -> str:
        from hedgerow.placing.show import as_text, outcome_tables

        return as_text(outcome_tables(self.to_json()))


def simulate(
    what: question.Asked,
    fleet: Fleet | str | Path,
    need: Sequence[str] | str = (),
    limit: Sequence[str] | str = (),
    policy: str = "earliest-finish",
    against: Sequence[str] = ("local-only", "random"),
    seeds: int = 30,
    without: Sequence[str] | Mapping[str, float] = (),
    world: World | None = None,
    first_seed: int = 0,
    quiet: bool = False,
    more: Sequence[str] = (),
    swap: Sequence[str] = (),
    trace: Trace | str | Path | None = None,
    planner: Planner | None = None,
    **ask: Any,
) -> Outcome:
    """Simulate ``policy``, the policies ``against`` it, and the same policy ``without`` some devices.

    ``without`` lists devices that are missing from the start (the planner knows), or maps a device to the second at
    which it leaves for good (the planner notices). ``more`` (``edge2=edge``) and ``swap`` (``laptop=edge``) add one
    scenario each: the same policy with a device more, or with other hardware. ``trace`` (object or trace.jsonl) says
    what arrives and what happens to devices and links; ``planner`` what is learnt on the way.
    All scenarios meet the same arrivals, failures, luck and errors of belief, seed by seed; differences to the first
    are paired. Other keywords as for :func:`hedgerow.placing.place`.
    """
    if seeds < 1:
        raise HedgerowError(f"at least one seed must be simulated (got {seeds})")
    asked = question.asking({"need": need, "limit": limit, **ask})
    home, world = question.opened(fleet), world or World()
    for name in world.leave:
        home.index(name)
    demand = question.demand(what, home, asked)
    known = question.believed(demand.app, home, asked)
    told = open_trace(trace, home) if isinstance(trace, str | Path) else trace
    arriving = None
    if told is not None and any(row["ev"] == "arrive" for row in told.rows):
        demand = arriving = demand_of_trace(demand.app, told)
    scenarios = [Scenario(p, p, known, demand, world) for p in dict.fromkeys((policy, *against))]
    scenarios += _what_if(what, policy, without, home, known, demand, world, asked, arriving)
    for label, other in changes(home, more, swap):
        scenarios.append(
            Scenario(f"{policy} {label}", policy, question.believed(demand.app, other, asked), demand, world)
        )
    if told is not None:
        scenarios = [_told(s, told, home) for s in scenarios]
    if planner is not None:
        scenarios = [replace(s, planner=planner) for s in scenarios]
    return _compared(scenarios, range(first_seed, first_seed + seeds), quiet)


def _told(s: Scenario, trace: Trace, recorded: Fleet) -> Scenario:
    """The scenario with what the trace says of its fleet; a request from a device that is missing does not arise."""
    kept = tuple(r for r in s.demand.requests if r.home in s.known.fleet.names)
    if not kept:
        raise HedgerowError(f"{s.label}: no request of the trace arises on a device that is left")
    return replace(s, trace=for_fleet(trace, recorded, s.known.fleet), demand=Demand(s.demand.app, kept))


def _what_if(
    what: question.Asked,
    policy: str,
    without: Sequence[str] | Mapping[str, float],
    fleet: Fleet,
    known: Believed,
    demand: Demand,
    world: World,
    asked: question.Ask,
    arriving: Demand | None = None,
) -> list[Scenario]:
    """The same policy without some devices; ``arriving``: the requests that a trace holds, which stay as they are."""
    if not without:
        return []
    if isinstance(without, Mapping):
        for name in without:
            fleet.index(name)
        left = world.model_copy(update={"leave": {**world.leave, **without}})
        words = ", ".join(f"{name} leaves at {at:g} s" for name, at in without.items())
        return [Scenario(f"{policy}, {words}", policy, known, demand, left)]
    names = [without] if isinstance(without, str) else list(without)
    smaller = fleet.without(names)
    fewer = arriving or question.demand(what, smaller, asked)
    label = f"{policy} without {', '.join(names)}"
    return [Scenario(label, policy, question.believed(fewer.app, smaller, asked), fewer, world)]


def _compared(scenarios: Sequence[Scenario], seeds: range, quiet: bool) -> Outcome:
    from hedgerow.run import progress

    rows, measured, timelines = [], {}, {}
    with progress("simulate", len(scenarios) * len(seeds), quiet) as tick:
        for s in scenarios:
            chosen = policy_named(s.policy)
            runs = []
            for seed in seeds:
                first = seed == seeds[0]
                found = run(s.demand, s.known, chosen, s.world, seed, first, s.planner, s.trace)
                if seed == seeds[0]:
                    timelines[s.label] = timeline(found.log, found.ended_s)
                runs.append(found)
                tick(1)
            rows.append(_row(s, runs))
            measured[s.label] = _decision_ms(runs)
    data = {
        "format": FORMAT,
        "seeds": [seeds[0], len(seeds)],
        "requests": len(scenarios[0].demand.requests),
        "metric": scenarios[0].known.menus[0].metric,
        "world": scenarios[0].world.model_dump(mode="json"),
        "rows": rows,
        "differences": [_difference(row, rows[0]) for row in rows[1:]],
        "timelines": timelines,
        "assumptions": question.assumptions(scenarios[0].known) + _of_world(scenarios[0].world),
    }
    return Outcome(data, {"decision_ms": measured})


def _row(s: Scenario, runs: Sequence[Run]) -> dict[str, Any]:
    per_seed = [measures(r, s.demand, s.known) for r in runs]
    columns = {name: [m[name] for m in per_seed] for name in MEASURES}
    used = np.array([utilisation(r, s.known) for r in runs]).mean(0)
    busy = np.array([r.busy_s for r in runs]).mean(0)
    jobs = _jobs(runs, s)
    return {
        "label": s.label,
        "policy": s.policy,
        "metrics": {name: _interval(column) for name, column in columns.items()},
        "devices": [
            {
                "device": name,
                "tier": s.known.fleet.devices[d].tier,
                "utilisation": float(used[d]),
                "busy_s": float(busy[d]),
                "jobs": jobs.get(name, {}),
            }
            for d, name in enumerate(s.known.fleet.names)
        ],
        "per_seed": columns,
    }


def _jobs(runs: Sequence[Run], s: Scenario) -> dict[str, dict[str, float]]:
    """Mean number of jobs that each form did on each device in one run."""
    total: dict[str, dict[str, float]] = {}
    for share in (x for r in runs for x in shares(r, s.known) if x["form"]):
        mine = total.setdefault(share["device"], {})
        mine[share["form"]] = mine.get(share["form"], 0.0) + share["jobs"] / len(runs)
    return total


def _interval(column: Sequence[float | None]) -> dict[str, float] | None:
    """Mean over seeds with its 95 % bootstrap interval over the seeds that have a value; None without any."""
    from hedgerow.metrics import group_bootstrap

    known = [v for v in column if v is not None]
    return group_bootstrap(known, range(len(known))).score(len(known)) if known else None


def _difference(row: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Row minus first, paired by seed."""
    from hedgerow.metrics import paired_bootstrap

    found: dict[str, Any] = {}
    for name in MEASURES:
        pairs = [(a, b) for a, b in zip(row["per_seed"][name], first["per_seed"][name], strict=True)]
        pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
        if pairs:
            one, two = zip(*pairs, strict=True)
            found[name] = paired_bootstrap(one, two, range(len(pairs))).score(len(pairs))
        else:
            found[name] = None
    return {"label": row["label"], "against": first["label"], "metrics": found}


def _decision_ms(runs: Sequence[Run]) -> dict[str, float | int | None]:
    times = np.array([t for r in runs for t in r.decision_s]) * 1e3
    if not len(times):
        return {"p50": None, "p95": None, "calls": 0}
    return {"p50": float(np.quantile(times, 0.5)), "p95": float(np.quantile(times, 0.95)), "calls": len(times)}


def _of_world(world: World) -> list[str]:
    said = [f"a death is noticed after {world.notice_s:g} s; the planner itself never fails"]
    if world.jitter:
        said.append("run times spread log-normally with the measured p50 and p95")
    if world.doubt:
        said.append(f"each assumed speed and link rate is wrong by a factor drawn log-normally, sigma {world.doubt:g}")
    if not world.interference:
        said.append("requests that run beside one another on a device's cores do not slow one another")
    if not world.failures:
        said.append("nothing fails")
    return said
