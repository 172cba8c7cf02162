"""A split as the peers see it: label tree, rows with gold sets, and the coded texts of other sources beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.data import texts
from hedgerow.kinds.hierarchy import Label, Tree, tree_of
from hedgerow.run import Seeds
from hedgerow.systems.isic.parts import Fold, Rows, Vectors
from hedgerow.systems.isic.splits import Split, label_titles
from hedgerow.task import Example


def fold_of(
    split: Split, vectors: Vectors, *, coded: bool | None = None, sources: Sequence[str] = texts.SOURCES
) -> Fold:
    """Labels, train, dev and further coded texts of a split; test stays outside, see :func:`rows_of`.

    ``coded`` puts coded texts of ``sources`` beside train; None: where train is ecoinvent's names (all other splits are
    made of coded texts, or are the user's).
    """
    tree = label_tree(split)
    beside = split.labels == "strings" if coded is None else coded
    extra = coded_for(split, tree, sources) if beside else rows_of((), tree)
    groups = tuple(e.group for e in split.dev)
    return Fold(tree, rows_of(split.train, tree), rows_of(split.dev, tree), extra, vectors, groups)


def label_tree(split: Split) -> Tree:
    """The split's labels with title, group, division and section; ecoinvent's short labels have no group."""
    titles = label_titles(split)
    upper: dict[str, dict[str, str]] = {"group": {}, "division": {}, "section": {}}
    for code, title in texts.isic_titles().items():
        level = "section" if code.isalpha() else {2: "division", 3: "group"}.get(len(code), "")
        if level:
            upper[level][code] = title
    return tree_of(
        [label(code, title) for code, title in titles.items()], upper, "ISIC Rev.4" if split.labels == "isic" else ""
    )


def label(code: str, title: str) -> Label:
    """A label from its code: '3510a' lies in group '351', division '35', section 'D'; '20' in no group."""
    division = code[:2]
    group = code[:3] if len(code) > 2 else ""
    return Label(code=code, title=title, group=group, division=division, section=texts.isic_section(division))


def rows_of(examples: Sequence[Example], tree: Tree) -> Rows:
    """Texts and gold [n, K]; answers outside the label space are dropped."""
    gold = np.zeros((len(examples), len(tree)), bool)
    for row, example in enumerate(examples):
        gold[row, [tree.index[code] for code in example.gold if code in tree.index]] = True
    return Rows(tuple(e.input for e in examples), gold)


def coded_for(split: Split, tree: Tree, sources: Sequence[str] = texts.SOURCES) -> Rows:
    """English coded texts of one class for ecoinvent's labels, without any text that stands in dev or test.

    A class goes to the label of its own name, else to the only label with its digits ('3510a' where there is no
    '3510'); classes that ecoinvent does not use are left out.
    """
    taken = {texts.normalise(e.input) for part in (split.dev, split.test) for e in part}
    by_stem: dict[str, list[str]] = {}
    for code in tree.codes:
        by_stem.setdefault(code.rstrip("abcdefghijklmnopqrstuvwxyz"), []).append(code)
    found, classes = [], []
    for text in texts.coded_texts(sources):
        first, *others = sorted(text.gold)
        labels = by_stem.get(first, [])
        chosen = [first] if first in labels else labels
        if len(chosen) == 1 and not others and texts.normalise(text.text) not in taken:
            found.append(text.text)
            classes.append(tree.index[chosen[0]])
    gold = np.zeros((len(found), len(tree)), bool)
    gold[np.arange(len(found)), classes] = True
    return Rows(tuple(found), gold)


def some(rows: Rows, limit: int, seeds: Seeds) -> Rows:
    """``limit`` of the rows, drawn by the seed 'data', in their order; all of them with 0."""
    if not 0 < limit < len(rows):
        return rows
    kept = np.sort(seeds.generator("data").permutation(len(rows))[:limit])
    return Rows(tuple(rows.texts[i] for i in kept), rows.gold[kept])


def all_of(split: Split, tree: Tree) -> Rows:
    """Train, and what dev and test hold with one class: for the last fit, when nothing is scored any more."""
    single = [e for part in (split.train, split.dev, split.test) for e in part if len(e.gold) == 1]
    return rows_of(sorted(single, key=lambda e: e.id), tree)
