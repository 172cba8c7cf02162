"""One self-contained HTML page of a tour: nothing is fetched, everything is escaped, a phone can read it.

It is drawn from ``tour.json`` (:mod:`hedgerow.report.story`) and holds no number that is not in there.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.report import sections
from hedgerow.report.html import Html, h, joined

# Sorts a table by the column whose head was pressed; ``data-v`` of a cell is the number behind its text.
SORT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending", at = head.cellIndex;
  for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => { const c = row.cells[at], v = c.dataset.v; return v === undefined ? c.textContent : +v; };
  const order = (a, b) => { const x = value(a), y = value(b); return (x > y ? 1 : x < y ? -1 : 0) * (down ? -1 : 1); };
  body.append(...[...body.rows].sort(order));
});
"""


def page(tour: Mapping[str, Any]) -> str:
    """The whole document. Its content policy forbids every fetch, and every script but the one above by its digest."""
    digest = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
    closed = "default-src 'none'; base-uri 'none'; form-action 'none'"
    policy = f"{closed}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    parts = sections.all_sections(tour)
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", **{"http-equiv": "Content-Security-Policy"}, content=policy),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="referrer", content="no-referrer"),
        h("title", "hedgerow: built, weighed and placed"),
        h("style", Html((Path(__file__).parent / "page.css").read_text(encoding="utf-8"))),
    )
    body = h(
        "body",
        _header(tour, parts),
        h(
            "main",
            [
                h("section", h("div", h("h2", title), content, class_="column"), id=name)
                for name, title, content in parts
            ],
        ),
        _footer(tour),
        h("script", Html(SORT)),
    )
    return f"<!doctype html>\n{h('html', head, body, lang='en')}\n"


def write(tour: Mapping[str, Any], path: Path) -> None:
    """The page at ``path``, whole or not at all."""
    files.write_text(path, page(tour))


def _header(tour: Mapping[str, Any], parts: Sequence[tuple[str, str, Html]]) -> Html:
    device = tour["device"]
    links = [h("li", h("a", title, href=f"#{name}")) for name, title, _ in parts]
    return h(
        "header",
        h(
            "div",
            h("div", "hedgerow", class_="mark"),
            h("h1", "Which small model is good enough, what does it cost, and where should it run?"),
            h("p", f"{len(tour['packs'])} rivals for one task, built and weighed on {device['name']} "
              f"({device['memory_bytes'] / 2**30:.0f} GiB, {device['machine']}), then placed on "
              f"{len(tour['plan']['fleet']['devices'])} devices that can fail.", class_="lead"),
            sections.facts(tour),
            h("nav", h("ul", links), aria_label="sections"),
            class_="column",
        ),
    )  # fmt: skip


def _footer(tour: Mapping[str, Any]) -> Html:
    minutes = tour["seconds"] / 60
    return h(
        "footer",
        h("div", joined([f"Made by hedgerow {tour['hedgerow']} on {tour['made'][:10]} in {minutes:.1f} minutes. ",
                         "Everything above is drawn from tour.json beside this page."]), class_="column"),
    )  # fmt: skip
