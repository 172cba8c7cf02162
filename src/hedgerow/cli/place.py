"""``place``: which device runs which form of which Pack, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hedgerow.cli.common import Json, PackArguments, emit, json_only


def _policies() -> list[str]:
    return ["earliest-finish", "random", "local-only"]


def place(
    packs: PackArguments,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The devices and links: fleet.toml.")],
    need: Annotated[list[str] | None, typer.Option(metavar="'accuracy>=0.55'", help="What a form must reach.")] = None,
    limit: Annotated[list[str] | None, typer.Option(metavar="'p95<=200ms'", help="What may not be exceeded.")] = None,
    policy: Annotated[str, typer.Option(help="Who decides.", autocompletion=_policies)] = "earliest-finish",
    requests: Annotated[int, typer.Option(min=1, help="How many requests come.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one request.")] = 1,
    every: Annotated[float, typer.Option(min=0, metavar="MS", help="Milliseconds between requests; 0: at once.")] = 0,
    without: Annotated[list[str] | None, typer.Option(metavar="DEVICE", help="As if it were unplugged.")] = None,
    explain: Annotated[str | None, typer.Option(metavar="ID|all", help="Why one request, or all, go where.")] = None,
    simulate: Annotated[int, typer.Option(min=0, metavar="SEEDS", help="Also let devices die, that many times.")] = 0,
    as_json: Json = False,
) -> None:
    """Place requests onto a fleet: a form per device that meets the need, from measured scores and costs."""
    from hedgerow import placing
    from hedgerow.kinds import Workload
    from hedgerow.pack import open_pack

    with json_only(as_json) as out:
        opened = tuple(open_pack(p) for p in packs)
        devices = placing.Fleet.open(fleet)
        work = Workload(opened, requests, batch, every)
        plan: Any = placing.place(
            work, devices, need=need or [], limit=limit or [], policy=policy, without=without or []
        )
        emit(plan, out)
