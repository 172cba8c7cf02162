from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hedgerow.errors import HedgerowError
from hedgerow.report import tables
from hedgerow.run import save_result

ROOT = Path(__file__).parents[2]
SPEC = """
[peers]
head = "model"
caption = "Top-1, %."
[peers.row.majority]
label = "majority"
where = {model = "majority"}
[peers.row.tfidf]
label = "TF-IDF | LR"
where = {model = "tfidf"}
[peers.row.paper]
label = "paper"
source = "arXiv 2409.18988"
text = {rows = "95.28"}
[peers.column.rows]
label = "rows"
where = {split = "rows"}
metric = "top1"
format = "percent"
beside = "leak"
beside_label = "leak"
[peers.column.grouped]
label = "grouped"
where = {split = "grouped"}
metric = ["top1", "top5"]
format = "percent"
interval = false
[peers.column.cost]
label = "a text"
where = {split = "grouped"}
metric = "cost.run_ms"
format = "ms"
"""


def put(
    root: Path, model: str, split: str, seed: int = 0, config: dict[str, Any] | None = None, **metrics: Any
) -> None:
    settings = {"model": model, "split": split, **(config or {})}
    save_result(root / "results", "toy", "peers", settings, seed, metrics, None, time.time())


def score(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": 10}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "systems" / "toy").mkdir(parents=True)
    (tmp_path / "systems" / "toy" / "tables.toml").write_text(SPEC)
    (tmp_path / "README.md").write_text("before\n<!-- table: toy/peers -->\nold\n<!-- end -->\nafter\n")
    return tmp_path


def make(root: Path, check_only: bool = False) -> list[Path]:
    return tables.make_tables(root / "results", [root / "README.md"], root / "systems", check_only=check_only)


def rows(root: Path) -> dict[str, list[str]]:
    lines = [line for line in (root / "README.md").read_text().splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in line.strip("|").replace("\\|", "¦").split("|")] for line in lines]
    return {c[0].replace("¦", "|"): c[1:] for c in cells}


def test_a_table_is_drawn_between_its_marks(root: Path) -> None:
    put(root, "tfidf", "rows", top1=score(0.967), leak=0.64)
    for seed, top1 in enumerate((0.50, 0.54, 0.58)):
        put(root, "tfidf", "grouped", seed, top1=score(top1), top5=score(0.8), cost={"run_ms": 0.25})
    assert make(root) == [root / "README.md"]
    text = (root / "README.md").read_text()
    assert text.startswith("before\n<!-- table: toy/peers -->\n| model |")
    assert text.endswith("Top-1, %.\n<!-- end -->\nafter\n")
    found = rows(root)
    assert found["TF-IDF | LR"] == ["96.7 [91.7, 101.7] (leak 64.0)", "54.0 ± 4.0 / 80.0 ± 0.0", "0.25 ms"]
    assert found["majority"] == [tables.NOT_RUN] * 3
    assert found["paper (arXiv 2409.18988)"] == ["95.28", "", ""]
    assert make(root) == []  # drawn again, it is the same


def test_check_changes_nothing(root: Path) -> None:
    before = (root / "README.md").read_text()
    assert make(root, check_only=True) == [root / "README.md"]
    assert (root / "README.md").read_text() == before


def test_intervals_are_means_of_the_seeds(root: Path) -> None:
    put(root, "tfidf", "rows", 0, top1=score(0.4, 0.1))
    put(root, "tfidf", "rows", 1, top1=score(0.6, 0.2))
    make(root)
    assert rows(root)["TF-IDF | LR"][0] == "50.0 ± 14.1 [35.0, 65.0]"


def test_cells_of_another_number_of_seeds_say_so(root: Path) -> None:
    spec = SPEC.replace('caption = "Top-1, %."', 'caption = "Top-1, %."\nseeds = 2')
    spec += '[peers.column.seeds]\nlabel = "n"\nwhere = {split = "rows"}\nmetric = "top1"\nformat = "seeds"\n'
    (root / "systems" / "toy" / "tables.toml").write_text(spec)
    for seed in (0, 1):
        put(root, "tfidf", "rows", seed, top1=0.5)
    put(root, "tfidf", "grouped", top1=0.4, top5=0.6)
    make(root)
    assert rows(root)["TF-IDF | LR"] == ["50.0 ± 0.0", "40.0 / 60.0 (1 seed)", "*not run*", "2"]
    assert "Top-1, %. 2 seeds, or as many as a cell says." in (root / "README.md").read_text()


def test_one_result_may_hold_several_rows(root: Path) -> None:
    more = '[peers.row.a]\nlabel = "A"\nat = "A"\nwhere = {model = "cut"}\n'
    more += '[peers.row.b]\nlabel = "B"\nat = "B"\nwhere = {model = "cut"}\n'
    (root / "systems" / "toy" / "tables.toml").write_text(SPEC + more)
    put(root, "cut", "rows", A={"top1": score(0.25)}, B={"top1": "mix"})
    make(root)
    assert rows(root)["A"][0] == "25.0 [20.0, 30.0]"
    assert rows(root)["B"][0] == "mix"  # a name among numbers is shown as it is


def test_a_cell_that_fits_two_configs_must_say_which(root: Path) -> None:
    put(root, "tfidf", "rows", 0, {"words": 10}, top1=0.5)
    put(root, "tfidf", "rows", 0, {"words": 20}, top1=0.6)
    with pytest.raises(HedgerowError, match=r"row 'TF-IDF \| LR', column 'rows': fits 2 configs that differ in words"):
        make(root)


def test_a_metric_that_no_run_has_is_not_run(root: Path) -> None:
    put(root, "tfidf", "grouped", top1=0.5)
    make(root)
    assert rows(root)["TF-IDF | LR"][1:] == ["50.0 / –", tables.NOT_RUN]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- table: toy/pers -->\n<!-- end -->\n", "did you mean 'peers'"),
        ("<!-- table: toy/peers -->\nno end\n", "no '<!-- end -->'"),
        ("<!-- table: other/peers -->\n<!-- end -->\n", "is missing"),
        ("<!-- file: results/none.txt -->\n<!-- end -->\n", "no file results/none.txt"),
        ("<!-- file: ../secret -->\n<!-- end -->\n", "no file"),
    ],
)
def test_broken_marks_are_one_line(root: Path, text: str, words: str) -> None:
    (root / "README.md").write_text(text)
    with pytest.raises(HedgerowError, match=words):
        make(root)


def test_stated_cells_need_a_source(root: Path) -> None:
    spec = root / "systems" / "toy" / "tables.toml"
    spec.write_text(SPEC.replace('source = "arXiv 2409.18988"\n', ""))
    with pytest.raises(HedgerowError, match="need a source"):
        make(root)


def test_an_unknown_key_of_a_spec_is_named(root: Path) -> None:
    spec = root / "systems" / "toy" / "tables.toml"
    spec.write_text(SPEC.replace('format = "ms"', 'fromat = "ms"'))
    with pytest.raises(HedgerowError, match=r"unknown key .*fromat.*did you mean 'format'"):
        make(root)


def test_a_file_is_included_as_it_is(root: Path) -> None:
    (root / "results").mkdir()
    (root / "results" / "tour.txt").write_text("a plan\n")
    (root / "README.md").write_text("<!-- file: results/tour.txt -->\n<!-- end -->\n")
    make(root)
    assert (root / "README.md").read_text() == "<!-- file: results/tour.txt -->\n```\na plan\n```\n<!-- end -->\n"
    (root / "README.md").write_text("```\n<!-- file: results/tour.txt -->\n<!-- end -->\n```\n")
    make(root)
    assert (root / "README.md").read_text() == "```\n<!-- file: results/tour.txt -->\na plan\n<!-- end -->\n```\n"


def test_the_tables_of_this_repository_are_what_results_say() -> None:
    changed = tables.make_tables(
        ROOT / "results", tables.documents(ROOT), ROOT / "src" / "hedgerow" / "systems", check_only=True
    )
    assert [p.name for p in changed] == [], "run make results"


def test_main_checks_and_draws(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "src" / "hedgerow").mkdir(parents=True)
    (root / "systems").rename(root / "src" / "hedgerow" / "systems")
    monkeypatch.chdir(root)
    assert tables.main(["--check"]) == 1
    assert "README.md differs" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    (root / "README.md").write_text("<!-- table: toy/none -->\n<!-- end -->\n")
    assert tables.main([]) == 1
    assert "no table 'none'" in capsys.readouterr().err
