"""The page as a document; what a browser makes of it is tests/services/test_page.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hedgerow.report import page

Json = dict[str, Any]
_VOID = {"meta", "br", "hr", "input", "col"}


class Reader(HTMLParser):
    """Tags, attributes and texts; fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def text(tour: Json) -> str:
    return page.page(json.loads(json.dumps(tour)))  # what a file gives back


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_nothing_comes_from_outside(read: Reader) -> None:
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "image"} & {tag for tag, _ in read.tags}
    for tag, attributes in read.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href", "xlink:href", "action"):
                assert (value or "").startswith("#")


def test_only_our_script_may_run(read: Reader, text: str) -> None:
    (policy,) = [a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "unsafe-inline" not in str(policy).split("script-src")[1]


def test_hostile_texts_are_shown_as_texts(read: Reader, tour: Json) -> None:
    said = "".join(read.texts)
    for p in tour["packs"]:
        assert p["name"] in said
        assert p["summary"] in said
    assert tour["examples"][0]["text"] in said
    assert len([tag for tag, _ in read.tags if tag == "script"]) == 1


def test_every_section_is_there_and_linked(read: Reader) -> None:
    ids = [a["id"] for tag, a in read.tags if tag == "section"]
    links = [a["href"] for tag, a in read.tags if tag == "a"]
    assert ids == ["built", "cost", "where", "unplug", "policies", "assumed", "origin"]
    assert links == [f"#{name}" for name in ids]


def test_ids_are_unique(read: Reader) -> None:
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_page_says_what_the_json_says(read: Reader, tour: Json) -> None:
    said = "".join(read.texts)
    for line in tour["assumed"]:
        assert line in said
    for device in tour["plan"]["menus"][0]["devices"]:
        if device["next_better"] is not None:
            assert device["binding"] in said
    for row in tour["outcome"]["rows"]:
        assert row["label"] in said
    for p in tour["packs"]:
        assert p["digest"][:16] in said
        assert p["data"][0]["licence"] in said and p["data"][0]["attribution"] in said
    assert "reused from an earlier run" in said and "built in 12 s" in said
    assert said.count("assumed") > len(tour["plan"]["fleet"]["devices"])  # every device's times carry the word
    assert "no counter that can be read" in said  # energy was not measured, and the page says so


def test_an_undecided_text_is_a_persons_turn(read: Reader) -> None:
    said = "".join(read.texts)
    assert "for a person to decide; first guess 0113 Growing of vegetables" in said
    assert "group 011 Growing of rice" in said
    assert "None" not in said


def test_measured_energy_and_noise_are_shown(tour: Json) -> None:
    changed = json.loads(json.dumps(tour))
    changed["forms"][0] |= {"energy_j": 0.25, "noisy": True}
    text = page.page(changed)
    assert "0.25 J" in text and ">energy<" in text
    assert "no counter that can be read" not in text
    assert '<span class="tag assumed">noisy</span>' in text
    assert f"1 of {len(tour['forms'])} rows are marked noisy" in text


def test_a_device_where_nothing_may_run_says_why(tour: Json) -> None:
    changed = json.loads(json.dumps(tour))
    device = changed["plan"]["menus"][0]["devices"][0]
    device |= {"chosen": None, "binding": "nothing may run here: it is too small"}
    assert "nothing may run here: it is too small" in page.page(changed)


def test_it_is_one_file_of_a_reasonable_size(text: str, tmp_path: Path, tour: Json) -> None:
    page.write(tour, tmp_path / "tour.html")
    assert (tmp_path / "tour.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(text) < 600_000


def test_nothing_of_this_machine_is_in_it(text: str) -> None:
    assert str(Path.home()) + "/" not in text
    assert "/tmp/" not in text
