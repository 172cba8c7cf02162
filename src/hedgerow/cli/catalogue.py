"""``catalogue``: small language models by size, shape, data and score, and what any of them costs by formula."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from hedgerow.cli.common import Json, draw, emit, json_only, say


def _formats() -> list[str]:
    from hedgerow.cost.formats import MIXES

    return list(MIXES)


def _algorithms() -> list[str]:
    return ["mup", "distilled", "two-stage", "instruct"]


def _attentions() -> list[str]:
    return ["mha", "gqa", "mqa", "mla"]


def catalogue(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH…]", help="Your own: GGUF files, model folders, Packs.")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="Only this model of the survey; repeat for more.")] = None,
    max_params: Annotated[str | None, typer.Option(metavar="500M", help="At most so many parameters.")] = None,
    min_params: Annotated[str | None, typer.Option(metavar="100M", help="At least so many.")] = None,
    attention: Annotated[str | None, typer.Option(help="mha, gqa, mqa or mla.", autocompletion=_attentions)] = None,
    fits: Annotated[
        str | None, typer.Option(metavar="4GiB@4096", help="Only what fits: a size, 'here' or a device.json, @context.")
    ] = None,
    weight_format: Annotated[
        str, typer.Option("--format", help="Weight format of the survey's rows.", autocompletion=_formats)
    ] = "q4_k_m",
    context: Annotated[int, typer.Option(min=1, help="Tokens of context, where --fits names none.")] = 2048,
    cache: Annotated[str, typer.Option(metavar="TYPE", help="Type of the KV cache: f16, q8_0, q4_0 …")] = "f16",
    open_data: Annotated[
        bool | None, typer.Option("--open-data/--closed-data", help="Trained on open or on closed data.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="KEY", help="Trained on that data set, such as FW.")] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="mup, distilled, two-stage or instruct.", autocompletion=_algorithms)
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who made it.")] = None,
    since: Annotated[str | None, typer.Option(metavar="2024-06", help="Released in that month or later.")] = None,
    norm: Annotated[str | None, typer.Option(help="layernorm, rmsnorm …")] = None,
    activation: Annotated[str | None, typer.Option(help="silu, gelu, gelu_tanh, relu.")] = None,
    on: Annotated[
        Path | None, typer.Option(metavar="DEVICE.json", help="Predict times on that device (weigh --probe made it).")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads, for --on.")] = 1,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of the prompt, for --on.")] = 128,
    survey: Annotated[bool, typer.Option("--survey", help="Show the survey's models beside your own.")] = False,
    as_json: Json = False,
) -> None:
    """Small language models and what they cost by formula; nothing is measured or loaded.

    A file of yours becomes a row by its header alone. With --fits it is refused, with the numbers and an exit code
    other than 0, when it needs more memory than there is. With --on, times on a probed device are predicted.
    """
    from hedgerow import files
    from hedgerow.cost import Device
    from hedgerow.schema import check
    from hedgerow.weighing import catalogue as rooms
    from hedgerow.weighing import fits as fitting
    from hedgerow.weighing.show_catalogue import catalogue_tables, fit_table, times_table

    allowed = fitting.budget(fits, context) if fits is not None else None
    query = rooms.query(
        names=tuple(name or ()),
        max_params=None if max_params is None else fitting.count_of(max_params),
        min_params=None if min_params is None else fitting.count_of(min_params),
        attention=attention,
        owner=owner,
        data=data,
        open_data=open_data,
        algorithm=algorithm,
        norm=norm,
        activation=activation,
        since=since,
        budget=None if allowed is None else allowed.bytes,
        context=allowed.context if allowed else context,
        format=weight_format,
        cache_k=cache,
        cache_v=cache,
    )
    with json_only(as_json) as out:
        answers = [fitting.fit_of(p, allowed, cache_k=cache, cache_v=cache) for p in paths or ()] if allowed else []
        own = rooms.own_entries(query, paths or ()) if paths else []
        found = rooms.entries(query) if survey or not paths else []
        if on is not None:
            device, depth = check(Device, files.read_json(on), str(on)), query.context // 2
            own, found = (rooms.with_times(rows, device, threads, prompt, depth) for rows in (own, found))
        said: dict[str, Any] = rooms.as_json(query, [*own, *found])
        if answers:
            said["fits"] = [answer.model_dump(mode="json") for answer in answers]
        if as_json:
            emit(said, out)
        else:
            draw(*catalogue_tables(query, own, found, _width()))
            if on is not None:
                draw(*times_table([*own, *found], device, threads, prompt, depth))
            if answers:
                draw(fit_table(answers))
        for answer in answers:
            fitting.refuse(answer)


def before_loading(
    paths: list[Path],
    bench: Path | None,
    output: Path,
    fits: str | None,
    cache: str,
    ubatch: int,
    as_json: bool,
    memory: str | None = None,
) -> None:
    """What ``weigh`` answers without measuring: whether models fit (``--fits``), and a device from llama-bench.

    With ``--import`` the paths are the GGUF files that ran there, whose headers give the geometry.
    """
    from hedgerow import files
    from hedgerow.weighing import fits as fitting
    from hedgerow.weighing.imported import import_bench
    from hedgerow.weighing.show_catalogue import fit_table

    with json_only(as_json) as out:
        if bench is not None:
            device = import_bench(bench, paths, memory_bytes=fitting.size_of(memory) if memory else 0)
            files.write_json(output, device.model_dump(mode="json"))
            for rates in device.rates:
                assumed = f"; assumed: {', '.join(rates.assumed)}" if rates.assumed else ""
                say(f"{output}: {device.name}, {rates.threads} threads, {', '.join(rates.decode)}{assumed}")
            if as_json:
                emit(device.model_dump(mode="json"), out)
            return
        if not paths:
            raise click.UsageError("--fits needs models: GGUF files, model folders or Packs")
        allowed = fitting.budget(fits or "here")
        answers = [fitting.fit_of(p, allowed, cache_k=cache, cache_v=cache, ubatch=ubatch) for p in paths]
        if as_json:
            for answer in answers:
                emit(answer.model_dump(mode="json"), out)
        else:
            draw(fit_table(answers))
        for answer in answers:
            fitting.refuse(answer)


def _width() -> int:
    """Columns of the terminal; a file or a pipe takes whatever comes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
