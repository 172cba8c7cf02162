"""The pictures: well-formed, alone on their page, with what the JSON says in them and nothing fetched."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from hedgerow.report import plots
from hedgerow.report.look import WIDTHS, Width, colour_of, digits, plain

Json = dict[str, Any]


def pictures(tour: Json, width: Width) -> dict[str, str]:
    colours = colour_of([p["name"] for p in tour["packs"]])
    devices = [d["name"] for d in tour["plan"]["fleet"]["devices"]]
    lines = [(r["label"], tour["pulled"]["timelines"][r["label"]]) for r in tour["pulled"]["rows"]]
    return {
        "tradeoff": plots.tradeoff(tour["compared"]["groups"][0], "run_ms", "accuracy", width),
        "placement": plots.placement(tour["plan"], colours, width),
        "timeline": plots.timeline(lines, devices, colours, width),
        "policies": plots.policies(tour["outcome"], ("latency_p95_ms", "value"), width),
    }


@pytest.fixture(scope="module")
def drawn(tour: Json) -> dict[tuple[str, str], str]:
    return {(name, w): text for w in WIDTHS for name, text in pictures(tour, w).items()}


def words(svg: str) -> list[str]:
    return [t.text or "" for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_each_is_well_formed_and_scales(drawn: dict[tuple[str, str], str]) -> None:
    for text in drawn.values():
        root = ET.fromstring(text)
        assert "width" not in root.attrib and "height" not in root.attrib
        assert root.attrib["viewBox"].startswith("0 0 ")
        assert root.attrib["aria-label"]


def test_nothing_is_fetched_and_no_style_or_script_leaks(drawn: dict[tuple[str, str], str]) -> None:
    for text in drawn.values():
        assert not re.search(r"<(script|style|image|foreignObject|iframe|use[^>]*href=\"[^#])", text)
        links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', text)
        assert all((a or b).startswith("#") for a, b in links)


def test_no_two_pictures_share_an_id(drawn: dict[tuple[str, str], str]) -> None:
    seen: set[str] = set()
    for text in drawn.values():
        ids = set(re.findall(r'\bid="([^"]+)"', text))
        assert not ids & seen
        seen |= ids
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids


def test_hostile_names_are_texts(drawn: dict[tuple[str, str], str]) -> None:
    assert any("<script>" in word for word in words(drawn["tradeoff", "wide"]))  # as text, after parsing
    assert "<script>" not in drawn["tradeoff", "wide"]


def test_the_same_data_give_the_same_picture(tour: Json, drawn: dict[tuple[str, str], str]) -> None:
    assert pictures(tour, "wide") == {
        name: drawn[name, "wide"] for name in ("tradeoff", "placement", "timeline", "policies")
    }


def test_the_placement_says_how_many_requests_each_device_takes(tour: Json, drawn: dict[tuple[str, str], str]) -> None:
    said = " ".join(words(drawn["placement", "wide"]))
    for share in tour["plan"]["shares"]:
        assert share["device"] in said
        assert f": {share['jobs']}" in said


def test_the_timeline_marks_the_death(tour: Json) -> None:
    """The red of lost work and the cross appear only where a device died."""
    colours = colour_of([p["name"] for p in tour["packs"]])
    devices = [d["name"] for d in tour["plan"]["fleet"]["devices"]]
    gone = next(r["label"] for r in tour["pulled"]["rows"] if "leaves" in r["label"])
    line = tour["pulled"]["timelines"][gone]
    assert any(d["device"] == "laptop" and d["start"] == 9.0 for d in line["downs"])
    red = "#b3261e"
    assert red in plots.timeline([("x", line)], devices, colours, "wide")
    calm = {"bars": [b for b in line["bars"] if not b["lost"]], "downs": []}
    assert red not in plots.timeline([("x", calm)], devices, colours, "wide")


def test_bars_that_touch_are_joined_and_lost_ones_are_not() -> None:
    def bar(start: float, end: float, lost: bool = False) -> Json:
        return {"device": "d", "lane": 0, "start": start, "end": end, "what": "run", "form": "m/f", "lost": lost}

    line = {"bars": [bar(0, 1), bar(1.001, 2), bar(5, 6), bar(2, 3, lost=True), bar(3, 4, lost=True)], "downs": []}
    merged = plots._merged(line, "d", gap=0.01)
    assert [(round(s, 3), round(n, 3)) for s, n in merged[0, "m/f", "run", False]] == [(0, 2), (5, 1)]
    assert merged[0, "m/f", "run", True] == [(2, 1), (3, 1)]


def test_policies_show_means_of_the_outcome(tour: Json, drawn: dict[tuple[str, str], str]) -> None:
    said = words(drawn["policies", "narrow"])
    for row in tour["outcome"]["rows"]:
        assert digits(row["metrics"]["latency_p95_ms"]["value"] / 1e3) in said
        assert row["label"].split()[0] in said


def test_plain_text_is_one_short_line() -> None:
    assert plain("a\nb\x00c") == "a b c"
    assert plain("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [(0.2249, "0.225", "+0.225"), (73.84, "73.8", "+73.8"), (2153.7, "2,154", "+2,154"),
     (-0.123, "-0.123", "-0.123"), (999.4, "999", "+999"), (999.6, "1,000", "+1,000"), (0, "0", "+0")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str, signed: str) -> None:
    assert (digits(value), digits(value, signed=True)) == (text, signed)


def test_colours_are_given_in_order_and_come_again() -> None:
    found = colour_of(["a", "b", "a", *"cdefg"])
    assert list(found) == list("abcdefg")
    assert found["a"] != found["b"]
    assert found["g"] == found["a"]
