"""``show`` and ``compare``: what Packs are, and how they stand beside one another. Both only read evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hedgerow.cli.common import Json, PackArgument, PackArguments, draw, emit, json_only, say, table
from hedgerow.errors import HedgerowError


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
    from hedgerow.weighing.show import size

    made = f"made by hedgerow {what['made_by']}" if what["made_by"] else ""
    recipe = f"{what['system']} {what['preset']}".strip()
    seed = "" if what["seed"] is None else f"seed {what['seed']}"
    held = size(what["bytes"]) + (" without its trunk" if what["trunk"] else "")
    print(" · ".join(part for part in (made, recipe, seed, held) if part))
    print("May be shared." if what["shareable"] else "Not to be shared: " + what["why_not_shareable"] + ".")
    sections: tuple[tuple[str, str, Callable[[dict[str, Any]], Sequence[Any]], tuple[str, ...]], ...] = (
        ("parents", "Lineage", _parent, ("role", "made from", "digest", "licence")),
        ("data", "Data", _source, ("source", "version", "rows", "licence", "shareable", "attribution")),
        ("forms", "Forms", _form, ("form", "on a device", "runs here", "")),
        ("scores", "Scores", _score, ("form", "task", "split", "metric", "value [95 % interval]", "n")),
        ("costs", "Costs", _cost, ("form", "device", "phase", "size", "batch", "threads", "p50", "p95", "peak", "")),
    )
    for key, title, row, columns in sections:
        if what[key]:
            table(columns, [row(entry) for entry in what[key]], title)
    for note in dict.fromkeys(s["note"] for s in what["scores"] if s["note"]):
        print(f"Scores: {note}.")
    for form, count in what["outdated"].items():
        lines = f"{count} line{'s' if count > 1 else ''}"
        print(f"Left out: {lines} of evidence about an older export of {form}; `hedgerow weigh` measures this one.")
    if not what["scores"]:
        print("No scores yet: `hedgerow weigh --score` or `hedgerow use --in FILE --score` adds them.")
    if not what["costs"]:
        print("Not weighed yet: `hedgerow weigh` measures what it costs on this machine.")


def _parent(p: dict[str, Any]) -> Sequence[Any]:
    return p["role"], p["name"], p["digest"][:12], p["licence"]


def _source(d: dict[str, Any]) -> Sequence[Any]:
    return d["name"], d["version"], d["rows"], d["licence"], "yes" if d["shareable"] else "no", d["attribution"]


def _form(f: dict[str, Any]) -> Sequence[Any]:
    from hedgerow.cli.describe import described
    from hedgerow.weighing.show import size

    here = "no: " + f["runs_here"] if f["runs_here"] else "yes"
    return f["form"], size(f["bytes"]), here, "; ".join(described(f["details"]))


def _score(s: dict[str, Any]) -> Sequence[Any]:
    from hedgerow.weighing.show import interval

    return s["form"], s["task"], s["split"], s["metric"], interval(s), s["n"]


def _cost(c: dict[str, Any]) -> Sequence[Any]:
    from hedgerow.weighing.show import milliseconds, size

    where = c["form"], c["device"], c["phase"], c["size"], "" if c["phase"] == "load" else c["batch"], c["threads"]
    words = (["noisy"] if c["noisy"] else []) + ([c["source"]] if c["source"] != "measured" else [])
    return *where, milliseconds(c["p50_ms"]), milliseconds(c["p95_ms"]), size(c["peak_bytes"]), ", ".join(words)


def compare(
    packs: PackArguments,
    x: Annotated[str, typer.Option("--x", help="To the right: a cost such as run_ms, or a score.")] = "run_ms",
    y: Annotated[str, typer.Option("--y", help="Upwards: a score such as accuracy, or a cost.")] = "accuracy",
    threads: Annotated[int, typer.Option(min=1, help="Costs measured with that many threads.")] = 1,
    device: Annotated[str | None, typer.Option(metavar="FINGERPRINT", help="Costs of that device.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw it.")] = None,
    as_json: Json = False,
) -> None:
    """Packs beside one another, read from their evidence: every form a point, and which no other beats in both.

    Scores of different Tasks or splits, and costs of different devices, are never put on one axis.
    """
    from hedgerow.weighing import compare as side_by_side
    from hedgerow.weighing.show import compare_tables

    with json_only(as_json) as out:
        found = side_by_side(packs, x, y, threads, device)
        if plot is not None:
            _plot(found, plot)
        if as_json:
            emit(found, out)
            return _refuse_if_empty(found)
        for drawn in compare_tables(found):
            draw(drawn)
        for left in found["left_out"]:
            print(f"left out: {left['name']} ({left['variant']}): {left['why']}")
        _refuse_if_empty(found)
        if found["note"]:
            print(found["note"])


def _refuse_if_empty(found: dict[str, Any]) -> None:
    """HedgerowError when every form was left out: nothing was compared."""
    if not found["groups"]:
        first = found["left_out"][0]
        raise HedgerowError(
            f"nothing to compare: no form has both {found['x']['name']} and {found['y']['name']}, "
            f"the first, {first['name']} ({first['variant']}): {first['why']}"
        )


def _plot(found: dict[str, Any], path: Path) -> None:
    """One picture a group: ``path``, and ``path`` with -2, -3 … for further Tasks."""
    from importlib.util import find_spec

    from hedgerow import files
    from hedgerow.report.plots import tradeoff

    x, y = found["x"]["name"], found["y"]["name"]
    if path.suffix != ".svg":
        raise HedgerowError(f"--plot {path}: pictures are drawn as .svg")
    if not x.endswith("_ms") or found["y"]["lower_is_better"]:
        raise HedgerowError(f"a picture shows milliseconds to the right and a score upwards, not {x} and {y}")
    if find_spec("matplotlib") is None:
        raise HedgerowError("drawing needs the larger installation: pip install 'hedgerow[build]'")
    for number, group in enumerate(found["groups"], start=1):
        target = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        files.write_text(target, tradeoff(group, x, y, "wide"))
        say(f"drawn: {target}")
