"""One simulated run of a demand on a fleet under a policy, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Any

from hedgerow.errors import HedgerowError
from hedgerow.placing.dag import Demand
from hedgerow.placing.driver import Driver
from hedgerow.placing.learning import Planner
from hedgerow.placing.physics import Done
from hedgerow.placing.progress import INPUT
from hedgerow.placing.traces import Trace, recorded
from hedgerow.placing.view import Believed, Placement, Policy
from hedgerow.placing.world import World

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Run:
    """What happened in one run. ``decision_s`` is wall-clock time and the only thing that a repetition changes."""

    answered_s: tuple[float | None, ...]  # per request; None = unfinished
    done: tuple[Done, ...]  # in the order in which they ended
    decisions: tuple[tuple[float, Placement], ...]  # only when recorded
    log: tuple[dict[str, Any], ...]  # only when recorded
    ended_s: float
    busy_s: tuple[float, ...]  # per device: slot seconds taken
    wasted_s: float  # of them, those that no answer rests on
    bytes_moved: int
    cost: float
    loads: int
    evictions: int
    lost: int  # attempts that died with their device
    decision_s: tuple[float, ...]  # per call of place
    rates_mbps: tuple[float, ...] = ()  # true rate of each link at the beginning
    failed: tuple[bool, ...] = ()  # per request: whether a death took work or a result of it


def run(
    demand: Demand,
    known: Believed,
    policy: Policy,
    world: World,
    seed: int,
    record: bool = False,
    planner: Planner | None = None,
    trace: Trace | None = None,
) -> Run:
    """Simulate one seed. Everything but the decision time follows from the arguments alone.

    ``planner`` says what is learnt on the way (None: nothing), ``trace`` what happens to devices and links beside, or
    instead of, what the world draws.
    """
    driver = Driver(demand, known, policy, world, seed, record, planner, trace)
    rates = [8 / (s * 1e6) for s in driver.wires.s_per_byte.tolist()]
    driver.live()
    busy = tuple(m.busy_s for m in driver.machines)
    answered = [r for r, when in enumerate(driver.answered) if when is not None]
    useful = fsum(job.spent for r in answered for job in driver.jobs[r])
    prices = [d.price_per_s for d in known.fleet.devices]
    return Run(
        answered_s=tuple(driver.answered),
        done=tuple(driver.done),
        decisions=tuple(driver.decisions),
        log=tuple(_named(row, demand, known) for row in driver.log.rows),
        ended_s=driver.clock.now,
        busy_s=busy,
        wasted_s=wasted if (wasted := fsum(busy) - useful) > _ROUNDING * fsum(busy) else 0.0,
        bytes_moved=driver.wires.bytes_moved,
        cost=driver.wires.money + sum(p * b for p, b in zip(prices, busy, strict=True)),
        loads=sum(m.loads for m in driver.machines),
        evictions=sum(m.evictions for m in driver.machines),
        lost=driver.lost,
        decision_s=tuple(driver.decision_s),
        rates_mbps=tuple(rates),
        failed=tuple(driver.failed),
    )


def recording(found: Run, known: Believed) -> Trace:
    """The trace of a recorded run, for replay with :func:`replay`."""
    if not found.log:
        raise HedgerowError("the run was not recorded; run it with record = True")
    ends = [(x.source_device, x.target_device) for x in known.fleet.links]
    return recorded(found.log, found.ended_s, dict(zip(ends, found.rates_mbps, strict=True)))


def replay(demand: Demand, known: Believed, policy: Policy, world: World, seed: int, trace: Trace) -> Run:
    """A recorded run again: durations, deaths and rates are the trace's, decisions the policy's own.

    ``world`` counts only for when a death is noticed and how long patience lasts.
    """
    calm = world.model_copy(update={"failures": False, "jitter": False, "doubt": 0.0, "interference": 0.0, "leave": {}})
    return run(demand, known, policy, calm, seed, record=True, trace=trace)


def _named(row: dict[str, Any], demand: Demand, known: Believed) -> dict[str, Any]:
    """A row of the log with names instead of positions."""
    row = dict(row)
    key = row.pop("key", None)
    if key is not None:
        row["request"] = demand.requests[key[0]].id
        row["job"] = demand.app.jobs[key[1]].name if key[1] != INPUT else "input"
    for end in ("dev", "src", "dst"):
        if end in row:
            row[end] = known.fleet.names[row[end]]
    if "form" in row:
        row["form"] = known.forms[row["form"]].label
    return row
