"""Tables of the suite for a terminal and for a page; they hold nothing that the score lines do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from hedgerow.weighing.suite.running import gains, group_means
from hedgerow.weighing.suite.sets import GROUPS, OWN

_DASH = "–"
_WAYS = ("accuracy", "accuracy_per_char", "accuracy_per_token")
HEADS = (
    "group",
    "set",
    "shots",
    "n",
    "score",
    "raw",
    "per character",
    "per token",
    "chance",
    "majority",
    "random weights",
)
NOTE = (
    "score: the one that the harness lists last for the set, with its 95 % interval; random weights: a model of the "
    "same shape; whether a model was trained on a set is unknown"
)


def suite_table(lines: Sequence[Mapping[str, Any]], title: str) -> Table:
    """One line a test, grouped as in the survey; a group's mean where all of it ran."""
    table = Table(title=title, title_justify="left", caption=NOTE, caption_justify="left")
    for place, head in enumerate(HEADS):
        table.add_column(head, justify="left" if place < 2 else "right")
    before = ""
    for cells, mean in rows(lines):
        if before and cells[0] != before:
            table.add_section()
        shown = [cells[0] if cells[0] != before else "", *cells[1:]]
        table.add_row(*(Text(cell) for cell in shown), style="bold" if mean else "")
        before = cells[0]
    return table


def gains_table(lines: Sequence[Mapping[str, Any]]) -> Table | None:
    """What examples in the prompt changed, paired on the same rows; None where nothing can be paired."""
    found = gains(lines)
    if not found:
        return None
    table = Table(title="With examples against none, on the same rows", title_justify="left")
    for head in ("set", "shots", "score", "difference", ""):
        table.add_column(head)
    for gain in found:
        table.add_row(
            gain["name"].removeprefix("suite/"),
            str(gain["shots"]),
            words(gain["metric"]),
            difference(gain["difference"]),
            "" if gain["difference"]["shown"] else "no difference shown",
        )
    return table


def rows(lines: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], bool]]:
    """(cells in the order of ``HEADS``, whether it is a group's mean), groups in the survey's order."""
    out: list[tuple[list[str], bool]] = []
    means = group_means(lines)
    for group in (*GROUPS, OWN):
        of = [line for line in lines if line["suite"]["group"] == group]
        order = {name: place for place, name in enumerate(GROUPS.get(group, ()))}
        for line in sorted(of, key=lambda one: (order.get(_set(one), 99), _set(one), one["suite"]["shots"])):
            out.append((_cells(line, group), False))
        for mean in means:
            if mean["group"] == group:
                score = f"{mean['value']:.3f} ± {mean['half']:.3f}"
                head = [group, f"mean of {mean['sets']}", str(mean["shots"]), str(mean["n"]), score]
                out.append(([*head, *[""] * (len(HEADS) - len(head))], True))
    return out


def _set(line: Mapping[str, Any]) -> str:
    return str(line["task"]["name"]).removeprefix("suite/")


def _cells(line: Mapping[str, Any], group: str) -> list[str]:
    metrics, beside = line["metrics"], line["beside"]
    headline = line["suite"]["headline"]
    score = metrics[headline]
    drawn = beside.get("random_weights", {})
    twin = drawn.get("metrics", {}).get(headline)
    return [
        group,
        _set(line),
        str(line["suite"]["shots"]),
        str(line["task"]["n"]),
        f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        + ("" if headline in _WAYS else f" {words(headline)}"),
        *(number(metrics[way]["value"]) if way in metrics else _DASH for way in _WAYS),
        number(beside.get("chance")),
        number(beside.get("majority")),
        number(twin["value"]) if twin else "not run" if "why" in drawn else _DASH,
    ]


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return _DASH if value is None else f"{value:.3f}"


def words(metric: str) -> str:
    """'pass_at_1' as 'pass@1', other names with spaces."""
    return metric.replace("pass_at_", "pass@").replace("_", " ")


def difference(found: Mapping[str, Any]) -> str:
    """'+0.021 [-0.004, +0.047]'."""
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """The same table for a page; its caption says what the columns are."""
    head = "| " + " | ".join(HEADS) + " |"
    rule = "|" + "|".join("---" if place < 2 else "---:" for place in range(len(HEADS))) + "|"
    body = []
    for cells, mean in rows(lines):
        marked = [f"**{cell}**" if mean and cell else cell for cell in cells]
        body.append("| " + " | ".join(cell.replace("|", "\\|") for cell in marked) + " |")
    return "\n".join([head, rule, *body]) + f"\n\n{NOTE[:1].upper()}{NOTE[1:]}.\n"
