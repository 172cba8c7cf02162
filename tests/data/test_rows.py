"""Rows of a person's table: counted by line, marked when they are bad, never dropped."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.data.rows import Row, columns, read_rows
from hedgerow.data.user import read_user
from hedgerow.errors import HedgerowError


def rows_of(tmp_path: Path, data: str | bytes, name: str = "t.csv", need: tuple[str, ...] = ()) -> list[Row]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_rows(path, need))


def fault(tmp_path: Path, data: str | bytes, name: str = "t.csv", need: tuple[str, ...] = ()) -> str:
    with pytest.raises(HedgerowError) as e:
        rows_of(tmp_path, data, name, need)
    text = str(e.value)
    assert "\n" not in text and name in text
    return text


# ---- CSV -----------------------------------------------------------------------------------------------------------


def test_all_columns_are_kept_in_their_order(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "id,text,mine\n7,rice,x\n8,milk,\n")
    assert rows == [
        Row(2, {"id": "7", "text": "rice", "mine": "x"}),
        Row(3, {"id": "8", "text": "milk", "mine": ""}),
    ]
    assert columns(tmp_path / "t.csv") == ["id", "text", "mine"] == list(rows[0].values)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_the_mark_of_excel(tmp_path: Path, separator: str, end: str, mark: str) -> None:
    text = mark + end.join(separator.join(cells) for cells in (("id", "text"), ("1", "Käse"), ("2", "b"))) + end
    assert [(r.line, r.values, r.error) for r in rows_of(tmp_path, text)] == [
        (2, {"id": "1", "text": "Käse"}, None),
        (3, {"id": "2", "text": "b"}, None),
    ]


def test_a_line_is_where_the_row_starts_also_after_quoted_newlines(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'text,n\n"one\ntwo\n\nthree",1\nfour,2\n"a ""b"" \r\nc",3\nlast,4\n')
    assert [(r.line, r.values["text"]) for r in rows] == [
        (2, "one\ntwo\n\nthree"),
        (6, "four"),
        (7, 'a "b" \r\nc'),
        (9, "last"),
    ]


def test_ragged_rows_keep_their_place_and_say_what_is_wrong(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "id,text\n1,a\n2\n3,b,c\n4,d\n")
    assert [(r.line, r.error is None) for r in rows] == [(2, True), (3, False), (4, False), (5, True)]
    assert "1 cells, the header 2" in (rows[1].error or "") and rows[1].values == {"id": "2", "text": ""}
    assert "3 cells, the header 2" in (rows[2].error or "") and rows[2].values == {"id": "3", "text": "b"}


def test_a_quote_that_never_closes_costs_one_row_not_the_rest(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'text,n\na,1\n"b,2\nc,3\nd,4\n')
    assert [(r.line, r.values.get("text")) for r in rows] == [(2, "a"), (3, '"b'), (4, "c"), (5, "d")]
    assert rows[1].error == "a quote is opened here and never closed"


def test_a_quote_inside_a_cell_marks_its_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'text,n\n"a"b,1\nc,2\n')
    assert [r.line for r in rows] == [2, 3] and "not readable as CSV" in (rows[0].error or "")
    assert rows[0].values == {"text": '"a"b', "n": "1"}
    assert rows[1].values == {"text": "c", "n": "2"} and rows[1].error is None


def test_nul_bytes_mark_their_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"text,n\na\0b,1\nc,2\n")
    assert rows[0].error == "the row holds a NUL byte" and rows[0].values["text"] == "ab"
    assert rows[1].error is None


def test_empty_lines_are_rows_except_at_the_end(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "text\na\n\nb\n\n\n")
    assert [(r.line, r.error) for r in rows] == [(2, None), (3, "the line is empty"), (4, None)]


def test_a_header_alone_is_no_row(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "text,id\n") == []


def test_a_text_of_a_megabyte_is_one_row(tmp_path: Path) -> None:
    long = "rice " * 250_000
    assert rows_of(tmp_path, f"id,text\n1,{long}\n2,b\n")[0] == Row(2, {"id": "1", "text": long})


def test_unnamed_columns_get_names(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "text,,\na,b,c\n")[0].values == {"text": "a", "column_2": "b", "column_3": "c"}


def test_faults_of_the_whole_file_are_one_line(tmp_path: Path) -> None:
    assert "is empty" in fault(tmp_path, "")
    assert "first line is empty" in fault(tmp_path, "\na,b\n")
    assert "columns 1 and 3 are both called 'text'" in fault(tmp_path, "text,id,text\na,1,b\n")
    assert "no column 'text' (did you mean 'texts'?)" in fault(tmp_path, "id,texts\n1,a\n", need=("text",))
    assert "header is not readable" in fault(tmp_path, 'text,"id\na,1\n')
    assert "workbook" in fault(tmp_path, b"PK\x03\x04rest")
    with pytest.raises(HedgerowError, match="does not exist"):
        list(read_rows(tmp_path / "absent.csv"))
    with pytest.raises(HedgerowError, match="is a folder"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("before", [0, 10, (1 << 20) - 8, (1 << 20) + 3, 3 << 20])
def test_a_wrong_encoding_is_named_by_byte_and_line_before_any_row_comes(tmp_path: Path, before: int) -> None:
    start = b"text\n" + b"caf\xc3\xa9\n" + b"x" * before + b"\n"
    text = fault(tmp_path, start + "Käse\n".encode("latin-1"))
    assert f"byte 0xe4 at position {start.__len__() + 1} (line 4)" in text and "iconv" in text


def test_a_character_across_two_readings_does_not_move_the_position(tmp_path: Path) -> None:
    start = b"text\n" + b"x" * ((1 << 20) - 6) + "é".encode()
    assert start[(1 << 20) - 1 :] == "é".encode()
    assert f"byte 0xff at position {len(start)} (line 2)" in fault(tmp_path, start + b"\xff\n")


def test_a_file_that_ends_within_a_character_and_utf_16(tmp_path: Path) -> None:
    assert "byte 0xc3 at position 8 (line 2)" in fault(tmp_path, b"text\nabc\xc3")
    assert "UTF-16" in fault(tmp_path, "text\na\n".encode("utf-16"))


def test_rows_stream(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text\n" + "a\n" * 100_000)
    rows = read_rows(path)
    assert next(rows).line == 2
    assert sum(1 for _ in rows) == 99_999


CELL = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=8))
def test_whatever_csv_writes_comes_back_with_its_line(tmp_path: Path, table: list[list[str]]) -> None:
    """Cells as the csv module wrote them; the line counted a second way, from what was written before each row."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["one", "two"])
    expected = []
    for cells in table:
        line = len(out.getvalue().replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        expected.append((line, cells))
        writer.writerow(cells)
    path = tmp_path / "t.csv"
    path.write_bytes(out.getvalue().encode())
    assert [(r.line, list(r.values.values())) for r in read_rows(path)] == expected


# ---- JSON Lines ----------------------------------------------------------------------------------------------------


def test_json_lines_keep_all_keys_as_text(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, '{"text": "a", "n": 1, "x": null, "y": [1, "ä"]}\n', "t.jsonl")
    assert rows == [Row(1, {"text": "a", "n": "1", "x": "", "y": '[1, "ä"]'})]
    assert columns(tmp_path / "t.jsonl") == ["text", "n", "x", "y"]


def test_bad_json_lines_are_marked(tmp_path: Path) -> None:
    data = '{"text": "a"}\n{"text": \n[1]\n\n{"id": 1, "txt": "b"}\n{"text": "c"}\n\n'
    rows = rows_of(tmp_path, data, "t.jsonl", need=("text",))
    assert [(r.line, r.error is None) for r in rows] == [(n, n in (1, 6)) for n in range(1, 7)]
    assert "not a JSON object" in (rows[1].error or "") and rows[2].error == "not a JSON object"
    assert rows[4].error == "no 'text' (did you mean 'txt'?)" and rows[4].values == {"id": "1", "txt": "b"}


def test_json_is_known_by_its_first_character_too_and_an_array_is_refused(tmp_path: Path) -> None:
    assert rows_of(tmp_path, '{"text": "a"}\n', "t.txt")[0].values == {"text": "a"}
    assert "one JSON array" in fault(tmp_path, '[{"text": "a"}]', "t.json")
    rows = rows_of(tmp_path, 'broken\n{"text": "a"}\n', "t.jsonl")
    assert [r.error is None for r in rows] == [False, True]


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path) -> None:
    line = json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False)
    assert [r.values["text"] for r in rows_of(tmp_path, f"{line}\n{line}\n", "t.jsonl")] == ["a\u2028b\x85c"] * 2


# ---- the user's coded texts ----------------------------------------------------------------------------------------


def test_the_users_rows_are_marked_not_dropped(tmp_path: Path, data_cache: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "id,text,code,scheme,shop\n"
        "a,We grow rice,0112,,x\n"
        "b,,0112,,x\n"
        "c,We grow rice,01.12,NACE2,x\n"
        "d,We bake,9999x,,x\n"
        "e,We bake,10.71,NACEX,x\n"
        ",no code at all,,,y\n"
        "g,We grow rice,112,,x\n"
        "h,Farming,01,,x\n"
        "i,cut\n"
    )
    rows = list(read_user(path))
    assert [r.line for r in rows] == list(range(2, 11))
    assert [r.id for r in rows] == ["a", "b", "c", "d", "e", "7", "g", "h", "i"]
    assert [sorted(r.gold) for r in rows[:3]] == [["0112"], [], ["0112"]]
    assert [r.error is None for r in rows] == [True, False, True, False, False, True, False, False, False]
    errors = [r.error or "" for r in rows]
    assert "text is empty" in errors[1] and "no code '9999x'" in errors[3]
    assert "unknown scheme 'NACEX' (did you mean 'NACE" in errors[4]
    assert "leading zero lost ('0112')" in errors[6] and "not a class" in errors[7] and "2 cells" in errors[8]
    assert rows[0].values["shop"] == "x" and rows[5].gold == frozenset()


def test_a_table_without_text_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,description\n1,rice\n")
    with pytest.raises(HedgerowError, match="no column 'text'"):
        list(read_user(path))
