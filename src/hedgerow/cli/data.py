"""``data``: what the shipped data is, what of it is on this machine, and under which licence."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hedgerow.cli.common import Json, emit, json_only, say, table, transfer_bar


def _complete(incomplete: str) -> list[str]:
    from hedgerow.data.fetch import sources

    return [name for name in sources() if name.startswith(incomplete)]


def data(
    source: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE…]", help="Fetch these now; none lists all.", autocompletion=_complete),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask a registry.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove from the cache what no source names.")] = False,
    as_json: Json = False,
) -> None:
    """The data and base models that systems use: licence, size, and whether they are on this machine."""
    from hedgerow.data import fetch
    from hedgerow.weighing.show import size

    with json_only(as_json) as out:
        if prune:
            gone = fetch.prune()
            if as_json:
                emit(gone, out)
            else:
                print(f"removed {len(gone['removed'])} from the cache, {size(gone['bytes'])}")
                for name in gone["removed"]:
                    print(f"  {name}")
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


def _print(rows: list[dict[str, Any]]) -> None:
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
