"""The page in a real browser: no script error, nothing fetched, no sideways scrolling, hostile texts inert."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import made_tour

from hedgerow.report import page

pytestmark = pytest.mark.service
CHROMIUM = os.environ.get("HEDGEROW_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEROW_CACHE", str(tmp_path_factory.mktemp("cache")))
        tour = made_tour.make(tmp_path_factory.mktemp("tour"), patch, seeds=3, hostile=made_tour.HOSTILE)
    path = tmp_path_factory.mktemp("page") / "tour.html"
    page.write(tour, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium, or name one in HEDGEROW_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


class Visit:
    """The page at one width, and everything that the browser complained about or asked for."""

    def __init__(self, browser: Any, file: Path, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 740})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_timeout(200)

    def js(self, expression: str) -> Any:
        return self.page.evaluate(expression)


@pytest.fixture(params=[360, 1200])
def visit(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Visit]:
    opened = Visit(browser, file, request.param)
    yield opened
    opened.page.close()


def test_it_opens_quietly_and_alone(visit: Visit, file: Path) -> None:
    assert visit.complaints == []
    assert visit.requests == [file.as_uri()]


def test_hostile_texts_do_nothing(visit: Visit) -> None:
    assert visit.js("window.hacked") is None
    assert visit.js("document.images.length") == 0
    assert visit.js("document.scripts.length") == 1
    assert "<script>window.hacked=1</script>" in visit.js("document.body.innerText")


def test_it_never_scrolls_sideways(visit: Visit) -> None:
    assert visit.js("document.documentElement.scrollWidth <= window.innerWidth")


def test_pictures_are_drawn_for_this_width_and_can_be_read(visit: Visit) -> None:
    """One of the two drawings of each picture is visible, none of its letters smaller than 9 px on the screen."""
    shown = visit.js(
        "[...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg')]"
        ".filter(s => s.getBoundingClientRect().width > 0).length)"
    )
    assert shown and set(shown) == {1}
    smallest = visit.js(
        "Math.min(...[...document.querySelectorAll('figure svg text')].filter(t => t.getBoundingClientRect().width > 0)"
        ".map(t => { const m = t.getScreenCTM(), size = parseFloat(getComputedStyle(t).fontSize);"
        " return size * Math.hypot(m.a, m.b); }))"
    )
    assert smallest >= 9


def test_letters_stay_inside_their_picture(visit: Visit) -> None:
    """Browsers set text in another font than the one that the picture was laid out with."""
    outside = visit.js(
        "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width > 0).flatMap(s => {"
        " const box = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].filter(t => {"
        " const b = t.getBoundingClientRect(); return b.left < box.left - 2 || b.right > box.right + 2; })"
        " .map(t => t.textContent) })"
    )
    assert outside == []


def test_pressing_a_head_sorts_the_table(visit: Visit) -> None:
    head = visit.page.locator("#cost th button", has_text="one word").first
    column = visit.js("[...document.querySelectorAll('#cost th')].findIndex(t => t.textContent.includes('one word'))")
    values = f"[...document.querySelectorAll('#cost tbody tr')].map(r => Number(r.cells[{column}].dataset.v))"
    before = visit.js(values)
    head.click()
    assert visit.js(values) == sorted(before)
    head.click()
    assert visit.js(values) == sorted(before, reverse=True)
    assert visit.js("document.querySelectorAll('#cost th[aria-sort=descending]').length") == 1


def test_folded_numbers_open(visit: Visit) -> None:
    assert not visit.page.locator("#policies details table").is_visible()
    visit.page.locator("#policies summary").click()
    assert visit.page.locator("#policies details table").is_visible()
    assert visit.js("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_policy_forbids_fetching(visit: Visit) -> None:
    """Even a script that got in could not send anything out."""
    blocked = visit.js("fetch('https://example.org/').then(() => 'sent', () => 'blocked')")
    assert blocked == "blocked"
    assert any("Content Security Policy" in text for text in visit.complaints)
