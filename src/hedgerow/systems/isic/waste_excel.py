"""One sheet of an Excel file as rows of text, as :mod:`hedgerow.data.rows` gives those of a CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hedgerow.data.parsed import package_version
from hedgerow.data.rows import Row
from hedgerow.errors import HedgerowError, did_you_mean


def read_sheet(path: Path, sheet: str = "") -> tuple[list[str], Iterator[Row]]:
    """(headers, rows) of the named or first sheet. A formula stays the text it is: nothing is computed."""
    package_version("openpyxl", "reading an Excel file")
    from zipfile import BadZipFile

    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    if not path.is_file():
        raise HedgerowError(f"{path} does not exist")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=False)
    except (InvalidFileException, BadZipFile, OSError, KeyError, ValueError) as e:
        raise HedgerowError(f"{path} is not a readable workbook (.xlsx): {e}") from e
    name = sheet or book.sheetnames[0]
    if name not in book.sheetnames:
        raise HedgerowError(f"{path} has no sheet '{sheet}'{did_you_mean(sheet, book.sheetnames)}")
    table = book[name].iter_rows(values_only=True)
    headers = [_text(cell).strip() for cell in next(table, ())]
    while headers and not headers[-1]:
        headers.pop()
    if not headers:
        raise HedgerowError(f"{path}, sheet '{name}': the first row is empty; it must name the columns")
    headers = [h or f"column_{i}" for i, h in enumerate(headers, start=1)]
    twice = next((h for i, h in enumerate(headers) if h in headers[:i]), None)
    if twice is not None:
        raise HedgerowError(f"{path}, sheet '{name}': two columns are called '{twice}'; rename one")
    return headers, _rows(table, headers)


def _rows(table: Iterator[Sequence[Any]], headers: Sequence[str]) -> Iterator[Row]:
    for line, cells in enumerate(table, start=2):
        texts = [_text(c) for c in cells]
        if not any(t.strip() for t in texts):
            continue
        values = dict.fromkeys(headers, "") | dict(zip(headers, texts))
        more = any(t.strip() for t in texts[len(headers) :])
        yield Row(line, values, "the row has more cells than the header" if more else None)


def _text(cell: Any) -> str:
    """A whole number without '.0': Excel knows no other numbers than floating ones."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
