"""``show`` and ``compare``: what Packs are, and how they stand beside one another. Both only read evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hedgerow.cli.common import Json, PackArgument, PackArguments, emit, interval, json_only, number, table


def show(pack: PackArgument, as_json: Json = False) -> None:
    """What a Pack is: lineage, licences, whether it may be shared, scores, costs and forms."""
    from hedgerow.cli.describe import describe

    with json_only(as_json) as out:
        what = describe(pack)
        if as_json:
            emit(what, out)
        else:
            _print(what)


def _print(what: dict[str, Any]) -> None:
    print(f"{what['name']}  ({what['kind']}, Pack {what['digest'][:12]})")
    if what["summary"]:
        print(what["summary"])
    made = f"made by hedgerow {what['made_by']}" if what["made_by"] else ""
    recipe = f"{what['system']} {what['preset']}".strip()
    seed = "" if what["seed"] is None else f"seed {what['seed']}"
    size = number(what["bytes"], "B") + (" without its trunk" if what["trunk"] else "")
    print(" · ".join(part for part in (made, recipe, seed, size) if part))
    print("May be shared." if what["shareable"] else "Not to be shared: " + what["why_not_shareable"] + ".")
    sections: tuple[tuple[str, str, Callable[[dict[str, Any]], Sequence[Any]], tuple[str, ...]], ...] = (
        ("parents", "Lineage", _parent, ("role", "made from", "digest", "licence")),
        ("data", "Data", _source, ("source", "version", "rows", "licence", "shareable", "attribution")),
        ("forms", "Forms", _form, ("form", "on a device", "runs here")),
        ("scores", "Scores", _score, ("form", "task", "split", "metric", "value (95 % interval)", "n")),
        ("costs", "Costs", _cost, _COST),
    )
    for key, title, row, columns in sections:
        if what[key]:
            table(columns, [row(entry) for entry in what[key]], title)
    if not what["scores"]:
        print("No scores yet: `hedgerow weigh --score` or `hedgerow use --in FILE --score` adds them.")
    if not what["costs"]:
        print("Not weighed yet: `hedgerow weigh` measures what it costs on this machine.")


_COST = ("form", "device", "phase", "size", "batch", "threads", "p50", "p95", "peak memory", "how known")


def _parent(p: dict[str, Any]) -> Sequence[Any]:
    return p["role"], p["name"], p["digest"][:12], p["licence"]


def _source(d: dict[str, Any]) -> Sequence[Any]:
    return d["name"], d["version"], d["rows"], d["licence"], "yes" if d["shareable"] else "no", d["attribution"]


def _form(f: dict[str, Any]) -> Sequence[Any]:
    return f["form"], number(f["bytes"], "B"), "no: " + f["runs_here"] if f["runs_here"] else "yes"


def _score(s: dict[str, Any]) -> Sequence[Any]:
    return s["form"], s["task"], s["split"], s["metric"], interval(s), s["n"]


def _cost(c: dict[str, Any]) -> Sequence[Any]:
    how = c["source"] + (", noisy" if c["noisy"] else "")
    times = number(c["p50_ms"], "ms"), number(c["p95_ms"], "ms")
    return (
        c["form"],
        c["device"],
        c["phase"],
        c["size"],
        c["batch"],
        c["threads"],
        *times,
        number(c["peak_bytes"], "B"),
        how,
    )


def compare(
    packs: PackArguments,
    x: Annotated[str, typer.Option("--x", help="To the right: a cost such as run_ms, or a score.")] = "run_ms",
    y: Annotated[str, typer.Option("--y", help="Upwards: a score such as accuracy, or a cost.")] = "accuracy",
    threads: Annotated[int, typer.Option(min=1, help="Costs measured with that many threads.")] = 1,
    device: Annotated[str | None, typer.Option(metavar="FINGERPRINT", help="Costs of that device.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it, as .svg or .png.")] = None,
    as_json: Json = False,
) -> None:
    """Packs beside one another, read from their evidence: every form a point, and which no other beats in both.

    Scores of different Tasks or splits, and costs of different devices, are never put on one axis.
    """
    from hedgerow.weighing import compare as side_by_side

    with json_only(as_json) as out:
        found = side_by_side(packs, x, y, threads, device)
        if plot is not None:
            from hedgerow.report.plots import draw_compare

            draw_compare(found, plot)
        if as_json:
            emit(found, out)
        else:
            _print_points(found)


def _print_points(found: dict[str, Any]) -> None:
    x, y = found["x"]["name"], found["y"]["name"]
    for group in found["groups"]:
        task = group["task"]
        where = f"{task['name']}, split {task['split']} ({task['n']})" if task else "no Task"
        rows = [
            (
                p["name"],
                p["variant"],
                _axis(p, "x", x),
                _axis(p, "y", y),
                "yes" if p["front"] else "",
                "; ".join([*(f"assumed: {a}" for a in p["assumed"]), *(["noisy"] if p["noisy"] else [])]),
            )
            for p in group["points"]
        ]
        table(("pack", "form", x, y, "not beaten", ""), rows, where)
    for left in found["left_out"]:
        print(f"left out: {left['name']} ({left['variant']}): {left['why']}")
    if found["note"]:
        print(found["note"])


def _axis(point: dict[str, Any], axis: str, name: str) -> str:
    if point.get(f"{axis}_low") is not None:
        return interval({"value": point[axis], "low": point[f"{axis}_low"], "high": point[f"{axis}_high"]})
    unit = {"ms": "ms", "bytes": "B", "j": "J"}.get(name.rsplit("_", 1)[-1], "")
    return number(point[axis], unit)
