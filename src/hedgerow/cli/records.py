"""``data``: sources of data, and the records of waste exchanges that a person or a region keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from hedgerow.cli.common import Json, complete_packs, emit, json_only, say, table
from hedgerow.errors import HedgerowError

if TYPE_CHECKING:
    from hedgerow.systems.isic.waste_coder import Coder
    from hedgerow.systems.isic.waste_import import Report

Records = Annotated[
    str | None,
    typer.Option(metavar="URL", help="SQLite file or PostgreSQL URL; default: HEDGEROW_RECORDS, or your own file."),
]
CoderPack = Annotated[
    Path | None,
    typer.Option(metavar="PACK", help="A classifier Pack that codes texts.", autocompletion=complete_packs),
]


class DataGroup(TyperGroup):
    """``data`` alone and ``data NAME…`` are ``data sources``: only its other commands need their name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command's name in where none stands."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["sources", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Commands, and names of sources."""
        from click.shell_completion import CompletionItem

        from hedgerow.data.fetch import sources

        names = [CompletionItem(name) for name in sources() if name.startswith(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *names]


def group(sources: Callable[..., None]) -> typer.Typer:
    """The verb ``data`` with ``sources`` as what it does by itself."""
    app = typer.Typer(
        cls=DataGroup,
        help="Sources of data and their licences (data, data NAME…), and waste exchanges; each takes --json.",
        pretty_exceptions_enable=False,
    )
    app.command("sources")(sources)
    app.command("import")(import_)
    app.command("records")(records)
    app.command("recode")(recode)
    return app


@contextmanager
def _store(where: str | None, *, create: bool = True) -> Iterator[Any]:
    from hedgerow.records import open_store

    with open_store(where, create=create) as store:
        yield store


def _coder(pack: Path | None) -> Coder | None:
    if pack is None:
        return None
    from hedgerow.systems.isic.waste_coder import Coder

    return Coder(pack)


def _chosen(pairs: list[str] | None) -> dict[str, str]:
    chosen = {}
    for pair in pairs or []:
        field, equals, column = pair.partition("=")
        if not equals:
            raise HedgerowError(f"--map {pair}: write FIELD=COLUMN, such as donor=Company")
        chosen[field.strip()] = column.strip()
    return chosen


def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=".csv, .jsonl or .xlsx; 'seeds': the shipped linkages; 'toy'.")
    ],
    maps: Annotated[
        list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="Which column is what; repeat.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be coded how; write nothing.")] = False,
    records: Records = None,
    coder: CoderPack = None,
    source: Annotated[str, typer.Option(help="Where the list is from; compulsory.")] = "",
    licence: Annotated[str, typer.Option(help="Under which licence; compulsory.")] = "",
    kind: Annotated[str, typer.Option(help="user, reported_exchange or lca_link.")] = "user",
    shareable: Annotated[bool, typer.Option("--shareable", help="The licence lets its texts be handed on.")] = False,
    scheme: Annotated[str, typer.Option(help="Scheme of the code columns.")] = "NACE2",
    sheet: Annotated[str, typer.Option(help="Sheet of an Excel file; default: the first.")] = "",
    review: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rows set aside; default: beside the file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import waste exchanges: every row is coded, set aside for review, or refused for a stated reason (exit code 3).

    One transaction, and the same file twice changes nothing.
    """
    with json_only(as_json) as out:
        if file == "seeds":
            _seeds(records, dry_run, as_json, out)
            return
        path, source, licence, shareable = _toy(file, source, licence, shareable)
        if not source or not licence:
            raise click.UsageError("every record says its source and licence: give --source and --licence")
        report = _imported(path, _chosen(maps), dry_run, records, _coder(coder), review, sheet,
                           {"kind": kind, "source": source, "licence": licence, "shareable": shareable,
                            "scheme": scheme})  # fmt: skip
        if as_json:
            emit(_summary(report), out)
        else:
            _print(report, dry_run)
    if report.decisions["review"] or report.decisions["refused"]:
        raise typer.Exit(3)


def _toy(file: str, source: str, licence: str, shareable: bool) -> tuple[Path, str, str, bool]:
    if file != "toy":
        return Path(file), source, licence, shareable
    from hedgerow.systems.isic.waste import TOY, TOY_LICENCE, TOY_SOURCE

    return TOY, source or TOY_SOURCE, licence or TOY_LICENCE, True


def _imported(
    path: Path, chosen: dict[str, str], dry_run: bool, where: str | None, coder: Any, review: Path | None, sheet: str,
    about: dict[str, Any],
) -> Report:  # fmt: skip
    from hedgerow.data.schemes import find_scheme
    from hedgerow.records import KINDS
    from hedgerow.run import progress
    from hedgerow.schema import check
    from hedgerow.systems.isic.waste_import import About, import_file

    if about["kind"] not in KINDS:
        from hedgerow.errors import did_you_mean

        raise HedgerowError(f"--kind {about['kind']}: no such kind{did_you_mean(about['kind'], KINDS)}")
    checked = check(About, {**about, "scheme": find_scheme(about["scheme"])}, "the list")
    with progress(f"read {path.name}", None) as tick:
        if dry_run:
            return import_file(path, None, checked, chosen=chosen, coder=coder, sheet=sheet, tick=tick)
        with _store(where) as store:
            return import_file(path, store, checked, chosen=chosen, coder=coder, review=review, sheet=sheet, tick=tick)


def _summary(report: Report) -> dict[str, Any]:
    done = report.imported
    return {
        "columns": report.columns,
        "unused": list(report.unused),
        "decisions": dict(report.decisions),
        "reasons": dict(report.reasons),
        "rows": report.first,
        "imported": None if done is None else {"rows": done.rows, "new": done.new, "already": done.already},
        "review": report.review,
    }


def _print(report: Report, dry_run: bool) -> None:
    print("columns: " + ", ".join(f"{field} = '{column}'" for field, column in report.columns.items()))
    if report.unused:
        from hedgerow.systems.isic.waste_cells import FIELDS

        free = ", ".join(f for f in FIELDS if f not in report.columns)
        print(f"not used: {', '.join(report.unused)}; --map FIELD=COLUMN takes one in, FIELD being {free}")
    if dry_run:
        rows = [
            (r["line"], r["decision"], r["donor"], _codes(r, "donor"), r["waste"], r["receiver"],
             _codes(r, "receiver"), r["why"])
            for r in report.first
        ]  # fmt: skip
        head = ("line", "decision", "donor", "donor ISIC", "waste", "receiver", "receiver ISIC", "why")
        table(head, rows, f"What would be imported (the first {len(rows)} rows)")
    done = report.imported
    if done is not None and done.already:
        print(f"this file was imported before ({done.rows} records): nothing was changed")
        return
    total = sum(report.decisions.values())
    words = {"coded": "coded", "review": "set aside for review", "refused": "refused"}
    print(f"{total} rows: " + ", ".join(f"{report.decisions[k]} {word}" for k, word in words.items()))
    for reason, count in report.reasons.most_common(20):
        print(f"  {count:6}  {reason}")
    if done is not None:
        print(f"{done.new} new records, {done.repeated} were there already")
    if report.review:
        say(f"{report.review}: the rows that were not imported, with the reason; correct and import it again")
    if dry_run:
        say("a dry run: nothing was written")


def _codes(row: dict[str, Any], side: str) -> str:
    codes = row[f"{side}_isic"]
    return f"{' '.join(codes[:3])}{' …' if len(codes) > 3 else ''} ({row[f'{side}_how']})" if codes else ""


def _seeds(where: str | None, dry_run: bool, as_json: bool, out: Any) -> None:
    """The linkages of the shipped workbook, with the counts before and after each filter."""
    from hedgerow import files
    from hedgerow.data import fetch
    from hedgerow.systems.isic import waste_seeds

    rows, counts = waste_seeds.seeds()
    done = None
    if not dry_run:
        with _store(where) as store:
            digest = files.digest([fetch.source("ecoinvent-names").sha256, [r[0].digest for r in rows]])
            done = store.add(rows, name="ecoinvent-names", digest=digest)
    if as_json:
        listed = [{"filter": c.what, "before": c.before, "after": c.after} for c in counts]
        emit({"counts": listed, "rows": len(rows), "new": done.new if done else None}, out)
        return
    table(("filter", "before", "after"), [(c.what, f"{c.before:,}", f"{c.after:,}") for c in counts])
    if done is None:
        say("a dry run: nothing was written")
    else:
        print(f"{done.new} new records" + (" (imported before)" if done.already else ""))


def records(
    records: Records = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all records to a .csv or .jsonl.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="One HTML page to browse them.")] = None,
    pack: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="With --page: a recommender that is asked.", autocompletion=complete_packs),
    ] = None,
    ask: Annotated[
        list[str] | None, typer.Option("--ask", metavar="'DONOR :: WASTE'", help="With --pack: a question; repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What the store holds: by kind, source and licence; imports; and every coding that it ever had."""
    if (pack is None) != (not ask) or (pack is not None and page is None):
        raise click.UsageError("--page FILE, and with it --pack PACK and --ask 'DONOR :: WASTE', belong together")
    with json_only(as_json) as stdout, _store(records, create=False) as store:
        if page is not None:
            told = _page(store, records, page, pack, ask or [])
            if as_json:
                emit(told, stdout)
            else:
                print(f"{page}: {told['total']:,} records")
            return
        if out is not None:
            from hedgerow.systems.isic.waste_export import export

            count = export(store, out)
            if as_json:
                emit({"out": str(out), "records": count}, stdout)
            else:
                print(f"{out}: {count:,} records")
            return
        found = {"where": store.where, "records": len(store), "by": store.summary(), **store.history()}
        if as_json:
            emit(found, stdout)
            return
        print(f"{found['where']}: {found['records']:,} records")
        columns = ("kind", "source", "licence", "shareable", "records", "coded")
        table(columns, [[r[c] for c in columns] for r in found["by"]])
        table(("imported", "at", "rows", "new"), [(r["name"], r["at"], r["rows"], r["new"]) for r in found["imports"]])
        rows = [(b["name"], b["coder"][:12], b["at"], b["codings"], "undone" if b["undone"] else "")
                for b in found["batches"]]  # fmt: skip
        table(("coded", "by Pack", "at", "codings", ""), rows)


def _page(store: Any, where: str | None, path: Path, pack: Path | None, ask: list[str]) -> dict[str, Any]:
    from hedgerow import kinds
    from hedgerow.data.schemes import isic_titles
    from hedgerow.records.database import as_url
    from hedgerow.records.exchange import nested
    from hedgerow.report import exchange

    answers = kinds.open(pack).predict(ask, records=as_url(where)) if pack is not None else []
    told = exchange.story((nested(row) for row in store.rows()), isic_titles(), answers, where=store.where)
    exchange.write(told, path)
    return told


def recode(
    records: Records = None,
    coder: CoderPack = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the newest re-coding back.")] = False,
    as_json: Json = False,
) -> None:
    """Code the texts of all records again with another classifier Pack; --undo takes it back."""
    if (coder is None) == (not undo):
        raise click.UsageError("give either --coder PACK or --undo")
    with json_only(as_json) as out, _store(records, create=False) as store:
        if undo:
            gone = store.undo()
            line = f"undone: {gone['name']} of {gone['at']}; the codings before it count again"
            result: dict[str, Any] = {"undone": gone}
        else:
            from hedgerow.systems.isic import waste_coder

            by = waste_coder.Coder(str(coder))
            count = waste_coder.recode(store, by)
            line = f"{count:,} codings by {by.name} ({by.digest[:12]}); hedgerow data recode --undo takes them back"
            result = {"codings": count, "coder": by.digest}
        if as_json:
            emit(result, out)
        else:
            print(line)
