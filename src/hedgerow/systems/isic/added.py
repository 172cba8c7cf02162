"""Coded examples that a person adds to a Pack: which rows of a file are some, and whether a Task asks for them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hedgerow.data.texts import UserRow, normalise, read_user
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.systems.isic.sampled import sampled_task


def read_examples(file: str | Path, pack: Pack) -> tuple[list[dict[str, str]], list[tuple[int, str]]]:
    """``{text, code, source}`` of the rows that are examples for ``pack``, and (line, why) of those that are none.

    Raises HedgerowError where no row is one.
    """
    known = {label["code"] for label in pack.json("labels.json")["labels"]}
    rows = [(row, _fault(row, known)) for row in read_user(file)]
    good = [{"text": row.text, "code": min(row.gold), "source": "user"} for row, why in rows if not why]
    faults = [(row.line, why) for row, why in rows if why]
    if not good:
        first = f": line {faults[0][0]}: {faults[0][1]}" if faults else ""
        raise HedgerowError(f"{file} holds no example{first}")
    return good, faults


def _fault(row: UserRow, known: Collection[str]) -> str:
    """Why a row is no coded example of a Pack with the classes ``known``; '' when it is one."""
    if row.error is not None:
        return row.error
    if not row.code:
        return "it has no code"
    if len(row.gold) > 1:
        return f"'{row.code}' of {row.scheme} stands for {' '.join(sorted(row.gold))}; an example has one class"
    return "" if row.gold <= set(known) else f"the Pack has no class '{min(row.gold)}'"


def asked_for(pack: Pack, texts: Collection[str]) -> bool:
    """Whether the Task that the Pack names asks for one of the texts in dev or test; it then cannot score them."""
    if pack.info.task is None:
        return False
    try:
        asked = sampled_task(pack.info.task.name.partition("/")[2], pack.info.task.options).splits
    except HedgerowError:  # its data is gone, so nobody can score on it
        return False
    return not {normalise(e.input) for part in ("dev", "test") for e in asked[part]}.isdisjoint(map(normalise, texts))
