from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.report.pictures import NAMES, make_pictures

ROOT = Path(__file__).parents[2]


def test_pictures_are_drawn_once_and_again_when_the_tour_changes(tour: dict[str, Any], tmp_path: Path) -> None:
    assert make_pictures(tmp_path) == []  # no tour is kept
    files.write_json(tmp_path / "results" / "tour" / "tour.json", tour)
    expected = [tmp_path / "docs" / f"tour-{name}.svg" for name in NAMES]
    assert make_pictures(tmp_path, check_only=True) == expected
    assert not (tmp_path / "docs").exists()
    assert make_pictures(tmp_path) == expected
    for path in expected:
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root[0].attrib["fill"] == "#ffffff"  # a page around it may be dark
    assert make_pictures(tmp_path) == []
    changed = json.loads(json.dumps(tour))
    changed["compared"]["groups"][0]["points"][0]["x"] *= 2
    files.write_json(tmp_path / "results" / "tour" / "tour.json", changed)
    assert make_pictures(tmp_path, check_only=True) == expected
    before = expected[0].read_text(encoding="utf-8")
    make_pictures(tmp_path)
    assert expected[0].read_text(encoding="utf-8") != before


def test_the_pictures_of_this_repository_are_of_its_tour() -> None:
    assert make_pictures(ROOT, check_only=True) == [], "run make results"
