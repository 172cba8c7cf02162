"""Excel workbooks, read row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hedgerow.data.parsed import package_version
from hedgerow.errors import HedgerowError


def open_workbook(path: Path) -> Any:
    """The workbook, read-only, values in place of formulas; close it. HedgerowError for a file that is none."""
    package_version("openpyxl", "reading a workbook")
    from zipfile import BadZipFile

    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, BadZipFile, OSError, KeyError, ValueError) as e:
        raise HedgerowError(f"{path} is not a readable workbook (.xlsx): {e}") from e
    return book
