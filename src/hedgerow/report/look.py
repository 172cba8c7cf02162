"""One look for all pictures: readable at phone width, safe for colour-blind eyes, dark on light, and clean SVG.

Each picture is drawn twice, for a wide and for a narrow page, since a wide one shrunk to a phone cannot be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, Literal

Width = Literal["wide", "narrow"]
WIDTHS: tuple[Width, ...] = ("wide", "narrow")
INCHES = {"wide": 8.6, "narrow": 3.75}  # at 72 points an inch an SVG of 620 and 270 px, scaled to the column

INK, SOFT, RULE, GREEN, AMBER, RED = "#1f2a27", "#5b6763", "#dfe4e0", "#2f5d50", "#9a6b1f", "#b3261e"
# Okabe and Ito (2008), without yellow, which is too light on white; each goes with a marker and a hatch of its own
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "D", "^", "v", "P")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")
_FONT = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


@contextmanager
def drawing(width: Width, height: float, **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes with our settings; ``height`` in inches. Drawn without a display (Agg)."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib import pyplot as plt

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
        "svg.hashsalt": "hedgerow",
        "text.parse_math": False,  # a name with two dollar signs is a name
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "hatch.linewidth": 0.6,
        "hatch.color": "#ffffff",
    }
    with matplotlib.rc_context(settings):
        figure, axes = plt.subplots(figsize=(INCHES[width], height), layout="constrained", **subplots)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def svg(figure: Any, name: str, title: str) -> str:
    """The figure as an inline ``<svg>`` that scales with its column.

    ``name`` goes before every id, so that several pictures on one page do not share any; ``title`` is read aloud.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"font-family: [^;\"]+", f"font-family: {_FONT}", text)
    text = re.sub(r"(font: (?:[\w.]+ )*[\d.]+px) [^;\"]+", rf"\1 {_FONT}", text)
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, count=1, flags=re.DOTALL
    )  # it would hold pagewide
    box = re.search(r'viewBox="([\d. ]+)"', text)
    head = (
        f'<svg role="img" aria-label="{escape(title, quote=True)}" viewBox="{box[1] if box else "0 0 100 100"}" '
        'style="stroke-linejoin:round" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)


def plain(text: object, most: int = 40) -> str:
    """Text from outside for a picture: one line without control characters, at most ``most`` characters."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return line if len(line) <= most else line[: most - 1] + "…"


def digits(value: float, signed: bool = False) -> str:
    """Three digits that mean something, and no exponent but for the very small: '0.225', '73.8', '2,150', '+60.4'."""
    sign = "+" if signed else ""
    return f"{value:{sign},.0f}" if abs(value) >= 999.5 else f"{value:{sign}.3g}"


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, in order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def marker_of(names: Sequence[str]) -> dict[str, str]:
    """A marker for each name, in order."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(dict.fromkeys(names))}
