"""The tree of classes, groups, divisions and sections: probabilities summed upward, and the level to decide on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from pydantic import Field

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record

LEVELS = ("class", "group", "division", "section")  # from the deepest up
UPPER = LEVELS[1:]


class Label(Record):
    """A class and the nodes above it; an empty name where the scheme has no such level."""

    code: str = Field(min_length=1)
    title: str
    group: str = ""
    division: str = ""
    section: str = ""


class LabelsFile(Record):
    """``labels.json``: the classes in the order of every ``[K]`` array, and the titles of the nodes above them."""

    scheme: str = ""  # 'ISIC Rev.4'
    labels: tuple[Label, ...] = Field(min_length=2)
    titles: dict[str, dict[str, str]] = {}  # level -> code -> title


@dataclass(frozen=True)
class Node:
    """A decided node of the tree; ``level`` is 'review' when none was probable enough."""

    level: str
    code: str | None
    title: str | None
    p: float


class Tree:
    """Labels with their levels. Raises HedgerowError for repeated codes and for a node that lies in two parents."""

    def __init__(self, file: LabelsFile, where: str = "labels.json") -> None:
        self.scheme = file.scheme
        self.labels = file.labels
        self.codes = tuple(label.code for label in file.labels)
        self.index = {code: i for i, code in enumerate(self.codes)}
        if len(self.index) != len(self.codes):
            twice = next(c for c in self.codes if self.codes.count(c) > 1)
            raise HedgerowError(f"{where}: the class '{twice}' is listed twice")
        unknown = sorted(set(file.titles) - set(UPPER))
        if unknown:
            raise HedgerowError(f"{where}: titles: no level is called '{unknown[0]}'{did_you_mean(unknown[0], UPPER)}")
        self._titles = file.titles
        self._check_parents(where)

    def __len__(self) -> int:
        return len(self.codes)

    def _check_parents(self, where: str) -> None:
        for low, high in pairwise(UPPER):
            parent: dict[str, str] = {}
            for label in self.labels:
                child, above = getattr(label, low), getattr(label, high)
                if child and parent.setdefault(child, above) != above:
                    raise HedgerowError(
                        f"{where}: the {low} '{child}' lies in two {high}s, {parent[child]} and {above}"
                    )

    @cached_property
    def nodes(self) -> dict[str, tuple[str, ...]]:
        """Codes of each level that the scheme has, sorted; classes in label order."""
        found = {level: tuple(sorted({getattr(x, level) for x in self.labels} - {""})) for level in UPPER}
        return {"class": self.codes, **{level: codes for level, codes in found.items() if codes}}

    @cached_property
    def _members(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """level -> (labels ordered by node, where each node starts), for ``np.add.reduceat``."""
        out = {}
        for level, codes in self.nodes.items():
            if level != "class":
                number = {code: i for i, code in enumerate(codes)}
                of = np.array([number.get(getattr(x, level), -1) for x in self.labels])
                order = np.argsort(of, kind="stable")[np.count_nonzero(of < 0) :]
                out[level] = (order, np.searchsorted(of[order], np.arange(len(codes))))
        return out

    def title(self, level: str, code: str) -> str:
        """The title of a node, '' where none is stored."""
        if level == "class":
            return self.labels[self.index[code]].title
        return self._titles.get(level, {}).get(code, "")

    def find(self, code: str, where: str) -> int:
        """Position of a class; HedgerowError with a near code otherwise."""
        if code not in self.index:
            raise HedgerowError(f"{where}: no class is called '{code}'{_near(code, self.codes)}")
        return self.index[code]

    def sums(self, p: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities [n, nodes] of every level from class probabilities [n, K], in the order of :attr:`nodes`."""
        out = {"class": p}
        for level, (order, starts) in self._members.items():
            out[level] = np.add.reduceat(p[:, order], starts, axis=1)
        return out

    def decide(self, p: np.ndarray, threshold: float) -> list[Node]:
        """For each row the deepest level whose best node has a summed probability >= ``threshold``, else 'review'.

        A 'review' carries no code, and the probability of the best class.
        """
        done = np.zeros(len(p), bool)
        best_class = p.max(1)
        out = [Node("review", None, None, float(x)) for x in best_class]
        for level, sums in self.sums(p).items():
            best = sums.argmax(1)
            value = np.take_along_axis(sums, best[:, None], 1)[:, 0]
            for i in np.flatnonzero(~done & (value >= threshold)):
                code = self.nodes[level][best[i]]
                out[i] = Node(level, code, self.title(level, code), min(1.0, float(value[i])))
                done[i] = True
        return out


def _near(code: str, codes: Sequence[str]) -> str:
    return did_you_mean(code, codes) if len(codes) <= 20 else _short(did_you_mean(code, codes), len(codes))


def _short(hint: str, n: int) -> str:
    """A list of hundreds of codes is no suggestion."""
    return hint if hint.startswith(" (did") else f" (the Pack has {n} classes; see labels.json)"


def tree_of(labels: Sequence[Label], titles: Mapping[str, Mapping[str, str]] | None = None, scheme: str = "") -> Tree:
    """A :class:`Tree` from labels in memory."""
    return Tree(LabelsFile(scheme=scheme, labels=tuple(labels), titles={k: dict(v) for k, v in (titles or {}).items()}))
