"""Small pieces that the sections of the page are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hedgerow.report.html import Child, Html, h
from hedgerow.report.look import WIDTHS, colour_of

Json = Mapping[str, Any]
DASH = "–"


def percent(score: Json | None, digits: int = 1) -> str:
    """``61.2 % [58.8, 63.7]``."""
    if not score:
        return DASH
    low, high = score.get("low"), score.get("high")
    text = f"{100 * score['value']:.{digits}f} %"
    return text + (
        f" [{100 * low:.{digits}f}, {100 * high:.{digits}f}]" if low is not None and high is not None else ""
    )


def tag(word: str) -> Html:
    """A small label: green for ``measured`` and ``chosen``, amber for what to be careful with."""
    return h("span", word, class_=f"tag {'assumed' if word not in ('measured', 'chosen') else 'measured'}")


def named(name: str, tour: Json) -> Html:
    """A model's name behind a dot in its colour."""
    tone = colours(tour).get(name, "#5b6763")
    return h("span", h("span", class_="dot", style=f"--tone:{tone}"), name, class_="named")


def form_named(label: str, tour: Json) -> Html:
    """``name/form`` behind a dot in its model's colour."""
    name, _, form = label.rpartition("/")
    return h("span", named(name, tour), h("span", f" {form}", class_="soft"))


def colours(tour: Json) -> dict[str, str]:
    """Colour of each model, the same in every picture and table."""
    return colour_of([p["name"] for p in tour["packs"]])


def table(heads: Sequence[tuple[str, bool]], rows: Iterable[Sequence[Any]], sortable: bool = False) -> Html:
    """Heads are (text, numeric). A cell is a Child, or (Child, number) where sorting needs the number."""

    def head(text: str, numeric: bool) -> Html:
        inner: Child = h("button", text, type="button") if sortable and text else text
        return h(
            "th", inner, class_="n" if numeric else None, aria_sort="none" if sortable and text else None, scope="col"
        )

    def cell(value: Any, numeric: bool, first: bool) -> Html:
        text, number = value if isinstance(value, tuple) else (value, None)
        long = isinstance(text, str) and not isinstance(text, Html) and len(text) > 36
        kind = {
            "class_": "n" if numeric else "t" if long else None,
            "data_v": None if number is None else f"{number:g}",
        }
        return h("th", text, scope="row", **kind) if first else h("td", text, **kind)

    body = [
        h("tr", [cell(v, numeric, i == 0) for i, (v, (_, numeric)) in enumerate(zip(row, heads, strict=True))])
        for row in rows
    ]
    return h(
        "div",
        h("table", h("thead", h("tr", [head(*x) for x in heads])), h("tbody", body)),
        class_="scroll",
        tabindex="0",
    )


def figure(caption: Child, draw: Any) -> Html:
    """A picture in both widths; ``draw(width)`` gives SVG."""
    return h("figure", [h("div", Html(draw(w)), class_=w) for w in WIDTHS], h("figcaption", caption))


def folded(title: str, content: Child) -> Html:
    """Something that opens when its title is pressed."""
    return h("details", h("summary", title), content)
