"""``data``: what the shipped data is, what of it is on this machine, and under which licence."""

from __future__ import annotations

from typing import Annotated, Any

import click
import typer

from hedgerow.cli.common import Json, emit, json_only, say, table, transfer_bar


def _complete(incomplete: str) -> list[str]:
    from hedgerow.data.fetch import sources

    return [name for name in sources() if name.startswith(incomplete)]


def _parts(incomplete: str) -> list[str]:
    from hedgerow.data.cache import ROOMS

    return [name for name in ROOMS if name.startswith(incomplete)]


def data(
    source: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE…]", help="Fetch these now; none lists all.", autocompletion=_complete),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask a registry.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove from the cache what no source names.")] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="With --prune: features, trunks, evidence or suite.", autocompletion=_parts),
    ] = None,
    as_json: Json = False,
) -> None:
    """The data and base models that systems use: licence, size, and whether they are on this machine."""
    from hedgerow.data import cache, fetch

    if also and not prune:
        raise click.UsageError("--also needs --prune")
    with json_only(as_json) as out:
        if prune:
            made = cache.remove(also or ())
            gone = fetch.prune()
            gone["removed"] = [*(f"{row['room']}/{row['name']}" for row in made), *gone["removed"]]
            gone["bytes"] += sum(row["bytes"] for row in made)
            gone["kept"] = cache.made()
            if as_json:
                emit(gone, out)
            else:
                _print_pruned(gone)
        elif source:
            known = [fetch.source(name) for name in source]  # a misspelt one is told before anything is downloaded
            for it in known:
                path = _obtain(it, offline)
                if as_json:
                    emit({"name": it.name, "path": str(path), "licence": it.licence, "shareable": it.shareable}, out)
                else:
                    print(f"{it.name}: {path}\n  {it.licence}; {it.attribution}")
        else:
            rows = fetch.listing()
            if as_json:
                emit(rows, out)
            else:
                _print(rows)


def _obtain(it: Any, offline: bool) -> Any:
    from hedgerow.data import fetch

    with transfer_bar() as report:
        return fetch.obtain(it, offline=offline, progress=report)


def _print_pruned(gone: dict[str, Any]) -> None:
    """What was removed, and what was made on this machine and stays until somebody asks for it to go."""
    from hedgerow.data.cache import ROOMS
    from hedgerow.weighing.show import size

    print(f"removed {len(gone['removed'])} from the cache, {size(gone['bytes'])}")
    for name in gone["removed"]:
        print(f"  {name}")
    if not gone["kept"]:
        return
    rows = [(r["room"], r["name"], size(r["bytes"]), f"{r['days']:g} days") for r in gone["kept"]]
    table(("part", "entry", "size", "unchanged for"), rows, "Made on this machine, and kept")
    for room in dict.fromkeys(r["room"] for r in gone["kept"]):
        print(f"  --prune --also {room} removes {ROOMS[room]}")


def _print(rows: list[dict[str, Any]]) -> None:
    from hedgerow.data import cache
    from hedgerow.weighing.show import size

    drawn = [
        (
            r["name"],
            f"{r['package']} {r['version']} ({r['client']})",
            "yes" if r["cached"] else f"{size(r['download'])} to fetch",
            r["licence"],
            "yes" if r["shareable"] else "no",
            ", ".join(r["used_by"]),
            r["note"],
        )
        for r in rows
    ]
    table(("name", "package", "here", "licence", "shareable", "used by", "what"), drawn)
    say("`hedgerow data NAME` fetches one; systems fetch what they need by themselves")
    made = cache.made()
    if made:
        parts = {room: sum(r["bytes"] for r in made if r["room"] == room) for room in cache.ROOMS}
        held = ", ".join(f"{room} {size(bytes_)}" for room, bytes_ in parts.items() if bytes_)
        say(f"made on this machine and kept in the cache: {held}; `hedgerow data --prune --also PART` removes a part")
