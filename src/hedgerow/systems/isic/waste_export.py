"""Records as a table that can be imported again: CSV whose cells no spreadsheet takes for formulas, or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.records import Store
from hedgerow.records.exchange import nested
from hedgerow.systems.isic.waste_cells import safe_cell

_COLUMNS = {
    "id": "digest", "kind": "kind", "source": "source", "licence": "licence", "source_id": "source_id",
    "donor": "donor_text", "donor_scheme": "donor_scheme", "donor_code": "donor_codes", "donor_isic": "donor_isic",
    "waste": "waste_text", "ewc": "ewc", "ewc_stat": "ewc_stat", "hazardous": "hazardous",
    "treatment": "treatment_text", "dr_code": "dr_code", "receiver": "receiver_text",
    "receiver_scheme": "receiver_scheme", "receiver_code": "receiver_codes", "receiver_isic": "receiver_isic",
    "use": "use", "status": "status", "quantity": "quantity", "unit": "unit", "place": "place", "country": "country",
    "year": "year", "permit": "permit", "latitude": "latitude", "longitude": "longitude", "citation": "citation",
}  # fmt: skip


def export(store: Store, path: Path) -> int:
    """Write every record; returns how many. HedgerowError for another suffix than .csv and .jsonl."""
    if path.suffix not in (".csv", ".jsonl"):
        raise HedgerowError(f"{path}: records are written as .csv or .jsonl")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if path.suffix == ".csv":
        writer.writerow(_COLUMNS)
    count = 0
    for row in store.rows():
        count += 1
        if path.suffix == ".csv":
            writer.writerow([_cell(row[name]) for name in _COLUMNS.values()])
        else:
            text.write(json.dumps(nested(row), ensure_ascii=False) + "\n")
    files.write_text(path, text.getvalue())
    return count


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return safe_cell(value) if isinstance(value, str) else value
