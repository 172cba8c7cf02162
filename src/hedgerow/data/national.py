"""How a person wrote a national code, and which code of its scheme that is. No I/O, no scheme of its own."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

_DROP = re.compile(r"[\W_]+")
_DIVISION = re.compile(r"(\d+)([\s.\-/])")


def plain(code: str) -> str:
    """Letters and digits alone: '01.11' and '01 11' are '0111'."""
    return _DROP.sub("", code.casefold())


def reading(code: str, codes: Container[str], by_plain: Mapping[str, str]) -> tuple[str, str]:
    """(The code as its scheme writes it, or '' for none; a remark: what was repaired, or why there is no reading.)

    Dots, dashes and spaces do not matter, but for the place of the first: the digits before it are the division, of
    which '1' is '01', so that '1.41' is 01.41 and never 14.1. Without one, '141' is 14.1 or a 01.41 that lost its zero:
    read where the scheme has one of them alone. Two digits are the division that they are.

    ``codes``: the scheme's; ``by_plain``: :func:`plain` of them -> them.
    """
    written = code.strip()
    bare, mark = plain(written), _DIVISION.match(written)
    before = len(mark[1]) if mark else 0
    if mark and before > 2 and mark[2] == "." and not written.startswith("0"):
        return (written, "") if written in codes else ("", "")  # '141.0', a number that a program wrote: no division
    padded = by_plain.get(f"0{bare}", "") if bare.isdigit() and before != 2 else ""
    as_is = written if written in codes else "" if before == 1 else by_plain.get(bare, "")
    if padded and before != 1 and len(bare) > 2:
        above = as_is or next((c for p, c in by_plain.items() if p.startswith(bare)), "")  # a level that is not listed
        if above:
            which = f"'{as_is}'" if as_is else f"what '{above}' belongs to"
            return "", f"'{code}' can be {which}, or '{padded}' without its leading zero: write it in full"
    if as_is or not padded:
        return as_is, ""
    return padded, f"'{code}' read as '{padded}': a leading zero was lost"
