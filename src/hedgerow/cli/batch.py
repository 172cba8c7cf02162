"""``use --in``: a file of rows through a model, one row out for each row in, in bounded memory.

A bad row (no text, too long, wrong number of cells) is kept where it stands and says what is wrong in its ``error``
cell; nothing is dropped. The output appears under its name only when it is whole.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import typer

from hedgerow import files
from hedgerow.cli.common import say
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model

CHUNK = 256  # rows that are held and asked at a time
SHOWN = 20  # marked rows that are named on stderr; all of them are in the output
MARKED = 3  # exit code of a command that finished with marked rows


@dataclass
class Answered:
    """One input row with its answer or its fault."""

    line: int
    row: Mapping[str, Any]
    answer: dict[str, Any] | None = None
    error: str = ""


@dataclass
class Tally:
    """How a batch went."""

    rows: int = 0
    marked: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)  # the first SHOWN of them: (line, what)

    def add(self, done: Answered) -> None:
        """Count one row."""
        self.rows += 1
        if done.error:
            self.marked += 1
            if len(self.faults) < SHOWN:
                self.faults.append((done.line, done.error))


def close(tally: Tally, what: str) -> None:
    """Name the marked rows on stderr and end with their exit code."""
    for where, fault in tally.faults:
        say(f"{what} {where}: {fault}")
    if tally.marked > len(tally.faults):
        say(f"… and {tally.marked - len(tally.faults)} more")
    if tally.marked:
        raise typer.Exit(MARKED)


@dataclass(frozen=True)
class Table:
    """A file of rows that was read once already: its columns in order and the number of its rows are known."""

    path: Path
    base: Path  # what file names in its cells are relative to
    needs: tuple[str, ...]
    columns: tuple[str, ...]
    total: int

    def __iter__(self) -> Iterator[Answered]:
        from hedgerow.data.rows import read_rows

        return (Answered(row.line, row.values, error=row.error or "") for row in read_rows(self.path, self.needs))


@contextmanager
def open_rows(source: Path, needs: Sequence[str]) -> Iterator[Table]:
    """The rows of a CSV or JSON Lines file; ``-`` is stdin, which is kept in a temporary file meanwhile.

    Reads all of it once, so that a fault of the whole file is said before any row is asked. Raises HedgerowError.
    """
    from hedgerow.data.rows import read_rows

    with _as_file(source) as path:
        columns: dict[str, None] = {}
        total = 0
        for row in read_rows(path, needs):
            total += 1
            if row.values.keys() - columns.keys():
                columns.update(dict.fromkeys(row.values))
        if total == 0:
            raise HedgerowError(f"{source} holds no row below its header")
        yield Table(path, Path() if path != source else source.parent, tuple(needs), tuple(columns), total)


@contextmanager
def _as_file(source: Path) -> Iterator[Path]:
    if str(source) != "-":
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with open(path, "wb") as f:
            shutil.copyfileobj(sys.stdin.buffer, f)
        yield path


class Sink(Protocol):
    """Where answered rows go."""

    def write(self, done: Answered) -> None:
        """Append one row."""
        ...


def answer_all(model: Model, rows: Iterable[Answered], base: Path, options: Mapping[str, Any]) -> Iterator[Answered]:
    """Every row of ``rows`` in order, answered or marked; ``base`` is what file names in a row are relative to."""
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        good: list[Answered] = []
        inputs: list[Any] = []
        for item in chunk:
            if item.error:
                continue
            try:
                inputs.append(model.kind.read(item.row, base))
                good.append(item)
            except HedgerowError as e:
                item.error = str(e)
        for item, answer in zip(good, _ask(model, inputs, options), strict=True):
            if isinstance(answer, HedgerowError):
                item.error = str(answer)
            else:
                item.answer = {"id": identity(item), **{k: v for k, v in answer.items() if k != "id"}}
        yield from chunk


def identity(item: Answered) -> str:
    """The row's own ``id``, or its line number."""
    own = item.row.get("id")
    return str(item.line) if own is None or own == "" else str(own)


def _ask(model: Model, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any] | HedgerowError]:
    """Answers of a chunk; when the model refuses it, each input is asked alone, so that only the bad one is marked."""
    if not inputs:
        return []
    try:
        return [*model.predict(inputs, **options)]
    except HedgerowError as e:
        if len(inputs) == 1:
            return [e]
    return [answer for one in inputs for answer in _ask(model, [one], options)]


# --- writing ---------------------------------------------------------------------------------------------------------
class CsvSink:
    """The user's columns as they were, then the answer's, then ``line`` and ``error``."""

    def __init__(self, out: TextIO, model: Model, columns: Sequence[str]) -> None:
        """``columns``: names of the user's columns, in order; a name of ours that is taken gets ``_answer``."""
        self._kind = model.kind
        self._columns = list(columns)
        self.names = {ours: _free(ours, columns) for ours in (*model.kind.columns, "line", "error")}
        self._writer = csv.writer(out, lineterminator="\n")
        self._writer.writerow([*self._columns, *self.names.values()])

    @property
    def renamed(self) -> dict[str, str]:
        """Our columns that had to take another name."""
        return {ours: name for ours, name in self.names.items() if ours != name}

    def write(self, done: Answered) -> None:
        """Append one row."""
        cells = self._kind.cells(done.answer) if done.answer is not None else {}
        theirs = [_cell(done.row.get(c)) for c in self._columns]
        ours = [_cell(cells.get(c)) for c in self._kind.columns]
        self._writer.writerow([*theirs, *ours, done.line, done.error])


class JsonSink:
    """One JSON object a row: the kind's answer with ``line``, or ``id``, ``line``, ``error`` and the row as it was."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, done: Answered) -> None:
        """Append one row."""
        self._out.write(json.dumps(record(done), ensure_ascii=False, allow_nan=False) + "\n")


def record(done: Answered) -> dict[str, Any]:
    """One line of ``use --json``."""
    if done.answer is not None:
        return {**done.answer, "line": done.line}
    return {"id": identity(done), "line": done.line, "error": done.error, "row": dict(done.row)}


def _free(name: str, taken: Sequence[str]) -> str:
    """``name``, or with ``_answer`` (``_answer2`` …) behind it when the user has a column of that name."""
    candidate, number = name, 1
    while candidate in taken:
        candidate = f"{name}_answer" + ("" if number == 1 else str(number))
        number += 1
    return candidate


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False)


def row_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of one line of ``use --json``: an answer of the kind, or a marked row."""
    marked = {
        "type": "object",
        "required": ["id", "line", "error"],
        "properties": {
            "id": {"type": "string"},
            "line": {"type": "integer"},
            "error": {"type": "string"},
            "row": {"type": "object"},
        },
    }
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**draft, "anyOf": [{k: v for k, v in schema.items() if k != "$schema"}, marked]}


@contextmanager
def output(path: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """A text stream that becomes the file ``path`` when the block ends well and leaves nothing when it does not."""
    if path is None or str(path) == "-":
        yield stdout
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.saving(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as stream:  # half characters
                yield stream
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
