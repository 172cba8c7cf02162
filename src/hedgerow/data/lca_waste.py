"""By-products in ecoinvent's change report: who gives what, and the activity that it is linked to where one is named.

Read on the user's machine only, as :mod:`hedgerow.data.lca`. The report lists what changed between two releases: a
sample of the database, not an inventory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hedgerow import files
from hedgerow.data import fetch
from hedgerow.data.lca import _at, _column
from hedgerow.data.parsed import parsed
from hedgerow.data.workbooks import open_workbook
from hedgerow.errors import HedgerowError, did_you_mean

SHEET = "quantitative changes"
_COLUMNS = ("ISIC number", "activityName", "geography", "group", "exchange name", "activityLink activityName", "change")


@dataclass(frozen=True)
class ByProduct:
    """One row of the report with group 'ByProduct'. ``label`` is ecoinvent's ISIC string, ``link`` '' when unnamed."""

    donor: str
    label: str
    geography: str
    product: str
    link: str
    change: str  # added, updated, deleted, renaming only


def by_products(
    own: str | Path | None = None, *, offline: bool = False, progress: fetch.Progress | None = None
) -> list[ByProduct]:
    """Every by-product row in the order of the sheet; ``own`` is the user's own workbook of the same form."""
    path = Path(own) if own is not None else fetch.obtain("ecoinvent-names", offline=offline, progress=progress)
    if not path.is_file():
        raise HedgerowError(f"{path} does not exist")
    key = files.sha256(path) if own is not None else fetch.source("ecoinvent-names").sha256
    stored = parsed("lca-by-products", {"workbook": key}, [__file__], lambda: _read(path))
    return [ByProduct(*row) for row in stored]


def _read(path: Path) -> list[list[str]]:
    book = open_workbook(path)
    try:
        if SHEET not in book.sheetnames:
            raise HedgerowError(f"{path} has no sheet '{SHEET}'{did_you_mean(SHEET, book.sheetnames)}")
        table = book[SHEET].iter_rows(values_only=True)
        header = [str(cell or "") for cell in next(table, ())]
        at = {name: _column(header, name, path) for name in _COLUMNS}
        rows = []
        for cells in table:
            label, donor, place, group, product, link, change = (str(_at(cells, at[c]) or "").strip() for c in _COLUMNS)
            if group == "ByProduct":
                rows.append([donor, label, place, product, link, change])
    finally:
        book.close()
    return rows
