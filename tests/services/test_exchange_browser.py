"""The page of exchanges in a real browser: quiet, alone, searchable, hostile texts inert, no sideways scrolling."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from test_exchange_page import EVIL, answer, record

from hedgerow.report import exchange

pytestmark = pytest.mark.service
CHROMIUM = os.environ.get("HEDGEROW_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium, or name one in HEDGEROW_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_in_a_browser(browser: Any, tmp_path: Path, width: int) -> None:
    records = [record(text=EVIL), *(record(f"{n:02d}11", "2394", f"ash number {n}") for n in range(1, 30))]
    told = exchange.story(records, {"01": EVIL}, [answer(EVIL)])
    file = tmp_path / "page.html"
    exchange.write(told, file)
    page = browser.new_page(viewport={"width": width, "height": 740})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_timeout(200)
    assert complaints == [] and requests == [file.as_uri()]
    assert page.evaluate("window.hacked") is None and page.evaluate("document.images.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.fill("#find", "ash number 17")
    assert page.inner_text("#shown").startswith("1 of 30")
    assert page.evaluate("[...document.querySelectorAll('#records tbody tr')].filter(r => !r.hidden).length") == 1
    page.fill("#find", "no such thing")
    assert page.inner_text("#shown").startswith("0 of 30")
    page.fill("#find", "")
    page.click("#records th:nth-child(3) button")
    first = page.inner_text("#records tbody tr:first-child td:nth-child(3)")
    assert first.startswith("<script>")
    page.close()
