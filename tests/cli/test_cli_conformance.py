"""Every kind of Pack passes every verb: use, show, export, weigh, compare, place, and a damaged copy is one line.

None of what is asked here knows which kind it asks.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from cli_said import Run

import hedgerow
from hedgerow.files import read_toml
from hedgerow.kinds import KINDS
from hedgerow.pack import Pack, read_arrays, write_arrays, write_manifest
from hedgerow.runtimes import runtime_of

sys.path.insert(0, str(Path(__file__).parent.parent / "kinds"))
import tiny

FLEET = Path(__file__).parent.parent.parent / "examples" / "fleet.toml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests here: a Pack with a trunk keeps it there."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=sorted(KINDS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Pack]:
    """A tiny Pack of each kind, with the ONNX form where it can have one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEROW_CACHE", str(cache))
        yield tiny.MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def here(made: Pack, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to do with as one likes."""
    monkeypatch.setenv("HEDGEROW_CACHE", str(cache))
    return Path(shutil.copytree(made.path, tmp_path / "copy"))


@pytest.fixture
def row(made: Pack, tmp_path: Path) -> dict[str, str]:
    found: dict[str, str] = tiny.ROWS[made.info.kind](tmp_path)
    return found


def test_answers_follow_the_schema(run: Run, here: Path, made: Pack, row: dict[str, str]) -> None:
    schema = run("use", here, "--schema").json
    need = hedgerow.open(here).kind.needs[0]
    said = run("use", here, row[need], "--json")
    assert said.code == 0 and said.lines[0]["id"] == "1"
    jsonschema.validate(said.lines[0], schema)
    assert run("use", here, row[need]).out.strip()


def test_a_table_with_a_bad_row(run: Run, here: Path, row: dict[str, str], tmp_path: Path) -> None:
    with open(tmp_path / "in.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, [*row, "mine"])
        writer.writeheader()
        writer.writerows([{**row, "mine": "a"}, dict.fromkeys(row, "") | {"mine": "b"}, {**row, "mine": "c"}])
    said = run("use", here, "--in", "in.csv", "--out", "out.csv")
    assert said.code == 3
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    columns = hedgerow.open(here).kind.columns
    assert [*rows[0]][: len(row) + 1] == [*row, "mine"] and set(columns) <= set(rows[0])
    assert [r["mine"] for r in rows] == ["a", "b", "c"] and [r["line"] for r in rows] == ["2", "3", "4"]
    assert [bool(r["error"]) for r in rows] == [False, True, False]
    assert any(rows[0][c] for c in columns) and not any(rows[1][c] for c in columns)
    assert rows[0] | {"mine": "", "line": ""} == rows[2] | {"mine": "", "line": ""}


def test_shown_weighed_compared_and_placed(run: Run, here: Path, made: Pack) -> None:
    before = run("show", here, "--json").json
    assert before["kind"] == made.info.kind and before["digest"] == made.digest
    if "onnx" not in [f["form"] for f in before["forms"]]:
        exported = run("export", here, "--to", "onnx", "--json")
        assert exported.code == 0 and "onnx" in exported.json["forms"], exported
    form = "onnx" if runtime_of(before["forms"][0]["form"]) != "numpy" else before["forms"][0]["form"]
    rows = run("weigh", here, "--form", form, "--json").lines
    assert {r["phase"] for r in rows} > {"load"} and all(r["p50_ms"] > 0 and r["pack"] == made.digest for r in rows)
    after = run("show", here, "--json").json
    assert after["digest"] == before["digest"] and len(after["costs"]) == len(rows)
    phase = next(r["phase"] for r in rows if r["phase"] != "load")
    found = run("compare", here, "--x", f"{phase}_ms", "--y", "peak_bytes", "--json").json
    assert [p["variant"] for p in found["groups"][0]["points"]] == [form]
    plan = run("place", here, "--fleet", FLEET, "--requests", "5", "--json").json
    assert len({p["request"] for p in plan["placements"]}) == 5
    assert all(p["variant"] == form for p in plan["placements"])
    text = run("place", here, "--fleet", FLEET, "--requests", "5", "--explain", "all")
    assert text.code == 0 and "Assumed, not measured" in text.out


def test_a_damaged_copy(run: Run, here: Path) -> None:
    files = [p for p in here.rglob("*") if p.is_file() and p.name != "manifest.json" and p.stat().st_size]
    for path in files:
        old = path.read_bytes()
        path.unlink()  # it may be a hard link
        path.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
        run("show", here).failed(str(here.name))
        path.write_bytes(old)
    assert run("show", here).code == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(run: Run, here: Path, row: dict[str, str], value: float) -> None:
    """Behind right digests: every verb that opens the Pack says so in one line, before anything is loaded."""
    victim = here / "weights.safetensors"
    arrays = read_arrays(victim)
    name = next(n for n, a in arrays.items() if a.dtype.kind == "f")
    arrays[name].flat[-1] = value
    victim.unlink()  # it may be a hard link
    write_arrays(victim, arrays)
    write_manifest(here, read_toml(here / "pack.toml").get("trunk"))
    for command in (("use", here, *row.values()), ("weigh", here), ("show", here)):
        run(*command).failed("weights.safetensors", name, "not finite numbers")


def test_the_manifest_of_a_stranger(run: Run, here: Path) -> None:
    manifest = json.loads((here / "manifest.json").read_text())
    name = next(iter(manifest["files"]))
    manifest["files"]["../outside"] = manifest["files"].pop(name)
    (here / "manifest.json").write_text(json.dumps(manifest))
    run("show", here).failed("manifest.json", "../outside")
