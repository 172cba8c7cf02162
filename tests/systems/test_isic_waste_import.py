"""A user's list of exchanges: each row is coded, set aside or refused for a stated reason, and nothing is lost."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hedgerow.errors import HedgerowError
from hedgerow.records import Coding, open_store
from hedgerow.systems.isic import waste_cells as cells
from hedgerow.systems.isic.waste_export import export
from hedgerow.systems.isic.waste_import import About, Report, import_file

ABOUT = About(source="a survey", licence="CC-BY-4.0")
HEAD = "Donor,Donor NACE,Waste,EWC,Receiver,Receiver NACE,Use,Status,Country,Citation"


@pytest.fixture(autouse=True)
def _data(data_cache: Path) -> None:
    """The vocabulary of wastes is fetched data."""


class FakeCoder:
    """Knows dairies, and is sure of nothing else."""

    digest, name = "f" * 64, "fake"

    def code(self, texts: list[str]) -> list[Coding]:
        return [Coding(isic=(("1050", 1.0),), how="classifier") if "dairy" in t.lower() else Coding() for t in texts]


def write(tmp_path: Path, *rows: str, head: str = HEAD) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def judged(tmp_path: Path, row: str, coder: Any = None, **more: Any) -> dict[str, Any]:
    report = import_file(write(tmp_path, row), None, ABOUT, coder=coder, **more)
    assert sum(report.decisions.values()) == 1
    return report.first[0]


def test_a_published_row_is_coded_by_its_codes(tmp_path: Path) -> None:
    found = judged(tmp_path, "Alumina refining,24.42,Red mud,01 03 09,Cement works,23.51,clinker,planned,GR,a paper")
    assert found["decision"] == "coded" and found["donor_isic"] == ["2420"] and found["receiver_isic"] == ["2394"]
    assert found["donor_how"] == found["receiver_how"] == "concordance" and found["why"] == ""


def test_several_codes_in_one_cell(tmp_path: Path) -> None:
    found = judged(tmp_path, "Metal group,24.10; 24.42,slag,,Cement works,23.51,,,,")
    assert found["decision"] == "coded" and found["donor_isic"] == ["2410", "2420"]


def test_a_code_above_the_class_stands_for_its_classes(tmp_path: Path) -> None:
    found = judged(tmp_path, "Metal,24.4,slag,,Cement works,23.51,,,,")
    assert found["decision"] == "coded" and found["donor_isic"] == ["2420"]
    broad = judged(tmp_path, "Factory,C,slag,,Cement works,23.51,,,,")
    assert broad["decision"] == "review"


def test_a_lost_leading_zero_is_put_back_and_said(tmp_path: Path) -> None:
    found = judged(tmp_path, "Farm,1.13,tops,,Farm,01.46,,,,")
    assert found["decision"] == "coded" and found["donor_isic"] == ["0113"] and "leading zero" in found["why"]
    ewc = judged(tmp_path, "Farm,01.13,tops,20399,Farm,01.46,,,,")
    assert ewc["decision"] == "review" and "leading zero" in ewc["why"]


@pytest.mark.parametrize(
    ("cell", "isic"), [("1.41", "0141"), ("1.3", "0130"), ("8.11", "0810"), ("0141", "0141"), ("01.41", "0141")]
)
def test_the_place_of_the_dot_counts(tmp_path: Path, cell: str, isic: str) -> None:
    found = judged(tmp_path, f"Farm,{cell},dung,,Farm,01.46,,,,")
    assert found["decision"] == "coded" and found["donor_isic"] == [isic]


@pytest.mark.parametrize(
    ("cell", "why"), [("141", "write it in full"), ("141.0", "no code"), ("1.10", "no code"), ('"24,42"', "comma")]
)
def test_a_code_that_can_be_two_is_set_aside(tmp_path: Path, cell: str, why: str) -> None:
    found = judged(tmp_path, f"Farm,{cell},dung,,Farm,01.46,,,,")
    assert found["decision"] == "review" and why in found["why"] and not found["donor_isic"]


def test_words_in_a_code_column(tmp_path: Path) -> None:
    row = "Cheese dairy,food industry,whey,,Pig dairy,01.46,,,,"
    without = judged(tmp_path, row)
    assert without["decision"] == "review" and "words in a code column" in without["why"]
    by_text = judged(tmp_path, row, FakeCoder())
    assert (
        by_text["decision"] == "coded"
        and by_text["donor_how"] == "classifier"
        and "coded by its text" in by_text["why"]
    )


@pytest.mark.parametrize(
    ("row", "decision", "why"),
    [
        ("Dairy,10.51,whey,,,,,,,", "coded", "no receiver"),
        ("Dairy,10.51,,,Pig farm,01.46,,,,", "refused", "names no waste"),
        (",,whey,,Pig farm,01.46,,,,", "refused", "names no donor"),
        ("Dairy,10.51,whey", "refused", "3 cells"),
        ("Dairy,99.99,whey,,Pig farm,01.46,,,,", "review", "no code '99.99'"),
        ("Dairy,10.51,whey,1 2 3,Pig farm,01.46,,,,", "review", "no six-digit EWC"),
        ("Dairy,=A1,whey,,Pig farm,01.46,,,,", "review", "formula"),
        ("Dairy,,whey,,Pig farm,01.46,,,,", "review", "--coder"),
        ("Dairy,10.51,=1+2,,Pig farm,01.46,,,,", "coded", ""),
    ],
)
def test_each_row_gets_a_decision_and_a_reason(tmp_path: Path, row: str, decision: str, why: str) -> None:
    found = judged(tmp_path, row)
    assert (found["decision"], why in found["why"]) == (decision, True), found


def test_what_the_classifier_is_not_sure_of_is_set_aside(tmp_path: Path) -> None:
    found = judged(tmp_path, "Some firm,,whey,,Pig dairy,,,,,", FakeCoder())
    assert found["decision"] == "review" and "not sure" in found["why"]


def test_columns_are_guessed_and_mapped(tmp_path: Path) -> None:
    assert cells.guess(["Company", "Waste stream", "Taker"], {"donor": "Company", "waste": "Waste stream"}) == {
        "donor": "Company", "waste": "Waste stream", "receiver": "Taker"}  # fmt: skip
    for chosen, words in (
        ({"doner": "Company"}, "did you mean 'donor'"),
        ({"donor": "Compny"}, "did you mean 'Company'"),
        ({"donor": "Company", "waste": "Company"}, "two fields"),
        ({"donor": "Company"}, "--map waste="),
    ):
        with pytest.raises(HedgerowError, match=words):
            cells.guess(["Company", "Rest"], chosen)


def test_headers_of_firms_and_german_ones_are_guessed() -> None:
    assert cells.guess(["Geber", "Geber NACE", "Abfall", "Empfänger", "Abnehmer-NACE"], {}) == {
        "donor": "Geber", "donor_code": "Geber NACE", "waste": "Abfall", "receiver": "Empfänger",
        "receiver_code": "Abnehmer-NACE"}  # fmt: skip
    assert cells.guess(["Donor firm", "Waste"], {})["donor"] == "Donor firm"


def test_columns_that_no_field_takes_are_named(tmp_path: Path) -> None:
    report = import_file(write(tmp_path, "Dairy,whey,Jo,5", head="Donor,Waste,Contact,Mood"), None, ABOUT)
    assert report.unused == ("Contact", "Mood")


def test_a_review_file_takes_its_own_place(tmp_path: Path) -> None:
    rows = ("Dairy,nonsense,whey,,Pig farm,01.46,,,,", "Dairy,10.51,whey,,Pig farm,words,,,,")
    with open_store(tmp_path / "s.sqlite") as store:
        review = Path(import_file(write(tmp_path, *rows), store, ABOUT).review)
        review.write_text(review.read_text().replace(",nonsense,", ",10.51,"))
        second = import_file(review, store, ABOUT)
        assert second.imported is not None and second.imported.new == 1 and second.review == str(review)
        assert second.unused == ()
        [left] = csv.DictReader(review.open(encoding="utf-8"))
        assert left["Receiver NACE"] == "words" and list(left)[-3:] == ["line", "decision", "why"]
        review.write_text(review.read_text().replace(",words,", ",01.46,"))
        last = import_file(review, store, ABOUT)
        assert last.decisions == {"coded": 1} and last.review == ""
    assert sorted(p.name for p in tmp_path.glob("*.csv")) == ["list.csv", "list.review.csv"]


def test_a_review_file_is_kept_whole_until_its_rows_are_in_the_store(tmp_path: Path) -> None:
    rows = ("Dairy,nonsense,whey,,Pig farm,01.46,,,,", "Dairy,10.51,whey,,Pig farm,words,,,,")
    with open_store(tmp_path / "s.sqlite") as store:
        review = Path(import_file(write(tmp_path, *rows), store, ABOUT).review)
        review.write_text(before := review.read_text().replace(",nonsense,", ",10.51,"))

        class Broken:
            def add(self, rows: Any, **_: Any) -> None:
                list(rows)
                raise HedgerowError("the disk is full")

        broken: Any = Broken()
        with pytest.raises(HedgerowError, match="disk is full"):
            import_file(review, broken, ABOUT)
    assert review.read_text() == before


def test_rows_set_aside_are_kept_and_can_come_in_later(tmp_path: Path) -> None:
    path = write(tmp_path, "Dairy,10.51,whey,,Pig farm,01.46,,,,", "=cmd|x,,=1+1,,+49 farm,nonsense,,,,")
    url = tmp_path / "r.sqlite"
    with open_store(url) as store:
        report = import_file(path, store, ABOUT)
        assert report.imported is not None and report.imported.new == 1
        again = import_file(path, store, ABOUT)
        assert again.imported is not None and again.imported.already and len(store) == 1
    review = Path(report.review)
    rows = list(csv.DictReader(review.open(encoding="utf-8")))
    assert len(rows) == 1 and rows[0]["decision"] == "review" and rows[0]["line"] == "3" and rows[0]["why"]
    assert rows[0]["Donor"] == "'=cmd|x" and rows[0]["Receiver"] == "'+49 farm"  # no spreadsheet runs them
    corrected = review.read_text().replace("nonsense", "01.46").replace(",,'=1+1", ",10.51,'=1+1")
    review.write_text(corrected)
    with open_store(url) as store:
        done = import_file(review, store, ABOUT)
        assert done.imported is not None and done.imported.new == 1
        assert {r["donor"]["text"] for r in store.records()} == {"Dairy", "=cmd|x"}


def test_exported_cells_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, "=HYPERLINK(1),10.51,@whey,,-farm,01.46,,,,")
    with open_store(tmp_path / "r.sqlite") as store:
        import_file(path, store, ABOUT)
        assert export(store, tmp_path / "out.csv") == 1 and export(store, tmp_path / "out.jsonl") == 1
        with pytest.raises(HedgerowError, match=r"\.csv or \.jsonl"):
            export(store, tmp_path / "out.xls")
    [row] = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8"))
    assert (row["donor"], row["waste"], row["receiver"]) == ("'=HYPERLINK(1)", "'@whey", "'-farm")
    with open_store(tmp_path / "again.sqlite") as store:  # and the way back gives the same texts
        import_file(tmp_path / "out.csv", store, ABOUT)
        assert store.records()[0]["donor"]["text"] == "=HYPERLINK(1)"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "Dairy,x x x,whey,,,,,,,")
    before = sorted(tmp_path.iterdir())
    report = import_file(path, None, ABOUT)
    assert report.imported is None and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [("Firm,Stuff\nA,b\n", "--map waste="), ("", "empty"), ("a,a\n1,2\n", "both called"), ("\xff\xfe", "UTF-16")],
)
def test_a_faulty_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin-1"))
    with open_store(tmp_path / "r.sqlite") as store:
        with pytest.raises(HedgerowError, match=words) as caught:
            import_file(path, store, ABOUT)
        assert "\n" not in str(caught.value) and len(store) == 0


def test_an_unknown_scheme_sets_rows_aside(tmp_path: Path) -> None:
    report = import_file(write(tmp_path, "Dairy,10.51,whey,,,,,,,"), None, ABOUT.model_copy(update={"scheme": "NACE9"}))
    assert report.first[0]["decision"] == "review" and "unknown scheme" in report.first[0]["why"]


def test_many_rows_need_little_memory(tmp_path: Path) -> None:
    """Rows stream through: eight times as many take hardly more."""

    def peak(n: int) -> int:
        path = tmp_path / f"{n}.csv"
        row = "Alumina refining,24.42,Red mud,01 03 09,Cement works,23.51,{},planned,GR,a paper that is cited\n"
        with path.open("w", encoding="utf-8") as f:
            f.write(HEAD + "\n")
            f.writelines(row.format(i) for i in range(n))
        tracemalloc.start()
        report = import_file(path, None, ABOUT)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.decisions == {"coded": n}
        return top

    peak(100)
    small, large = peak(500), peak(4000)
    assert large < small + 2_000_000


def test_excel(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Donor", "Donor NACE", "Waste", "EWC", "Receiver", "Receiver NACE", "Year"])
    sheet.append(["Alumina refining", 24.42, "Red mud", "01 03 09", "Cement works", "23.51", 2019])
    sheet.append(["Steelworks", 24.1, "slag", 100201, "Cement works", "=B2", None])
    sheet.append([None] * 7)
    sheet.append(["Farm", 1.13, "tops", None, None, None, 2020.0])
    book.create_sheet("other")
    path = tmp_path / "list.xlsx"
    book.save(path)
    report = import_file(path, None, ABOUT)
    decisions = [(r["line"], r["decision"], r["donor_isic"]) for r in report.first]
    assert decisions == [(2, "coded", ["2420"]), (3, "review", ["2410"]), (5, "coded", ["0113"])]
    assert "formula" in report.first[1]["why"]
    for broken, words in (("none.xlsx", "does not exist"), ("text.xlsx", "not a readable workbook")):
        (tmp_path / "text.xlsx").write_text("no zip")
        with pytest.raises(HedgerowError, match=words):
            import_file(tmp_path / broken, None, ABOUT)
    with pytest.raises(HedgerowError, match="did you mean 'other'"):
        import_file(path, None, ABOUT, sheet="othr")


def test_numbers_and_truths() -> None:
    assert cells.number("1,5", "x") == 1.5 and cells.number("1,234.5", "x") == 1234.5 and cells.number(" ", "x") is None
    assert cells.truth("Yes", "x") is True and cells.truth("unknown", "x") is None and cells.truth("no", "x") is False
    for bad in ("many", "nan", "inf"):
        with pytest.raises(HedgerowError, match="no number"):
            cells.number(bad, "quantity")
    with pytest.raises(HedgerowError, match="neither yes nor no"):
        cells.truth("perhaps", "hazardous")
    for text in ("=1", "+1", "-1", "@x"):
        assert cells.plain_cell(cells.safe_cell(text)) == text and cells.safe_cell(text)[0] == "'"
    assert cells.safe_cell("'tis") == "'tis" == cells.plain_cell("'tis")


def test_reasons_are_counted_without_their_words(tmp_path: Path) -> None:
    report: Report = import_file(write(tmp_path, "A,nine,w,,,,,,,", "B,three,w,,,,,,,"), None, ABOUT)
    assert list(report.reasons.values()) == [2]


# --- found by reading ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "value"), [("1.234,5", 1234.5), ("1.234.567,8", 1234567.8), ("1,234,567.8", 1234567.8), ("-3,5", -3.5)]
)
def test_of_two_signs_the_last_is_the_decimal_one(cell: str, value: float) -> None:
    assert cells.number(cell, "quantity") == value


def test_a_broken_year_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path, "Dairy,10.51,whey,Pig farm,01.46,2020.5", head="Donor,Donor NACE,Waste,Receiver,Receiver NACE,Year"
    )
    report = import_file(path, None, ABOUT)
    assert report.first[0]["decision"] == "refused" and "year '2020.5' is no whole number" in report.first[0]["why"]


def test_no_cell_of_a_review_file_is_a_formula_not_even_its_headers(tmp_path: Path) -> None:
    evil = "=HYPERLINK(1)"
    path = write(
        tmp_path,
        f"Dairy,10.51,whey,Pig farm,nonsense,{evil}",
        head=f"Donor,Donor NACE,Waste,Receiver,Receiver NACE,{evil}",
    )
    with open_store(tmp_path / "s.sqlite") as store:
        report = import_file(path, store, ABOUT)
    for row in csv.reader(Path(report.review).read_text(encoding="utf-8").splitlines()):
        assert not [c for c in row if c.startswith(("=", "+", "@"))]
    for text in ("\n=1", "\uff1d1"):
        assert cells.plain_cell(cells.safe_cell(text)) == text and cells.safe_cell(text)[0] == "'"


def test_when_the_rows_set_aside_cannot_be_kept_nothing_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk. Had the rest gone in, a second import of the file would do nothing and the rows would be lost."""
    path = write(tmp_path, "Dairy,10.51,whey,,Pig farm,01.46,,,,", "Dairy,nonsense,whey,,Pig farm,01.46,,,,")

    def full(*_: Any) -> None:
        raise HedgerowError("cannot save list.review.csv: No space left on device; nothing was left there")

    with open_store(tmp_path / "s.sqlite") as store:
        with monkeypatch.context() as patch:
            patch.setattr("hedgerow.files.write_text", full)
            with pytest.raises(HedgerowError, match="No space left"):
                import_file(path, store, ABOUT)
        assert len(store) == 0
        assert import_file(path, store, ABOUT).imported.new == 1  # type: ignore[union-attr]
    with pytest.raises(HedgerowError, match="that is the list itself"):
        import_file(path, None, ABOUT, review=path)
