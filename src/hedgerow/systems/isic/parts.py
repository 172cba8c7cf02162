"""What a model is made of: rows of texts, what a peer may see of them, and the parts that nothing is fitted for.

A **part** is a member of a text-classifier Pack, asked through the very code that a device runs, so what the tables
score is what a Pack answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_features import exact_key, normalise
from hedgerow.kinds.text_members import MEMBERS, Batch, Member, Spot
from hedgerow.kinds.text_search import unit

GROUP_CAP = 20  # texts; see Fold.dev_weight
Vectors = Callable[[str, Sequence[str]], np.ndarray]  # (trunk, texts) -> float32 [n, d]


@dataclass(frozen=True)
class Rows:
    """Texts with their acceptable classes: ``gold`` is bool [n, K]."""

    texts: tuple[str, ...]
    gold: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.texts + other.texts, np.concatenate([self.gold, other.gold]))

    @property
    def classes(self) -> np.ndarray:
        """int64 [n]: the first acceptable class (training texts have one only)."""
        return np.asarray(self.gold.argmax(1))


def of_one_class(rows: Rows) -> Rows:
    """The rows with one acceptable class, which may be trained on."""
    kept = np.flatnonzero(rows.gold.sum(1) == 1)
    return Rows(tuple(rows.texts[i] for i in kept), rows.gold[kept])


@dataclass(frozen=True)
class Fold:
    """What a peer may see: the labels, train and dev, further coded texts, and vectors of trunks."""

    tree: Tree
    train: Rows
    dev: Rows
    extra: Rows  # coded texts of other sources for the same labels; may be empty
    vectors: Vectors
    dev_groups: tuple[str, ...] = ()  # the group of each dev text; () = each its own

    @property
    def dev_weight(self) -> np.ndarray:
        """float32 [n]: how much each dev text counts when something is tuned.

        A group counts for at most GROUP_CAP texts: in one draw of ecoinvent's products a single one is a quarter of
        dev, and whatever is tuned on it is tuned to that product.
        """
        size = Counter(self.dev_groups)
        return np.array([min(1.0, GROUP_CAP / size[g]) for g in self.dev_groups] or [1.0] * len(self.dev), np.float32)

    def rows(self, extra: bool) -> Rows:
        """Train, with the coded texts of other sources behind it if asked for."""
        return self.train + self.extra if extra and len(self.extra) else self.train

    @property
    def titles(self) -> tuple[str, ...]:
        """Class titles, in label order."""
        return tuple(label.title for label in self.tree.labels)


class Part(Protocol):
    """A fitted piece of a model."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> tuple[np.ndarray, np.ndarray | None]:
        """float32 [n, K] whose rows sum to 1, and which texts it answers at all (None = every one)."""
        ...


@dataclass(frozen=True)
class Piece:
    """A member of a Pack, asked as the Pack asks it."""

    member: Member
    tree: Tree
    trunk: str = ""  # name of the trunk whose vectors it needs

    @cached_property
    def _engine(self) -> Any:
        m = self.member
        return MEMBERS[m.type](m.settings, m.arrays, m.tables, Spot(self.tree, m.type))

    def answer(self, texts: Sequence[str], vectors: Vectors) -> tuple[np.ndarray, np.ndarray | None]:
        """See :class:`Part`."""
        batch = Batch([normalise(t) for t in texts], lambda asked: vectors(self.trunk, asked))
        found: tuple[np.ndarray, np.ndarray | None] = self._engine.probabilities(batch)
        return found

    def set(self, **settings: Any) -> Piece:
        """A copy with other settings, such as another k."""
        return replace(self, member=replace(self.member, settings={**self.member.settings, **settings}))


# ---- parts that are not trained by gradient steps -------------------------------------------------------------------
def prior(fold: Fold) -> Piece:
    """Class frequencies of train; the first answer is the majority class."""
    p = np.bincount(fold.train.classes, minlength=len(fold.tree)) / len(fold.train)
    return Piece(Member("prior", arrays={"p": p.astype(np.float32)}), fold.tree)


def exact(fold: Fold, extra: bool = False) -> Piece:
    """Normalised coded text -> its codes (NIOCCS looks there first); passes on texts that it lacks."""
    rows, table = fold.rows(extra), dict[str, set[str]]()
    for text, gold in zip(rows.texts, rows.gold):
        table.setdefault(exact_key(text), set()).update(fold.tree.codes[i] for i in np.flatnonzero(gold))
    return Piece(Member("exact", tables={"table": {k: sorted(v) for k, v in sorted(table.items())}}), fold.tree)


def titles(fold: Fold, trunk: str, scale: float = 20.0) -> Piece:
    """softmax(scale * cos(text, class title)): the paper's phase 1, and a score for classes that train never shows."""
    vectors = unit(fold.vectors(trunk, [normalise(t) for t in fold.titles]))
    return Piece(Member("trunk-titles", {"scale": scale}, {"vectors": vectors}), fold.tree, trunk)


def knn(fold: Fold, trunk: str, extra: bool = False, k: int = 100, tau: float = 0.01) -> Piece:
    """p(c) in proportion to the sum over the k nearest coded texts of class c of exp(cos / tau).

    k = 100 with tau = 0.01 is 1-NN whose runners-up are ranked by their nearest example.
    """
    rows = fold.rows(extra)
    arrays = {"vectors": unit(fold.vectors(trunk, rows.texts)), "labels": rows.classes}
    return Piece(Member("trunk-knn", {"k": k, "tau": tau}, arrays), fold.tree, trunk)
