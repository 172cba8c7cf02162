"""``systems``, ``build`` and ``export``: what can be grown, growing it, and giving a Pack one more form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import click
import typer

from hedgerow.cli.common import (
    Json,
    Sets,
    complete_packs,
    complete_presets,
    complete_systems,
    emit,
    json_only,
    say,
    table,
)


def systems(
    name: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="All about one.", autocompletion=complete_systems)
    ] = None,
    as_json: Json = False,
) -> None:
    """The ten systems, one line each: what for, on what data, presets and minutes, what works today."""
    from hedgerow import systems as registry
    from hedgerow.errors import HedgerowError, did_you_mean

    with json_only(as_json) as out:
        found = registry.describe()
        if name is not None:
            found = [s for s in found if s["name"] == name]
            if not found:
                raise HedgerowError(f"no system is called '{name}'{did_you_mean(name, registry.names())}")
            found[0]["settings"] = registry.settings(name) if name in registry.SYSTEMS else []
        if as_json:
            emit(found if name is None else found[0], out)
        elif name is not None:
            _print_one(found[0])
        else:
            table(("system", "what for", "on what data", "presets (minutes)"), [_line(s) for s in found])
            say("all about one: hedgerow systems NAME")


def presets_text(system: dict[str, Any]) -> str:
    """``tiny (1), real (40)``: presets with the minutes that they take on two cores."""
    known = [(p["name"], p["minutes"]) for p in system["presets"]]
    return ", ".join(name if minutes is None else f"{name} ({minutes:g})" for name, minutes in known)


def _line(system: dict[str, Any]) -> tuple[str, ...]:
    state = presets_text(system) or ("works on any Pack" if system["today"] else "not yet")
    return system["name"], system["what"], system["data"], state


def _print_one(system: dict[str, Any]) -> None:
    print(f"{system['name']}: {system['what']}.")
    print(f"data: {system['data']}")
    print(f"works today: {system['today'] or 'nothing yet'}")
    if system["later"]:
        print(f"later: {system['later']}")
    print(f"after arXiv {system['paper']}")
    if system["presets"]:
        table(("preset", "minutes", "what"), [_preset(p) for p in system["presets"]])
    if system["settings"]:
        keys = ("key", "type", "default", "meaning")
        table(("--set", *keys[1:]), [[s[k] for k in keys] for s in system["settings"]])


def _preset(preset: dict[str, Any]) -> tuple[str, str, str]:
    minutes = preset["minutes"]
    return preset["name"], "" if minutes is None else f"{minutes:g}", preset["about"]


def build(
    system: Annotated[
        str, typer.Argument(metavar="SYSTEM", help="A name of `hedgerow systems`.", autocompletion=complete_systems)
    ],
    preset: Annotated[str, typer.Option(help="How much to spend.", autocompletion=complete_presets)] = "tiny",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Default: packs/SYSTEM.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    parent: Annotated[
        Path | None,
        typer.Option("--from", metavar="PACK", help="Extend this Pack, untrained.", autocompletion=complete_packs),
    ] = None,
    thin: Annotated[bool, typer.Option("--thin", help="Keep a trunk only in the cache, not in the Pack.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what a stopped build of this had done.")] = False,
    as_json: Json = False,
) -> None:
    """Build a Pack. Stopped by Ctrl-C, the same command goes on where it was.

    Rows of your own file that cannot be used are left out and named (exit code 3).
    """
    from hedgerow import systems as registry
    from hedgerow.cli.batch import Answered, Tally, close
    from hedgerow.weighing.show import size

    left_out: list[tuple[int, str]] = []
    with json_only(as_json) as done:
        before = _held(out if out is not None else Path("packs") / system)
        pack = registry.build(
            system, preset, sets or (), out, seed=seed, thin=thin, fresh=fresh, parent=parent, quiet=as_json,
            marked=left_out,
        )  # fmt: skip
        if before is not None and before[1] != pack.digest:
            say(f"{pack.path} held the Pack {before[0]} ({before[1][:12]}), which this one replaced")
        if as_json:
            emit({"path": str(pack.path), "digest": pack.digest, "bytes": pack.bytes, "kind": pack.info.kind}, done)
        else:
            print(f"{pack.path}: {pack.info.summary or pack.info.name} ({size(pack.bytes)})")
            say(f"next: hedgerow show {pack.path}, hedgerow use {pack.path} …, hedgerow weigh {pack.path}")
    tally = Tally()
    for line, why in left_out:
        tally.add(Answered(line, {}, error=f"left out: {why}"))
    close(tally, "line")


def _held(folder: Path) -> tuple[str, str] | None:
    """Name and digest of the Pack that a build is about to replace; None where there is none that can be read."""
    from hedgerow.errors import HedgerowError
    from hedgerow.pack import open_pack

    try:
        held = open_pack(folder, verify=False)
    except HedgerowError:
        return None
    return held.info.name, held.digest


def export(
    pack: Annotated[
        Path,
        typer.Argument(
            metavar="PACK", help="A Pack; with --output a GGUF file or model folder.", autocompletion=complete_packs
        ),
    ],
    to: Annotated[str | None, typer.Option("--to", metavar="FORM", help="onnx, onnx-int8, gguf, …")] = None,
    quant: Annotated[str | None, typer.Option(metavar="FORMAT", help="Of gguf: f16, q8_0, q4_0, q4_k_m, …")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Make a new Pack here from a model.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the model, for --output; else noted as unknown.")] = None,
    shareable: Annotated[
        bool, typer.Option("--shareable", help="The licence lets the model be handed on; needs --licence.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add another form of the same weights to a Pack; its digest and evidence stay as they are.

    With --output, make a Pack from somebody else's model: a GGUF file of a language model, or a folder in Hugging
    Face's layout (config.json, *.safetensors, a tokenizer). What it is made from is noted in it; a GGUF file stays one
    of its forms.
    """
    from hedgerow.kinds import pack_of_model

    if output is None:
        if licence is not None or shareable:
            raise click.UsageError("--licence and --shareable are said of a model that --output makes a Pack of")
        _add_form(pack, to, quant, as_json)
        return
    if to is not None or quant is not None:
        raise click.UsageError("--output makes a Pack; add forms to it with a second export --to FORM")
    if shareable and licence is None:
        raise click.UsageError("--shareable needs --licence")
    with json_only(as_json) as out:
        made = pack_of_model(pack, output, licence=licence, shareable=shareable)
        _print_made(made, as_json, out)


def _print_made(made: Any, as_json: bool, out: Any) -> None:
    from hedgerow.kinds import kind
    from hedgerow.weighing.show import size

    forms = list(kind(made.info.kind).variants(made))
    if as_json:
        record = {"path": str(made.path), "digest": made.digest, "bytes": made.bytes, "kind": made.info.kind}
        emit({**record, "forms": forms}, out)
        return
    source = made.info.data[0]
    print(f"{made.path}: {made.info.kind}, {made.info.summary} ({size(made.bytes)}); forms: {', '.join(forms)}")
    if source.licence == "unknown":
        say("its licence is noted as unknown, so the Pack is not to be shared; --licence names it")
    say(f"next: hedgerow use {made.path} …, hedgerow weigh {made.path}")


def _add_form(pack: Path, to: str | None, quant: str | None, as_json: bool) -> None:
    from hedgerow.cli.describe import described
    from hedgerow.errors import HedgerowError
    from hedgerow.kinds import is_model, kind
    from hedgerow.pack import open_pack
    from hedgerow.weighing.show import size

    if is_model(pack):
        raise HedgerowError(f"{pack} is no Pack yet; make it one: hedgerow export {pack} --output packs/NAME")
    if to is None:
        raise click.UsageError("--to names the form to add; --output makes a Pack of a GGUF file or model folder")
    with json_only(as_json) as out:
        opened = open_pack(pack)
        which = kind(opened.info.kind)
        which.check(opened)
        if quant is not None and to != "gguf":
            raise click.UsageError(f"--quant says the format of --to gguf; '{to}' has none")
        to = f"gguf-{(quant or 'f16').lower()}" if to == "gguf" else to
        grown = which.export(opened, to)
        held = which.disk_bytes(grown, to)
        details = grown.variant(to).details if to in grown.variants else {}  # else it is the trunk's form
        if as_json:
            record = {"path": str(grown.path), "form": to, "bytes": held, "forms": list(which.variants(grown))}
            emit({**record, "details": details}, out)
        else:
            print(f"{grown.path} now has the form '{to}' ({size(held)} on a device)")
            for line in described(details):
                print(f"  {line}")
