from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.report.pictures import NAMES, make_pictures
from hedgerow.run import save_result

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


def test_a_summary_with_curves_is_drawn_and_drawn_again_when_it_changes(tmp_path: Path) -> None:
    line = {"label": "TF-IDF $x$ & <b>", "coverage": [0.3, 1.0], "accuracy": [0.9, 0.6], "answered_90": 0.3,
            "right_90": 0.9, "answered_95": 0.0}  # fmt: skip
    for place, split in enumerate(("grouped", "texts")):
        panel = {"place": place, "title": split, "order": ["tfidf"], "lines": {"tfidf": line}}
        save_result(tmp_path / "results", "toy", "summary", {"what": "coverage", "split": split}, 0, panel, None, 0.0)
    save_result(tmp_path / "results", "toy", "summary", {"goal": "rows"}, 0, {"goal": 1}, None, 0.0)
    (path,) = make_pictures(tmp_path)
    assert path == tmp_path / "docs" / "toy-coverage.svg"
    text = path.read_text(encoding="utf-8")
    words = [e.text for e in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"grouped", "texts", "TF-IDF $x$ & <b>"} <= set(words)
    assert words.index("grouped") < words.index("texts")  # by their place, whatever their files are called
    assert make_pictures(tmp_path) == []
    again = {"place": 0, "title": "grouped", "order": ["tfidf"], "lines": {"tfidf": {**line, "accuracy": [0.8, 0.6]}}}
    save_result(tmp_path / "results", "toy", "summary", {"what": "coverage", "split": "grouped"}, 0, again, None, 0.0)
    assert make_pictures(tmp_path, check_only=True) == [path]
    assert path.read_text(encoding="utf-8") == text


def test_the_pictures_of_this_repository_are_of_its_tour() -> None:
    assert make_pictures(ROOT, check_only=True) == [], "run make results"
