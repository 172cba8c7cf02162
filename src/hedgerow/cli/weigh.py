"""``weigh``: what Packs cost on this machine, and how good they are on the Task that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from hedgerow.cli.common import Json, complete_packs, draw, emit, json_only, say

if TYPE_CHECKING:
    from hedgerow.cost import Cost
    from hedgerow.pack import Pack
    from hedgerow.weighing import Step


def _grids() -> list[str]:
    return ["quick", "full"]


def weigh(
    packs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL…", help="Packs, GGUF files, model folders.", autocompletion=complete_packs),
    ] = None,
    grid: Annotated[str, typer.Option(help="quick (seconds) or full (minutes).", autocompletion=_grids)] = "quick",
    form: Annotated[list[str] | None, typer.Option(help="Only this form; repeat for more.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    score: Annotated[bool, typer.Option("--score", help="Also score on the Task that the Pack names.")] = False,
    cache: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Of llama.cpp: f16, q8_0, q4_0, … for K, V.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Of llama.cpp: tokens that the cache has room for.")
    ] = None,
    ubatch: Annotated[int | None, typer.Option(min=1, help="Of llama.cpp: tokens computed at a time.")] = None,
    repack: Annotated[bool, typer.Option(help="Of llama.cpp: a second copy in its own layout.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Skip rows that the evidence holds for this build.")] = False,
    energy: Annotated[
        Path | None, typer.Option(metavar="PLUG.csv", help="A smart plug's log: time, watts; joined by time.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Show memory: by formula, as printed, resident.")] = False,
    parts: Annotated[
        bool, typer.Option("--parts", help="Of a decoder's torch form: time of attention, FFN, head, embedding.")
    ] = False,
    style: Annotated[str, typer.Option("--format", help="table or llama-bench (its JSON columns).")] = "table",
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what this machine is, for a fleet file.")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Measure this machine (about 10 s per thread count on a quiet one); see --output."
        ),
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Of --probe, --import.")] = Path(
        "device.json"
    ),
    fits: Annotated[
        str | None, typer.Option(metavar="4GiB@4096", help="Only whether they fit; refused with the number if not.")
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(metavar="8GiB", help="Of --import: memory of that device, which its file lacks.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--import", metavar="BENCH.json", help="A device from llama-bench; see --output.")
    ] = None,
    suite: Annotated[
        str, typer.Option(metavar="NAMES", help="Ask commonsense,math,…, or your file or folder; measures no cost.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Of --suite: only so many rows of each set.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Of --suite: examples in each prompt.")] = None,
    as_json: Json = False,
) -> None:
    """Measure load time, latency, throughput, memory, operations and bytes of every form, each in a fresh process.

    What is found is appended to the Packs' evidence. Stopped by Ctrl-C, it keeps the rows that were finished. In a
    fleet file, `profile = "device.json"` names what --profile or --probe wrote on that device; --probe also measures
    the rates from which any model's time there is predicted.
    """
    from hedgerow import files, weighing
    from hedgerow.weighing.show import costs_table, memory_table, scores_table
    from hedgerow.weighing.subjects import subject_of

    if bench is not None or fits is not None:
        from hedgerow.cli.catalogue import before_loading

        return before_loading(packs or [], bench, output, fits, cache or "f16", ubatch or 512, as_json, device_memory)
    if not suite and (limit is not None or shots is not None):
        raise click.UsageError(f"--{'limit' if limit is not None else 'shots'} is of --suite, which was not given")
    if not packs and profile is None and not probe:
        raise click.UsageError("give models to weigh, --probe, or --profile FILE")
    if style not in ("table", "llama-bench"):
        raise click.UsageError(f"--format is table or llama-bench, not {style}")
    given = {"cache_k": cache, "cache_v": cache, "context": context, "ubatch": ubatch, "repack": repack and None}
    settings = {name: value for name, value in given.items() if value is not None}
    with json_only(as_json) as out:
        if profile is not None:
            files.write_json(profile, weighing.probe().model_dump(mode="json"))
            say(f"{profile}: this machine, as `profile` in a fleet file")
        if probe:
            from hedgerow.weighing.probing import probe as measured

            files.write_json(output, measured(tell=say).model_dump(mode="json"))
            say(f"{output}: what this machine is and how fast, as `profile` in a fleet file")
        if not packs:
            return
        subjects = [subject_of(p) for p in packs]  # all of them before the first is weighed
        opened = [each.pack for each in subjects if each.pack is not None]
        bare = [str(each.path) for each in subjects if each.pack is None]
        if suite:
            from hedgerow.cli.suite import weigh_suite

            if opened and bare:
                say(f"left out: {', '.join(bare)} (--suite asks Packs, whose evidence keeps the scores)")
            return weigh_suite(opened, suite, limit, shots, form, threads, as_json, out)
        if score and bare:
            say(f"weighed, not scored: {', '.join(bare)} (a bare file names no Task)")
        known = [len(pack.scores) for pack in opened]
        rows: list[Cost] = []
        # in the full grid models take turns; scored ones go one by one, since each names its own Task
        for group in [subjects] if grid == "full" and not score else [[each] for each in subjects]:
            task = _task(group[0].pack) if score and group[0].pack is not None else None
            what = [each.pack or each.path for each in group]
            more: dict[str, Any] = {"settings": settings, "resume": resume, "plug": energy}
            with _progress(as_json or style != "table") as step:
                rows += weighing.weigh(what, form or None, grid, threads, task, progress=step, **more)  # type: ignore[arg-type]
        names = {each.digest: each.name for each in subjects}
        if parts:
            _parts(opened, threads, out if as_json else None)
        if style == "llama-bench":
            from hedgerow.weighing.llama_bench import records

            print(json.dumps(records(rows, {s.digest: str(s.path) for s in subjects}), indent=2), file=out)
        elif as_json:
            for row in rows:
                emit(row.model_dump(mode="json"), out)
        else:
            draw(costs_table(rows, names))
            if memory:
                draw(memory_table(rows, names))
            lines = [line for pack, before in zip(opened, known, strict=True) for line in _headlines(pack, before)]
            if lines:
                draw(scores_table(lines, {pack.digest: pack.info.name for pack in opened}))


def _parts(packs: list[Pack], threads: int, out: Any) -> None:
    """Time by operator at the survey's point of 50 tokens, beside the operations of each."""
    from hedgerow import kinds
    from hedgerow.weighing.show import parts_table

    for pack in packs:
        found = kinds.time_by_part(pack, threads, 50)
        if out is None:
            draw(parts_table(pack.info.name, found))
        else:
            emit({"pack": pack.digest, "parts": found}, out)


def _task(pack: Pack) -> Any:
    """The Task of a Pack's recipe, when it names one that can be made again; else a line says why there is no score."""
    from hedgerow.errors import HedgerowError
    from hedgerow.systems import resolve_task

    if pack.info.task is None:
        say(f"{pack.path} names no Task: it is weighed, not scored (`hedgerow use --in FILE --score` takes your rows)")
        return None
    try:
        return resolve_task(pack.info.task)
    except HedgerowError as e:
        say(f"{pack.path} is weighed, not scored: {e}")
        return None


def _headlines(pack: Pack, before: int) -> list[dict[str, Any]]:
    """Score lines that were added to the first ``before``, with the kind's headline metrics only (`show` has all)."""
    from hedgerow.kinds import kind

    names = kind(pack.info.kind).metrics
    lines = pack.scores[before:]
    return [{**line, "metrics": {m: v for m, v in line["metrics"].items() if m in names}} for line in lines]


def _progress(quiet: bool) -> Any:
    """A context manager that yields a progress function for :func:`hedgerow.weighing.weigh`."""
    from contextlib import contextmanager

    from hedgerow.run import progress

    @contextmanager
    def shown() -> Any:
        with progress("weigh", None, quiet=quiet) as tick:

            def step(at: Step) -> None:
                if at.problem:
                    say(f"{at.pack}, {at.variant}: {at.text}")
                tick(1, what=f"{at.pack} {at.variant} ({at.done + 1}/{at.total}): {at.text}")

            yield step

    return shown()
