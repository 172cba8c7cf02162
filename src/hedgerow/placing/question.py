"""From what people hand over (Packs, a workload, an app, a fleet file) to what a planner needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Unit, Workload
from hedgerow.pack import Pack, open_pack
from hedgerow.placing.dag import App, Demand, app_of_packs, demand_of, open_app, stream
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import menus_of
from hedgerow.placing.view import Believed
from hedgerow.placing.wfformat import open_workflow

APPS = (".toml", ".json")  # an app.toml, a workflow in WfFormat
Asked = Workload | App | Pack | str | Path | Sequence[Pack | str | Path]


@dataclass(frozen=True)
class Ask:
    """Everything that decides which form may run where; the same for a plan and for a simulation."""

    need: Sequence[str] = ()
    limit: Sequence[str] = ()
    by: str | None = None  # the metric by which forms are ranked; None: the first need's, else the kind's headline
    task: str | None = None  # which Task's scores, where the Packs share several
    this: str | None = None  # fingerprint of the machine that like = "this" means
    requests: int = 100  # the rest holds for Packs and apps; a Workload says it itself
    batch: int = 1
    every_ms: float = 0.0
    size: Mapping[str, int] | None = None
    unit: Unit | None = None  # None: the kind's unit of work


def opened(fleet: Fleet | str | Path) -> Fleet:
    """The fleet itself, or the one in the file."""
    return fleet if isinstance(fleet, Fleet) else Fleet.open(fleet)


def demand(what: Asked, fleet: Fleet, ask: Ask) -> Demand:
    """The requests of a workload, of an app (object, app.toml or a WfFormat file), or of rival Packs."""
    if isinstance(what, Workload):
        return demand_of(what, fleet.home, ask.unit)
    if isinstance(what, str | Path) and Path(what).suffix in APPS:
        what = open_app(what) if Path(what).suffix == ".toml" else open_workflow(what)
    if isinstance(what, App):
        return stream(what, fleet.home, ask.requests, ask.every_ms)
    if isinstance(what, Pack | str | Path):
        what = [what]
    packs = [p if isinstance(p, Pack) else open_pack(p) for p in what]
    return stream(app_of_packs(packs, ask.batch, ask.size, ask.unit), fleet.home, ask.requests, ask.every_ms)


def believed(app: App, fleet: Fleet, ask: Ask) -> Believed:
    """The menus and everything else that a planner believes about the fleet."""
    return Believed.of(fleet, app, menus_of(app, fleet, ask.need, ask.limit, ask.by, ask.task, ask.this))


def asking(arguments: Mapping[str, Any]) -> Ask:
    """The keyword arguments of ``place`` and ``simulate`` as one record; an unknown one is an error with a hint."""
    from hedgerow.errors import did_you_mean

    for name in arguments:
        if name not in Ask.__dataclass_fields__:
            raise HedgerowError(f"there is no argument '{name}'{did_you_mean(name, Ask.__dataclass_fields__)}")
    texts = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in arguments.items() if k in ("need", "limit")}
    return Ask(**{**arguments, **texts})


def assumptions(known: Believed) -> list[str]:
    """Everything that a plan or an outcome rests on and nobody measured, one line each."""
    lines = list(known.fleet.assumptions())
    options = [o for m in known.menus for d in m.devices for o in d.options if o.score_note and o.eligible]
    lines += sorted({f"{o.name}/{o.variant}: {o.score_note}" for o in options})
    likely = {(d.device, o.name, o.variant, o.timing.note) for m in known.menus for d in m.devices for o in d.options
              if o.eligible and o.timing is not None and o.source == "predicted"}  # fmt: skip
    lines += [f"{name}/{variant} on {where}: {note}" for where, name, variant, note in sorted(likely)]
    plain = [w for w in known.app.works if not w.packs and not w.source.startswith("measured:")]
    lines += [f"job '{w.name}': {w.seconds:g} s ({w.source})" for w in plain]
    return [*lines, "Packs lie on every device's disk before the first request"]
