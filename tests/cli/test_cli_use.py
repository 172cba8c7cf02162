"""``use``: one answer an input, one row a row, nothing dropped, nothing half-written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import cli_echo
import jsonschema
import pytest
from cli_said import Run

from hedgerow.cli import batch


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_an_answer_for_a_person(run: Run, pack: Path) -> None:
    said = run("use", pack, "growing of rice")
    assert (said.code, said.out, said.err) == (0, "GROWING (0.33)\n", "")


def test_several_inputs_are_numbered_and_a_bad_one_is_marked(run: Run, pack: Path) -> None:
    said = run("use", pack, "rice", " ", "wheat")
    assert said.code == 3
    assert said.out == "[1] RICE (1.00)\n[3] WHEAT (1.00)\n"
    assert said.err == "hedgerow: input 2: the text is empty\n"


def test_one_bad_input_is_one_line(run: Run, pack: Path) -> None:
    run("use", pack, "").failed("the text is empty")
    run("use", pack, "boom").failed("boom")


def test_json_lines_follow_the_schema(run: Run, pack: Path) -> None:
    schema = run("use", pack, "--schema").json
    jsonschema.Draft202012Validator.check_schema(schema)
    said = run("use", pack, "rice", "", "--json")
    assert said.code == 3
    for line in said.lines:
        jsonschema.validate(line, schema)
    assert said.lines[0] == {"id": "1", "code": "RICE", "p": 1.0, "words": ["rice"], "line": 1}
    assert said.lines[1]["error"] == "the text is empty"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"id": "1"}, schema)


TABLE = """id,text,note
a,growing of rice,x
b,,keep me
c,boom,"two
lines"
d,too,many,cells
e,Bäckerei Ωμέγα,y
"""


def test_a_table_keeps_every_row_in_its_place(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(TABLE, encoding="utf-8")
    said = run("use", pack, "--in", "in.csv", "--out", "out.csv")
    assert said.code == 3 and said.out == ""
    rows = rows_of(tmp_path / "out.csv")
    assert [*rows[0]] == ["id", "text", "note", "code", "p", "words", "line", "error"]
    assert [r["id"] for r in rows] == ["a", "b", "c", "d", "e"]
    assert [r["line"] for r in rows] == ["2", "3", "4", "6", "7"]
    assert [r["code"] for r in rows] == ["GROWING", "", "", "", "BÄCKEREI"]
    assert rows[2]["note"] == "two\nlines" and rows[1]["note"] == "keep me"
    assert [bool(r["error"]) for r in rows] == [False, True, True, True, False]
    assert "2 of 5 rows answered" in said.err
    assert "line 3: the text is empty" in said.err and "line 6: the row has 4 cells" in said.err


def test_all_good_ends_with_zero(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nrice\n")
    assert run("use", pack, "--in", "in.csv", "--out", "out.csv").code == 0


def test_a_table_on_stdout_and_as_json_lines(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(TABLE, encoding="utf-8")
    said = run("use", pack, "--in", "in.csv")
    assert len(list(csv.DictReader(io.StringIO(said.out)))) == 5
    schema = run("use", pack, "--schema").json
    said = run("use", pack, "--in", "in.csv", "--json")
    assert said.code == 3 and len(said.lines) == 5
    for line in said.lines:
        jsonschema.validate(line, schema)
    assert said.lines[1]["row"] == {"id": "b", "text": "", "note": "keep me"}
    run("use", pack, "--in", "in.csv", "--out", "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert written == said.lines


def test_what_explains_an_answer_is_left_out_of_a_table_unless_asked_for(
    run: Run, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    predict = cli_echo.Engine.predict

    def noted(self: Any, inputs: Any, options: Any) -> Any:
        if inputs:
            asked.append(options["why"])
        return predict(self, inputs, options)

    monkeypatch.setattr(cli_echo.Echo, "explains", {"why": 3})
    monkeypatch.setattr(cli_echo.Engine, "predict", noted)
    (tmp_path / "in.csv").write_text("text\nrice\n")
    table = ("use", pack, "--in", "in.csv")
    assert "leaves out what --set why=3 adds" in run(*table, "--out", "out.csv").err
    assert "leaves out" not in run(*table, "--set", "why=2").err
    assert "leaves out" not in run(*table, "--json").err
    assert "leaves out" not in run(*table, "--out", "out.jsonl").err
    run("use", pack, "rice")
    run("use", pack, "rice", "--json", "--set", "why=1")
    assert asked == [0, 2, 3, 3, 3, 1]


def test_json_lines_in_with_different_keys(run: Run, pack: Path, tmp_path: Path) -> None:
    lines = ['{"text": "rice", "a": 1}', "nonsense", '{"text": "oats", "b": {"c": [2]}}', '{"b": 3}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    said = run("use", pack, "--in", "in.jsonl", "--out", "out.csv")
    assert said.code == 3
    rows = rows_of(tmp_path / "out.csv")
    assert [*rows[0]][:3] == ["text", "a", "b"] and [r["code"] for r in rows] == ["RICE", "", "OATS", ""]
    assert [r["line"] for r in rows] == ["1", "2", "3", "4"] and rows[2]["b"] == '{"c": [2]}'


def test_standard_input(run: Run, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("text;n\nrice;1\n", '{"text": "rice"}\n'):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        said = run("use", pack, "--in", "-", "--json")
        assert said.code == 0 and said.lines[0]["code"] == "RICE"


def test_names_that_are_taken(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,code,code_answer,line\nrice,0112,z,9\n")
    said = run("use", pack, "--in", "in.csv", "--out", "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert rows[0]["code"] == "0112" and rows[0]["line"] == "9"
    assert rows[0]["code_answer2"] == "RICE" and rows[0]["line_answer"] == "2"
    assert "the answer's is called 'code_answer2'" in said.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, ("none.csv", "exist")),
        ("empty.csv", b"", ("empty.csv", "empty")),
        ("header.csv", b"text\n", ("header.csv", "no row")),
        ("latin.csv", "text\nBäcker\n".encode("latin-1"), ("latin.csv", "UTF-8", "line 2")),
        ("column.csv", b"txt\nrice\n", ("column.csv", "'text'", "txt")),
        ("array.jsonl", b"[1, 2]\n", ("array.jsonl", "JSON array")),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(
    run: Run, pack: Path, tmp_path: Path, name: str, content: bytes | None, words: tuple[str, ...]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(p.name for p in tmp_path.iterdir())
    run("use", pack, "--in", name, "--out", "out.csv").failed(*words)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_input_is_never_overwritten(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nrice\n")
    run("use", pack, "--in", "in.csv", "--out", "in.csv").failed("in.csv", "another name")
    assert (tmp_path / "in.csv").read_text() == "text\nrice\n"


@pytest.mark.parametrize("name", ["out.xlsx", "out.tsv", "out.txt", "out"])
def test_no_csv_under_the_name_of_something_else(run: Run, pack: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text("text\nrice\n")
    run("use", pack, "--in", "in.csv", "--out", name).failed(name, ".csv, .jsonl or .ndjson")
    assert not (tmp_path / name).exists()


def test_the_case_of_a_suffix_does_not_matter(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nrice\n")
    assert run("use", pack, "--in", "in.csv", "--out", "OUT.JSONL").code == 0
    assert json.loads((tmp_path / "OUT.JSONL").read_text())["line"] == 2


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ("tops=3", ("'tops'", "did you mean 'top'")),
        ("top", ("KEY=VALUE",)),
        ("top=many", ("top=many", "whole number")),
        ("top=1.5", ("whole number",)),
        ("sleep=long", ("a number",)),
    ],
)
def test_settings_of_the_kind(run: Run, pack: Path, sets: str, words: tuple[str, ...]) -> None:
    run("use", pack, "rice", "--set", sets).failed(*words)
    assert run("use", pack, "rice", "--set", "sleep=0", "--set", "top=2", "--set", "name=7").code == 0


@pytest.mark.parametrize(
    "arguments", [(), ("rice", "--schema"), ("rice", "--in", "x.csv"), ("rice", "--score"), ("rice", "--out", "o.csv")]
)
def test_what_does_not_go_together(run: Run, pack: Path, arguments: tuple[str, ...]) -> None:
    run("use", pack, *arguments).failed("use --help", code=2)


def test_an_option_that_the_model_refuses_is_no_fault_of_the_rows(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nrice\noats\n")
    run("use", pack, "--in", "in.csv", "--out", "out.csv", "--set", "top=0").failed("top must be 1")
    assert not (tmp_path / "out.csv").exists()


def test_memory_is_bounded(run: Run, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are asked in chunks, in order, and never held longer than one."""
    from hedgerow import kinds

    seen: list[int] = []
    asked = kinds.Model.predict
    monkeypatch.setattr(kinds.Model, "predict", lambda self, i, **o: seen.append(len(i)) or asked(self, i, **o))
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"w{i}\n" for i in range(1000)))
    run("use", pack, "--in", "in.csv", "--out", "out.csv")
    assert max(seen) == batch.CHUNK and sum(seen) == 1000 and seen[0] == 0
    assert [r["code"] for r in rows_of(tmp_path / "out.csv")] == [f"W{i}" for i in range(1000)]


def test_more_faults_than_are_named(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,n\n" + ",1\n" * 30)
    said = run("use", pack, "--in", "in.csv", "--out", "out.csv")
    assert said.code == 3 and "and 10 more" in said.err and len(said.err.splitlines()) == 22


def test_a_form_that_is_not_there(run: Run, pack: Path) -> None:
    run("use", pack, "rice", "--form", "nmpy").failed("nmpy", "did you mean 'numpy'")


def test_each_reason_of_a_row_that_is_not_scored_is_counted_apart(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from hedgerow.cli.use import _left_out

    file = tmp_path / "my.csv"
    file.write_text("text,code\nrice,0112\n,0112\noats,\nRice,0112\nrye,nine\nwheat,0111,x\nbarley,\n")
    scored: Any = SimpleNamespace(splits={"test": [SimpleNamespace(input="rice", meta={"line": "2"})]})
    tally, counts = _left_out(file, scored, "text")
    assert tally.marked == 6 and counts == {
        "no text": 1,
        "no code": 2,
        "a text that stands above already": 1,
        "a code that is unknown or contradicts another row of that text": 1,
        "a fault in the row": 1,
    }
    assert tally.faults[0] == (3, "not scored: no text")


def test_the_help_says_that_a_score_is_kept(run: Run) -> None:
    assert "evidence" in run("use", "--help").out
