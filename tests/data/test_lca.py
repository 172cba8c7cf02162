"""ecoinvent's names: read on this machine from the real workbook, and from a small one that the test writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import openpyxl
import pytest

from hedgerow.data import fetch
from hedgerow.data.lca import lca_names, lca_rows, lca_stress, product_head, to_isic
from hedgerow.errors import HedgerowError

HEADER = ["ISIC class", "ISIC number", "activityName", "geography", "reference product", "status"]


def workbook(path: Path, rows: list[list[object]], sheet: str = "overview", header: list[str] = HEADER) -> Path:
    book = openpyxl.Workbook()
    book.active.title = sheet
    book.active.append(header)
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


@pytest.mark.usefixtures("data_cache")
def test_labels_become_classes() -> None:
    """isic.md §3 trap 3: one trailing letter goes, zeros stay, and what is none of the 419 is dropped."""
    wanted = {"3510a": "3510", "3510": "3510", "0113": "0113", "20": "", "19a": "", "113": "", "3510ab": "", "": ""}
    assert {label: to_isic(label) for label in wanted} == wanted


def test_heads() -> None:
    assert product_head("Steel,  low-alloyed, hot rolled") == "steel"
    assert product_head("rape meal") == "rape meal"


def test_columns_are_found_by_name_and_dead_rows_are_left_out(data_cache: Path, tmp_path: Path) -> None:
    rows = [
        ["c", "0112", "rice production", "CH", "rice, husked", "in both versions"],
        ["c", "0112", "rice production", "DE", "rice, husked", "new"],
        ["c", "0113", "rice production", "DE", "straw", "new"],
        ["c", "3510a", "market for heat", "DE", "heat", "deleted or replaced"],
        ["c", None, "unlabelled", "DE", "heat", "new"],
        ["c", "20", "market group for solvent", "GLO", "solvent, organic", "new"],
    ]
    path = workbook(tmp_path / "own.xlsx", rows)
    assert len(lca_rows(path)) == 4
    first, second = lca_names(path)
    assert (first.name, first.labels, first.gold) == ("rice production", {"0112", "0113"}, {"0112", "0113"})
    assert first.heads == {"rice", "straw"} and not first.market
    assert (second.labels, second.gold, second.market) == ({"20"}, frozenset(), True)


def test_what_is_no_such_workbook_is_one_line(data_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="no sheet 'overview'"):
        lca_rows(workbook(tmp_path / "a.xlsx", [], sheet="other"))
    with pytest.raises(HedgerowError, match=r"no column 'ISIC number' \(did you mean 'ISIC nr'"):
        lca_rows(workbook(tmp_path / "b.xlsx", [], header=["ISIC nr", *HEADER[2:]]))
    (tmp_path / "c.xlsx").write_bytes(b"no workbook")
    with pytest.raises(HedgerowError, match="not a readable workbook"):
        lca_rows(tmp_path / "c.xlsx")
    with pytest.raises(HedgerowError, match="does not exist"):
        lca_rows(tmp_path / "d.xlsx")


def test_the_published_counts(data_cache: Path) -> None:
    """isic.md §5 and §7 C."""
    rows, names = lca_rows(), lca_names()
    assert (len(rows), len(names)) == (11_552, 6_044)
    labels = {label for name in names for label in name.labels}
    assert (len(labels), len({label[:2] for label in labels})) == (185, 41)
    assert len({label for name in names for label in name.gold}) == 150
    assert sum(bool(name.gold) for name in names) == 5_889
    assert sum(bool(name.gold) and not name.market for name in names) == 3_197
    largest = Counter(label for name in names for label in name.gold)  # published with one label a name: 790, 381
    assert [largest[label] for label in ("2011", "3821", "3830", "2610")] == [791, 382, 205, 202]


def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pathways: str, premise: str) -> None:
    """The tables of both packages as these texts, with the mark that begins the real ones."""
    for source, text in (("lca-pathways", pathways), ("lca-premise", premise)):
        (tmp_path / f"{source}.csv").write_text(text, encoding="utf-8-sig")
    monkeypatch.setattr(fetch, "obtain", lambda source, **how: tmp_path / f"{source}.csv")


def test_both_packages_tables_are_read_whatever_they_call_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_cache: Path
) -> None:
    pathways = 'name,reference product,ISIC rev.4 ecoinvent,CPC\nspinning,"yarn, wool",1311:Spinning,\nlost,x,,\n'
    premise = "name,product,ISIC rev.4 ecoinvent,CPC\nspinning,Thread,1312:Weaving,\nheat,heat,20: chemicals,\n"
    tables(tmp_path, monkeypatch, pathways, premise)
    heat, spinning = lca_stress()
    assert (spinning.labels, spinning.heads) == ({"1311", "1312"}, {"yarn", "thread"})
    assert (heat.labels, heat.gold) == ({"20"}, frozenset())
    tables(tmp_path, monkeypatch, pathways, premise.replace("ISIC rev.4 ecoinvent", "ISIC rev.4 ecoinvnt"))
    with pytest.raises(HedgerowError, match=r"lca-premise has no column 'ISIC rev.4 ecoinvent' \(did you mean"):
        lca_stress()


@pytest.mark.service
def test_the_stress_set(data_cache: Path) -> None:
    names = lca_stress()
    assert 3_552 <= len(names) <= 6_522 and all(name.labels for name in names)
