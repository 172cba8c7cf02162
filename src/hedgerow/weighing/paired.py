"""Two models on the same questions: the difference item by item, where both have the outcome of every item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hedgerow.weighing.suite import items


def mark_differences(points: list[dict[str, Any]], metric: str, lower_is_better: bool) -> None:
    """Set ``against`` of each point of one Task and split, and take its ``items`` away.

    ``{name, variant, difference: {value, low, high, n, shown}}``: the point minus the best of them in ``metric``,
    paired, with its 95 % interval; ``shown`` is false where that holds 0. Null for the best itself, and where outcomes
    of single items are missing or only lent from another form.
    """
    held = [(point, point.pop("items", None)) for point in points]
    for point, _ in held:
        point["against"] = None
    whole = [(point, own) for point, own in held if own is not None]
    if len(whole) < 2:
        return
    best, record = (min if lower_is_better else max)(whole, key=lambda one: one[0]["y"])
    for point, own in whole:
        if point is not best:
            difference = items.paired(own, record, metric)
            if difference is not None:
                point["against"] = {"name": best["name"], "variant": best["variant"], "difference": difference}


def words(against: Mapping[str, Any] | None) -> str:
    """'no difference shown to NAME, FORM: -0.010 [-0.034, +0.012]', or that it differs; '' without a partner."""
    if against is None:
        return ""
    found = against["difference"]
    numbers = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    what = "differs from" if found["shown"] else "no difference shown to"
    return f"{what} {against['name']}, {against['variant']}: {numbers}"
