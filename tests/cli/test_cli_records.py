"""``data import``, ``data records``, ``data recode``, ``use --records``: what people see, one line when it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_said import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "kinds"))
import tiny

from hedgerow.systems.isic.waste import TOY

SAID = ("--source", "a survey", "--licence", "CC-BY-4.0")


@pytest.fixture(autouse=True)
def own_store(data_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEDGEROW_RECORDS", str(tmp_path / "mine" / "records.sqlite"))
    return tmp_path / "mine" / "records.sqlite"


def test_a_list_comes_in_once(run: Run, own_store: Path) -> None:
    dry = run("data", "import", "toy", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["decisions"] == {"coded": 48} and dry.json["imported"] is None
    assert not own_store.exists()
    first, again = run("data", "import", "toy", "--json"), run("data", "import", "toy", "--json")
    assert first.json["imported"] == {"rows": 48, "new": 48, "already": False} and again.json["imported"]["already"]
    said = run("data", "records", "--json").json
    assert said["records"] == 48 and said["by"][0]["coded"] == 48 and len(said["imports"]) == 1
    assert "nothing was changed" in run("data", "import", "toy").out


def test_rows_set_aside_end_with_3_and_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("Firm,NACE,Stuff,To\nDairy,10.51,whey,\nDairy,food,whey,\n,,whey,\n")
    maps = ("--map", "donor=Firm", "--map", "donor_code=NACE", "--map", "waste=Stuff", "--map", "receiver=To")
    said = run("data", "import", path, *SAID, *maps)
    assert said.code == 3 and "1 coded, 1 set aside for review, 1 refused" in said.out and "list.review.csv" in said.err
    assert (tmp_path / "list.review.csv").read_text().count("\n") == 3
    shown = run("data", "import", path, *SAID, *maps, "--dry-run")
    assert shown.code == 3 and "words in a code column" in shown.out and "nothing was written" in shown.err


def test_columns_that_are_not_used_are_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("Donor,Donor NACE,Waste,Contact,Mood\nDairy,10.51,whey,Jo,5\n")
    said = run("data", "import", path, *SAID, "--dry-run")
    assert "not used: Contact, Mood; --map FIELD=COLUMN" in said.out and "receiver_code" in said.out
    assert run("data", "import", path, *SAID, "--dry-run", "--json").json["unused"] == ["Contact", "Mood"]
    mapped = run("data", "import", path, *SAID, "--dry-run", "--map", "receiver=Contact", "--map", "place=Mood")
    assert "not used" not in mapped.out


def test_wrong_use_is_one_line(run: Run, tmp_path: Path, own_store: Path) -> None:
    run("data", "records").failed("does not exist", "hedgerow data import")
    run("data", "import", TOY).failed("--source", "--licence", code=2)
    run("data", "import", tmp_path / "none.csv", *SAID).failed("none.csv", "does not exist")
    run("data", "import", TOY, *SAID, "--kind", "usr").failed("did you mean 'user'")
    run("data", "import", TOY, *SAID, "--scheme", "NACE9").failed("NACE9", "did you mean")
    run("data", "import", TOY, *SAID, "--map", "donor").failed("FIELD=COLUMN")
    run("data", "import", TOY, *SAID, "--map", "doner=Donor").failed("did you mean 'donor'")
    run("data", "recode").failed("--coder", "--undo", code=2)
    run("data", "records", "--page", "x.html", "--pack", "p").failed("belong together", code=2)
    for file in own_store.parent.iterdir():
        file.unlink()
    own_store.write_text("no database " * 500)
    run("data", "import", "toy").failed("no SQLite database")


def test_recoding_and_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coder of five classes: it may only code what has no code of its own, and undo brings the rest back."""
    path = tmp_path / "list.csv"
    path.write_text("donor,donor_code,waste,receiver,receiver_code\nrice growing,01.12,husks,bakery of bread,10.71\n")
    assert run("data", "import", path, *SAID).code == 0
    coder = tiny.text_classifier(tmp_path).path
    said = run("data", "recode", "--coder", coder, "--json")
    assert said.code == 0 and said.json["codings"] == 0  # both sides have codes that lead to ISIC
    undone = run("data", "recode", "--undo", "--json")
    assert undone.json["undone"]["name"].startswith("recode") and run("data", "recode", "--undo").code == 1


def test_live_records_and_a_page(run: Run, tmp_path: Path, own_store: Path) -> None:
    run("data", "import", "toy")
    pack = tiny.recommender(tmp_path).path
    said = run("use", pack, "rice mill :: stale bread", "--records", own_store, "--json")
    assert (said.code == 1 and "error" not in said.out) or said.lines[0]["waste"] == "stale bread"
    one = run("use", pack, "rice mill :: stale bread", "--json")
    assert one.lines[0]["receivers"] and one.lines[0]["receivers"][0]["records"][0]["kind"] == "user"
    table = tmp_path / "in.csv"
    table.write_text("id,donor_text,waste_text\na,rice mill,husks of rice\nb,rice mill,\n")
    batch = run("use", pack, "--in", table, "--json")
    assert batch.code == 3 and [("error" in line) for line in batch.lines] == [False, True]
    page = run("data", "records", "--page", tmp_path / "page.html", "--json")
    assert page.code == 0 and page.json["total"] == 48 and "Red mud" in (tmp_path / "page.html").read_text()
    out = run("data", "records", "--out", tmp_path / "all.jsonl", "--json")
    assert out.json["records"] == 48
    first = json.loads((tmp_path / "all.jsonl").read_text().splitlines()[0])
    assert first["donor"]["code"] == ["24.42"] and first["donor"]["isic"] == ["2420"]
    run("use", tiny.static_encoder(tmp_path).path, "x", "--records", own_store).failed("no setting 'records'")
