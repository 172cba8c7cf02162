"""The issue's bad texts, on a real text classifier."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from cli_said import Run

from hedgerow.pack import Pack

sys.path.insert(0, str(Path(__file__).parent.parent / "kinds"))
import text_toys


@pytest.fixture
def toy(tmp_path: Path) -> Pack:
    """Eight classes of ISIC, words alone; it says that it was built by isic."""
    from hedgerow.kinds.text_classifier import save_text_classifier

    info = text_toys.info(system="isic")
    combine = {"rule": "mean", "weights": [1.0]}
    members = [text_toys.tfidf_linear()]
    return save_text_classifier(tmp_path / "toy", info, text_toys.LABELS, members, combine, text_toys.EXAMPLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ("empty",)), (" \n\t", ("empty",)), ("a " * 500_000, ("1,000,000 characters",))],
    ids=["nothing", "blanks", "1 MB"],
)
def test_a_text_that_cannot_be_read(run: Run, toy: Pack, text: str, words: tuple[str, ...]) -> None:
    run("use", toy.path, text).failed(*words)


def test_they_are_marked_in_a_table_and_the_others_answered(run: Run, toy: Pack, tmp_path: Path) -> None:
    texts = ["growing of rice", "", "a " * 500_000, "nul\0byte", "🚜 élevage", "ﬁsh"]
    with open(tmp_path / "in.csv", "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([["text", "code"], *([t, "0112"] for t in texts)])
    said = run("use", toy.path, "--in", "in.csv", "--out", "out.csv")
    assert said.code == 3 and all(f"line {n}:" in said.err for n in (3, 4, 5))
    assert max(map(len, said.err.splitlines())) < 200
    csv.field_size_limit(1 << 30)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [bool(r["error"]) for r in rows] == [False, True, True, True, False, False]
    assert [r["code"] for r in rows] == ["0112"] * 6 and all("decision" in r for r in rows)


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl"])
def test_half_a_character_ends_no_batch(run: Run, toy: Pack, tmp_path: Path, out: str) -> None:
    r"""JSON can hold '\ud800', which no file in UTF-8 can."""
    (tmp_path / "in.jsonl").write_text('{"text": "rice \\ud800 farm"}\n{"text": "", "id": "\\udfff"}\n')
    said = run("use", toy.path, "--in", "in.jsonl", "--out", out)
    assert said.code == 3 and "line 2" in said.err
    assert "rice ? farm" in (tmp_path / out).read_text(encoding="utf-8")


def test_unknown_labels(run: Run, toy: Pack, tmp_path: Path) -> None:
    """A code that no scheme has is named with its line; a file with none that is known is one line."""
    (tmp_path / "some.csv").write_text("text,code\nrice farm,0112\nbakery,9999\nsoftware,6201\n")
    said = run("use", toy.path, "--in", "some.csv", "--score", "--json")
    assert said.code == 3 and said.json["task"]["n"] == 2 and "line 3" in said.err
    (tmp_path / "none.csv").write_text("text,code\nbakery,9999\n")
    run("use", toy.path, "--in", "none.csv", "--score").failed("none.csv", "code")
    (tmp_path / "column.csv").write_text("txt,code\nbakery,1071\n")
    run("use", toy.path, "--in", "column.csv", "--score").failed("column.csv", "'text'")


def test_added_examples_with_an_unknown_label(run: Run, toy: Pack, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("text,code\nbakery,9999\n")
    run("build", "isic", "--from", toy.path, "--set", "examples=more.csv", "-o", "more").failed()
    assert not (tmp_path / "more").exists()
