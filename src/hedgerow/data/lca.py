"""Names of life-cycle inventory activities with ISIC classes: the paper's task. Read on the user's machine only.

The workbook of ecoinvent is not ours to hand on: nothing read here may be committed, printed in pages or stored in a
Pack that is marked shareable.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data import fetch, schemes
from hedgerow.data.parsed import parsed
from hedgerow.data.workbooks import open_workbook
from hedgerow.errors import HedgerowError, did_you_mean

_COLUMNS = ("ISIC number", "activityName", "geography", "reference product", "status")
_STRESS_LABEL = "ISIC rev.4 ecoinvent"


@dataclass(frozen=True)
class LcaRow:
    """One activity in one geography. ``label`` is ecoinvent's string ('3510a', '20')."""

    name: str
    label: str
    product: str
    geography: str


@dataclass(frozen=True)
class LcaName:
    """One activity name with all labels that its geographies carry (a handful carry two)."""

    name: str
    labels: frozenset[str]  # ecoinvent's strings
    gold: frozenset[str]  # four-digit ISIC Rev.4 classes among them; may be empty
    product: str  # reference product of its first row
    heads: frozenset[str]  # of all its reference products: the text before the first comma, lower case
    market: bool  # 'market for …' and 'market group for …'


def to_isic(label: str) -> str:
    """ISIC Rev.4 class of an ecoinvent label: one trailing letter dropped; '' when that is none of the 419.

    >>> to_isic("3510a"), to_isic("0113"), to_isic("20")
    ('3510', '0113', '')
    """
    stem = label[:-1] if label[-1:].isalpha() else label
    return stem if stem in _classes() else ""


@cache
def _classes() -> frozenset[str]:
    return frozenset(label["code"] for label in schemes.isic_labels())


def product_head(product: str) -> str:
    """Text before the first comma, lower case.

    >>> product_head("Electricity, high voltage")
    'electricity'
    """
    return " ".join(product.split(",")[0].lower().split())


def lca_rows(
    own: str | Path | None = None, *, offline: bool = False, progress: fetch.Progress | None = None
) -> list[LcaRow]:
    """Live, labelled activities of the change report, sorted; ``own`` is the user's own workbook of the same form.

    Rows without a label and rows marked 'deleted or replaced' are left out.
    """
    path = Path(own) if own is not None else fetch.obtain("ecoinvent-names", offline=offline, progress=progress)
    if not path.is_file():
        raise HedgerowError(f"{path} does not exist")
    key = files.sha256(path) if own is not None else fetch.source("ecoinvent-names").sha256
    stored = parsed("lca-rows", {"workbook": key}, [__file__], lambda: _read_workbook(path))
    return [LcaRow(*row) for row in stored]


def lca_names(
    own: str | Path | None = None, *, offline: bool = False, progress: fetch.Progress | None = None
) -> list[LcaName]:
    """Unique activity names of :func:`lca_rows`, sorted by (length, name)."""
    groups: dict[str, list[LcaRow]] = {}
    for row in lca_rows(own, offline=offline, progress=progress):
        groups.setdefault(row.name, []).append(row)
    found = [_name(rows) for rows in groups.values()]
    return sorted(found, key=lambda name: (len(name.name), name.name))


def _name(rows: Sequence[LcaRow]) -> LcaName:
    labels = frozenset(row.label for row in rows)
    name, product = rows[0].name, rows[0].product
    market = name.startswith(("market for ", "market group for "))
    heads = frozenset(product_head(row.product) for row in rows)
    return LcaName(name, labels, frozenset(map(to_isic, labels)) - {""}, product, heads, market)


def _read_workbook(path: Path) -> list[list[str]]:
    book = open_workbook(path)
    try:
        if "overview" not in book.sheetnames:
            raise HedgerowError(f"{path} has no sheet 'overview'{did_you_mean('overview', book.sheetnames)}")
        table = book["overview"].iter_rows(values_only=True)
        header = [str(cell or "") for cell in next(table, ())]
        at = {name: _column(header, name, path) for name in _COLUMNS}
        found = set()
        for cells in table:
            label, name, place, product, status = (str(_at(cells, at[c]) or "").strip() for c in _COLUMNS)
            if label and name and status != "deleted or replaced":
                found.add((name, label, product, place))
    finally:
        book.close()
    return [list(row) for row in sorted(found)]


def _at(cells: Sequence[Any], index: int) -> Any:
    return cells[index] if index < len(cells) else None


def _column(header: Sequence[str], name: str, path: Path) -> int:
    if name not in header:
        raise HedgerowError(f"{path}, sheet 'overview': no column '{name}'{did_you_mean(name, filter(None, header))}")
    return header.index(name)


def lca_stress(*, offline: bool = False, progress: fetch.Progress | None = None) -> list[LcaName]:
    """Names with the noisy labels of `pathways` and `premise`: for a stress test, never for training."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for source in ("lca-pathways", "lca-premise"):
        with open(fetch.obtain(source, offline=offline, progress=progress), encoding="utf-8-sig", newline="") as f:
            for row in _stress_rows(f, source):
                label = row[_STRESS_LABEL].partition(":")[0].strip()  # '2720:Manufacture of batteries and …'
                if label and row["name"]:
                    groups.setdefault(row["name"], []).append((label, row["product"]))
    found = []
    for name, pairs in groups.items():
        rows = [LcaRow(name, label, product, "") for label, product in pairs]
        found.append(_name(rows))
    return sorted(found, key=lambda name: (len(name.name), name.name))


def _stress_rows(file: Iterable[str], source: str) -> Iterator[dict[str, str]]:
    """Rows of either package's table; they call the product differently."""
    table = csv.DictReader(file)
    columns = list(table.fieldnames or ())
    product = next((c for c in ("reference product", "product") if c in columns), "product")
    for name in ("name", product, _STRESS_LABEL):
        if name not in columns:
            raise HedgerowError(f"the table of {source} has no column '{name}'{did_you_mean(name, columns)}")
    for row in table:
        yield {"name": row["name"] or "", "product": row[product] or "", _STRESS_LABEL: row[_STRESS_LABEL] or ""}
