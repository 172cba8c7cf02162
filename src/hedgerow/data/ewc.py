"""Vocabulary of wastes and of what is done with them: EWC-Stat categories, operations D1 … R13 with their NACE codes.

From bonsai-classifications (MIT). The six-digit European List of Waste is another list, and no mapping between the two
is claimed anywhere.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache

from hedgerow.data import fetch, schemes


def _rows(name: str) -> Iterator[dict[str, str]]:
    with open(fetch.obtain("bonsai") / name, encoding="utf-8-sig", newline="") as f:
        yield from csv.DictReader(f)


@cache
def ewc_stat() -> dict[str, str]:
    """Title of every EWC-Stat 4 category, from '01' to '01.11.1'."""
    return {row["code"]: row["name"] for row in _rows("flowobject/tree_ewc_stat_4.csv") if row["code"] != "total"}


@cache
def operations() -> dict[str, str]:
    """Title of every disposal (D) and recovery (R) operation of directive 2008/98/EC."""
    return {row["code"]: row["name"] for row in _rows("activitytype/dim_ec_2008_98.csv")}


@cache
def operation_nace() -> dict[str, tuple[str, ...]]:
    """NACE Rev. 2 classes that carry out an operation; a weak, many-to-many concordance."""
    found: dict[str, list[str]] = {}
    for row in _rows("activitytype/conc_ec_2008_98_nace_rev2.csv"):
        found.setdefault(row["activitytype_from"], []).append(row["activitytype_to"])
    return {code: tuple(nace) for code, nace in found.items()}


@cache
def operation_isic(code: str) -> tuple[str, ...]:
    """ISIC Rev.4 classes that carry out an operation, over NACE; () for an unknown one."""
    found: set[str] = set()
    for nace in operation_nace().get(code.strip().upper(), ()):
        plain = nace.replace(".", "")
        plain = plain if len(plain) == 4 else f"{plain}0"  # '39.0' stands for its only class
        found.update(image.code for image in schemes.crosswalk(plain, "NACE2") if len(image.code) == 4)
    return tuple(sorted(found))
