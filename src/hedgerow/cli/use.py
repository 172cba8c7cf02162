"""``use``: ask a Pack, about a few inputs on the command line or about every row of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from hedgerow.cli.common import Json, PackArgument, Sets, emit, json_only, say, settings, table
from hedgerow.errors import HedgerowError

if TYPE_CHECKING:
    from hedgerow.cli.batch import Tally
    from hedgerow.kinds import Model
    from hedgerow.task import Task

_LINES = (".jsonl", ".ndjson")  # of files that hold one JSON object a line


def use(
    pack: PackArgument,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT…]", help="Texts, or file names.")] = None,
    source: Annotated[
        Path | None, typer.Option("--in", metavar="FILE", help="CSV or JSON Lines; '-' reads stdin.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help=".csv, .jsonl or .ndjson, written whole.")
    ] = None,
    sets: Sets = None,
    form: Annotated[str | None, typer.Option(help="A form of the Pack; default: the first that runs here.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    score: Annotated[
        bool,
        typer.Option("--score", help="Score it on the codes that FILE holds; the Pack's evidence keeps the score."),
    ] = False,
    records: Annotated[
        str | None, typer.Option(metavar="URL", help="Live records in place of a recommender's own; a file or URL.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of one line of --json.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a Pack. With --in, one row comes out for each row in; bad rows are kept and marked (exit code 3).

    A table holds what is decided; what explains a single answer and takes time (nearest examples) is left out of it
    unless --set asks for it. --json always holds it.
    """
    from hedgerow import kinds

    ways = [bool(inputs), source is not None, schema]
    if sum(ways) != 1:
        raise click.UsageError("give either inputs, or --in FILE, or --schema")
    if (score or out is not None) and source is None:
        raise click.UsageError(f"{'--score' if score else '--out'} needs --in FILE")
    if out is not None and str(out) != "-" and out.suffix.lower() not in (".csv", *_LINES):
        raise HedgerowError(f"--out {out}: a table is written as .csv, .jsonl or .ndjson; name it so")
    with json_only(as_json) as stdout:
        model = kinds.open(pack, variant=form, threads=threads)
        chosen = [*(sets or []), *([f"records={records}"] if records else [])]
        options = settings(chosen, model.kind.options, f"the kind {model.kind.name}")
        if schema:
            from hedgerow.cli.batch import row_schema

            emit(row_schema(model.kind.schema), stdout)
            return
        model.predict([], **options)  # loads the form and checks the options, before any row could be blamed for them
        if score:
            assert source is not None
            _score(model, source, as_json, stdout)
        elif inputs:
            _ask(model, inputs, options, as_json, stdout)
        else:
            assert source is not None
            _batch(model, source, out, options, as_json, stdout)


def _ask(model: Model, inputs: list[str], options: dict[str, Any], as_json: bool, stdout: Any) -> None:
    """A few inputs: each answer is printed as soon as it is there."""
    from hedgerow.cli.batch import Answered, Tally, answer_all, close, record

    column = model.kind.needs[0]
    rows = (Answered(number, {column: text}) for number, text in enumerate(inputs, start=1))
    tally = Tally()
    for done in answer_all(model, rows, Path(), {**model.kind.explains, **options}):
        tally.add(done)
        if done.answer is None and len(inputs) == 1:
            raise HedgerowError(done.error)
        if as_json:
            emit(record(done), stdout)
        elif done.answer is not None:
            print((f"[{done.line}] " if len(inputs) > 1 else "") + model.kind.line(done.answer), file=stdout)
    close(tally, "input")


def _batch(model: Model, source: Path, out: Path | None, options: dict[str, Any], as_json: bool, stdout: Any) -> None:
    """Every row of a file, in bounded memory; the output appears when it is whole."""
    from hedgerow.cli.batch import CsvSink, JsonSink, Sink, Tally, answer_all, close, open_rows, output
    from hedgerow.run import progress

    if out is not None and out.exists() and source.exists() and out.samefile(source):
        raise HedgerowError(f"--out {out} is the input file; give the output another name")
    as_lines = as_json if out is None else out.suffix.lower() in _LINES
    left_out = {key: value for key, value in model.kind.explains.items() if not as_lines and key not in options}
    if as_lines:
        options = {**model.kind.explains, **options}
    tally = Tally()
    with open_rows(source, model.kind.needs) as table_in, output(out, stdout) as stream:
        sink: Sink
        if as_lines:
            sink = JsonSink(stream)
        else:
            sink = CsvSink(stream, model, table_in.columns)
            for ours, name in sink.renamed.items():
                say(f"your file has a column '{ours}'; the answer's is called '{name}'")
        with progress(f"ask {model.pack.info.name}", table_in.total, quiet=as_json and out is None) as tick:
            for done in answer_all(model, table_in, table_in.base, options):
                tally.add(done)
                sink.write(done)
                tick()
    if left_out:
        say(f"for speed a table leaves out what {' '.join(f'--set {k}={v}' for k, v in left_out.items())} adds")
    if out is not None:
        say(f"{out}: {tally.rows - tally.marked} of {tally.rows} rows answered")
        if as_json:
            emit({"out": str(out), "rows": tally.rows, "marked": tally.marked}, stdout)
    close(tally, "line")


def _score(model: Model, source: Path, as_json: bool, stdout: Any) -> None:
    """The user's own rows as a Task of the Pack's system: its metrics with intervals, kept in the Pack's evidence."""
    from hedgerow.cli.batch import close
    from hedgerow.run import progress
    from hedgerow.systems import own_task
    from hedgerow.weighing import score

    pack = model.pack
    if not pack.info.system:
        raise HedgerowError(f"{pack.path} names no system, so nobody knows how its answers are scored")
    task = own_task(pack.info.system, source)
    answered = 0
    with progress(f"score {pack.info.name}", len(task.splits["test"]), quiet=as_json) as tick:

        def step(done: int, total: int) -> None:
            nonlocal answered
            tick(done - answered)
            answered = done

        line = score(model, task, progress=step)
    tally, counts = _left_out(source, task, model.kind.needs[0])
    if as_json:
        emit(line, stdout)
    else:
        from hedgerow.weighing.show import interval

        rows = [(name, interval(m), m.get("n", "")) for name, m in line["metrics"].items()]
        table(("metric", "value [95 % interval]", "n"), rows, f"{pack.info.name} ({line['variant']}) on {source}")
    if counts:
        say("not scored: " + ", ".join(f"{n} with {why}" for why, n in counts.most_common()))
    close(tally, "line")


def _left_out(source: Path, task: Task, column: str) -> tuple[Tally, Counter[str]]:
    """Rows of the file that the Task could not take in: every one named or counted; and how many for which reason."""
    from hedgerow.cli.batch import Answered, Tally
    from hedgerow.data.rows import read_rows
    from hedgerow.data.texts import normalise

    scored = {e.meta.get("line") for e in task.splits["test"]}
    asked = [e.input for e in task.splits["test"]]
    texts = {normalise(str(x.get(column, "") if isinstance(x, Mapping) else x)) for x in asked}
    tally, counts = Tally(), Counter[str]()
    for row in read_rows(source):
        if str(row.line) not in scored:
            text = row.values.get(column, "")
            if row.error:
                why = "a fault in the row"
            elif not text.strip():
                why = "no text"
            elif not row.values.get("code", "").strip():
                why = "no code"
            elif normalise(text) in texts:
                why = "a text that stands above already"
            else:
                why = "a code that is unknown or contradicts another row of that text"
            counts[why] += 1
            tally.add(Answered(row.line, row.values, error=row.error or f"not scored: {why}"))
    return tally, counts
