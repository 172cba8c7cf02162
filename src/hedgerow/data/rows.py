"""Rows of a person's table, CSV or JSON Lines: streamed, numbered by line, and never dropped.

A fault of the file (wrong encoding, no header) is one error; a fault of one row is marked on that row, which keeps its
place, so that whoever writes the answers can write one row for every row that came in.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from hedgerow.errors import HedgerowError, did_you_mean

_LONGEST_CELL = 1 << 30  # the csv module's own limit of 128 KiB would refuse a long text
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")


@dataclass(frozen=True)
class Row:
    """One row: the physical line where it starts (the first is 1), its cells by column, and what is wrong with it."""

    line: int
    values: dict[str, str]
    error: str | None = None


def read_rows(path: str | Path, need: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a CSV file (comma, semicolon or tab, with a header line) or of a JSON Lines file, in order.

    The file must be UTF-8, with or without a byte order mark. Columns in ``need`` must be there: a CSV without one is
    an error, a JSON object without one is a marked row. Empty lines are marked rows, except at the end of the file.
    """
    path = Path(path)
    _check_readable(path)
    rows = _read_json_lines(path, need) if _is_json_lines(path) else _read_csv(path, need)
    return _without_final_blanks(rows)


def columns(path: str | Path) -> list[str]:
    """Column names of a CSV file, or the keys of the first object of a JSON Lines file."""
    path = Path(path)
    _check_readable(path)
    if _is_json_lines(path):
        first = next((row for row in _read_json_lines(path, ()) if row.error is None), None)
        return list(first.values) if first is not None else []
    with _open(path) as f:
        return _header(path, f)[0]


def _open(path: Path) -> TextIO:
    return open(path, encoding="utf-8-sig", newline="")


def _check_readable(path: Path) -> None:
    """Read the whole file once, so that a wrong encoding is said before any work is done on the rows above it."""
    if not path.exists():
        raise HedgerowError(f"{path} does not exist")
    if path.is_dir():
        raise HedgerowError(f"{path} is a folder; name a CSV or JSON Lines file")
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    line = 1
    try:
        with open(path, "rb") as f:
            start = f.read(4)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise HedgerowError(f"{path} is UTF-16, not UTF-8; save it as UTF-8 (in Excel: 'CSV UTF-8')")
            if start == b"PK\x03\x04":
                raise HedgerowError(f"{path} is a workbook or another zip file; save the sheet as CSV (UTF-8)")
            f.seek(0)
            while chunk := f.read(1 << 20):
                pending = len(decoder.getstate()[0])
                _decode(decoder, chunk, path, position - pending, line)
                position += len(chunk)
                line += chunk.count(b"\n")
            _decode(decoder, b"", path, position - len(decoder.getstate()[0]), line, final=True)
    except OSError as e:
        raise HedgerowError(f"{path} cannot be read: {e.strerror or e}") from e
    if position == 0:
        raise HedgerowError(f"{path} is empty; its first line must name the columns")


def _decode(
    decoder: codecs.IncrementalDecoder, chunk: bytes, path: Path, position: int, line: int, *, final: bool = False
) -> None:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as e:
        at = position + e.start
        where = line + bytes(e.object[: e.start]).count(b"\n")
        raise HedgerowError(
            f"{path} is not UTF-8: byte 0x{e.object[e.start]:02x} at position {at} (line {where}); save it as UTF-8, "
            f"or convert it: iconv -f windows-1252 -t utf-8"
        ) from None


def _is_json_lines(path: Path) -> bool:
    """By its suffix, or else by its first character."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return False
    with _open(path) as f:
        start = f.read(4096).lstrip()
    if start.startswith("[") and (suffix in _JSON_SUFFIXES or suffix == ".json"):
        raise HedgerowError(f"{path} is one JSON array; write one object a line (JSON Lines)")
    return suffix in _JSON_SUFFIXES or start.startswith("{")


def _without_final_blanks(rows: Iterator[Row]) -> Iterator[Row]:
    held: list[Row] = []
    for row in rows:
        if row.error == _BLANK:
            held.append(row)
            continue
        yield from held
        held.clear()
        yield row


_BLANK = "the line is empty"


def _read_json_lines(path: Path, need: Sequence[str]) -> Iterator[Row]:
    with _open(path) as f:
        for number, line in enumerate(_physical_lines(f), start=1):
            if not line.strip():
                yield Row(number, {}, _BLANK)
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as e:
                yield Row(number, {}, f"not a JSON object: {e}")
                continue
            if not isinstance(value, dict):
                yield Row(number, {}, "not a JSON object")
                continue
            values = {str(key): _text(cell) for key, cell in value.items()}
            missing = [name for name in need if name not in values]
            error = f"no '{missing[0]}'{did_you_mean(missing[0], values)}" if missing else None
            yield _marked(Row(number, values, error))


def _physical_lines(f: TextIO) -> Iterator[str]:
    """Lines that end with a newline; a text may hold other separators (U+2028), which are no line ends here."""
    yield from f


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _header(path: Path, f: TextIO) -> tuple[list[str], str, int]:
    """Column names, delimiter, and the number of physical lines that the header takes."""
    start = f.readline()
    delimiter = max(",;\t", key=start.count) if path.suffix.lower() != ".tsv" else "\t"
    f.seek(0)
    reader = csv.reader(f, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as e:
        raise HedgerowError(f"{path}, line 1: the header is not readable CSV: {e}") from e
    if not any(names):
        raise HedgerowError(f"{path}: the first line is empty; it must name the columns")
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    for number, name in enumerate(names, start=1):
        first = names.index(name) + 1
        if first != number:
            raise HedgerowError(f"{path}: columns {first} and {number} are both called '{name}'; rename one")
    return names, delimiter, reader.line_num


def _read_csv(path: Path, need: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    with _open(path) as f:
        names, delimiter, done = _header(path, f)
    for name in need:
        if name not in names:
            raise HedgerowError(f"{path} has no column '{name}'{did_you_mean(name, names)}")
    while True:
        for row in _rows_after(path, done, names, delimiter):
            yield row
            done = row.line
            if row.error == _UNCLOSED:
                break  # read on from the next line: one forgotten quote must not swallow the rest of the file
        else:
            return


_UNCLOSED = "a quote is opened here and never closed"


def _rows_after(path: Path, done: int, names: Sequence[str], delimiter: str) -> Iterator[Row]:
    """Rows that start after physical line ``done``; the last one may be marked as never closed."""
    first: list[str] = []  # the physical line where the row starts, for what can be saved of a broken row

    def lines(f: TextIO) -> Iterator[str]:
        for line in islice(f, done, None):
            if not first:
                first.append(line)
            yield line

    with _open(path) as f:
        reader = csv.reader(lines(f), delimiter=delimiter, strict=True)
        while True:
            line = done + reader.line_num + 1
            first.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                values = _salvage(first[0] if first else "", names, delimiter)
                if "unexpected end of data" in str(e):
                    yield Row(line, values, _UNCLOSED)
                    return
                yield Row(line, values, f"not readable as CSV: {e}")
                continue
            yield _row(line, cells, names)


def _salvage(line: str, names: Sequence[str], delimiter: str) -> dict[str, str]:
    """Cells of one physical line with quotes taken as plain characters, so that a broken row can be recognised."""
    cells = line.rstrip("\r\n").replace("\0", "").split(delimiter)
    return dict.fromkeys(names, "") | dict(zip(names, cells))


def _row(line: int, cells: Sequence[str], names: Sequence[str]) -> Row:
    if not cells:
        return Row(line, dict.fromkeys(names, ""), _BLANK)
    values, error = dict(zip(names, cells)), None
    if len(cells) != len(names):
        values = dict.fromkeys(names, "") | values
        hint = "; quote a cell that holds the separator" if len(cells) > len(names) else ""
        error = f"the row has {len(cells)} cells, the header {len(names)}{hint}"
    return _marked(Row(line, values, error))


def _marked(row: Row) -> Row:
    """Marks a NUL byte, which no text holds and many readers end at; it is taken out of the cells."""
    if not any("\0" in cell for cell in row.values.values()):
        return row
    values = {name: cell.replace("\0", "") for name, cell in row.values.items()}
    return replace(row, values=values, error=row.error or "the row holds a NUL byte")
