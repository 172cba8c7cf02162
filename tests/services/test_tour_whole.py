"""The whole tour on the shipped data, as `make tour` runs it, and its page in a real browser. Takes some minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_page import Visit, browser  # noqa: F401  (the fixture is used by name)

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]


def run_tour(folder: Path) -> str:
    command = [sys.executable, "-m", "hedgerow.report.tour", "--packs", "packs", "--out", "tour", "--seeds", "3"]
    command += ["--fleet", str(ROOT / "examples" / "fleet.toml")]
    done = subprocess.run(
        command, cwd=folder, text=True, capture_output=True, env={**os.environ, "HEDGEROW_QUIET": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def told(data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tour")
    said = run_tour(folder)
    return folder, said, json.loads((folder / "tour" / "tour.json").read_text())


def test_it_does_what_it_promises(told: tuple[Path, str, dict[str, Any]]) -> None:
    _, said, tour = told
    assert [p["preset"] for p in tour["packs"]] == ["tiny", "encoder-small", "lm-small"]
    weighed = {(f["name"], f["variant"]) for f in tour["forms"]}
    assert {("linear", "numpy"), ("encoder", "onnx-int8"), ("language-model", "torch")} <= weighed
    assert all(f["score"] and not f["score_assumed"] for f in tour["forms"])
    models = {s["form"].rpartition("/")[0] for s in tour["plan"]["shares"] if s["jobs"]}
    assert len(models) >= 2, "different devices must get different models"
    busiest = max(tour["outcome"]["rows"][0]["devices"], key=lambda d: d["utilisation"])
    assert busiest["utilisation"] > 0.5, "the batch must saturate a device"
    assert [r["policy"] for r in tour["outcome"]["rows"][:3]] == ["earliest-finish", "local-only", "random"]
    assert "Assumed, not measured" in said


def test_it_rests_on_data_that_may_be_passed_on(told: tuple[Path, str, dict[str, Any]]) -> None:
    _, _, tour = told
    sources = [s for p in tour["packs"] for s in p["data"]]
    assert sources and all(s["shareable"] and s["attribution"] for s in sources)
    assert {s["licence"] for s in sources} <= {"MIT", "Apache-2.0"}
    assert "ecoinvent" not in json.dumps(tour["packs"]).lower()


def test_its_page_opens_on_a_phone(told: tuple[Path, str, dict[str, Any]], browser: Any) -> None:  # noqa: F811
    folder, _, _ = told
    page = folder / "tour" / "tour.html"
    visit = Visit(browser, page, 360)
    assert visit.complaints == [] and visit.requests == [page.as_uri()]
    assert visit.js("document.documentElement.scrollWidth <= window.innerWidth")
    assert str(folder) not in page.read_text(encoding="utf-8")
    visit.page.close()


def test_a_second_run_reuses_and_says_so(told: tuple[Path, str, dict[str, Any]]) -> None:
    folder, _, before = told
    said = run_tour(folder)
    assert said.count("reused in") == 3
    assert said.count("rows reused") == 3
    after = json.loads((folder / "tour" / "tour.json").read_text())
    assert [p["digest"] for p in after["packs"]] == [p["digest"] for p in before["packs"]]
    assert after["plan"]["shares"] == before["plan"]["shares"]
    assert after["outcome"]["rows"] == before["outcome"]["rows"]  # one seed, one fleet, one outcome
