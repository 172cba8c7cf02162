"""``place``: which device runs which form of which Pack, why, and what becomes of it when devices die."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import click
import typer

from hedgerow.cli.common import Json, PackArguments, draw, emit, json_only


def _policies() -> list[str]:
    from hedgerow.placing import POLICIES

    return list(POLICIES)


def place(
    packs: PackArguments,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The devices and links: a fleet.toml.")],
    need: Annotated[list[str] | None, typer.Option(metavar="'accuracy>=0.55'", help="What a form must reach.")] = None,
    limit: Annotated[list[str] | None, typer.Option(metavar="'p95<=200ms'", help="What it must not exceed.")] = None,
    policy: Annotated[str, typer.Option(help="Who decides.", autocompletion=_policies)] = "earliest-finish",
    requests: Annotated[int, typer.Option(min=1, help="How many requests come.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one request.")] = 1,
    every: Annotated[float, typer.Option(min=0, metavar="MS", help="Time between requests; 0: all at once.")] = 0.0,
    by: Annotated[
        str | None, typer.Option(metavar="METRIC", help="What ranks forms; default: the first need's.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Whose scores count, where Packs have several.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="DEVICE", help="As if it were unplugged.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--with", metavar="NEW=DEVICE", help="One more like DEVICE.")
    ] = None,
    swap: Annotated[
        list[str] | None, typer.Option(metavar="DEVICE=OTHER", help="As if DEVICE were made of what OTHER is.")
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="For --simulate: a trace.jsonl, or fta=FILE, mahimahi:phone1:edge=FILE, …"),
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="ID|all", help="Why one request, or all, go there.")] = None,
    simulate: Annotated[int, typer.Option(min=0, metavar="SEEDS", help="Also let devices die, so many times.")] = 0,
    as_json: Json = False,
) -> None:
    """Place requests onto a fleet: on each device the best form that meets needs and limits there.

    Reads the scores and costs that `weigh` left in the Packs; what nobody measured is printed as assumed. One
    app.toml, or a workflow.json in WfFormat, instead of Packs places a DAG of jobs. With --simulate, the policy is set
    beside local-only and random, and beside itself without, with or after swapping devices: what would buying,
    unplugging or upgrading one change?
    """
    from hedgerow import placing
    from hedgerow.placing.importers import read_traces
    from hedgerow.placing.question import APPS
    from hedgerow.placing.show import explanation_tables, outcome_tables, plan_tables

    if trace and not simulate:
        raise click.UsageError("--trace says what happens in a simulation: give --simulate SEEDS too")
    what: Any = packs[0] if len(packs) == 1 and packs[0].suffix in APPS else packs
    asked: dict[str, Any] = {"need": need or (), "limit": limit or (), "policy": policy, "without": without or ()}
    asked |= {"requests": requests, "batch": batch, "every_ms": every, "by": by, "task": task}
    with json_only(as_json) as out:
        devices = placing.Fleet.open(fleet)
        change: dict[str, Any] = {"more": more or (), "swap": swap or ()}
        told = read_traces(trace, devices) if trace else None
        plan = placing.place(what, devices, **asked, **change)
        said = plan.to_json(explain)
        if not as_json:
            draw(*plan_tables(said))
            if explain is not None:
                draw(*explanation_tables(said["explanation"]))
        if simulate:
            change["trace"] = told
            outcome = placing.simulate(what, devices, seeds=simulate, quiet=as_json, **asked, **change).to_json()
            said["outcome"] = outcome
            if not as_json:
                draw(*outcome_tables(outcome, plan=said))
        if as_json:
            emit(said, out)
