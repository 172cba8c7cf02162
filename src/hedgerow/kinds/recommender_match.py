"""Ranking takers: how near two industry classes are, and which receivers the records speak for. Pure functions.

Notation of the system's notes, §2.5: p_j of the donor's classes c_j, back-off g(c, r), G(r) = sum_j p_j g(c_j, r),
w(r) the similarity of the wastes, score(r) = G(r)^a w(r)^(1-a).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.kinds.hierarchy import Tree

LEVELS = ("class", "group", "division", "section", "other")  # of a match, from the nearest on; 'unknown': no donor code
WORDS = {
    "class": "same class",
    "group": "same group, other class",
    "division": "same division, other group",
    "section": "same section, other division",
    "other": "other section",
    "unknown": "a donor class is unknown",
}


class Nearness:
    """g(c, d) for every pair of a tree's classes: ``betas`` of the deepest level that both share."""

    def __init__(self, tree: Tree, betas: Sequence[float]) -> None:
        if len(betas) != len(LEVELS):
            raise ValueError("one beta a level")
        names = [[x.code for x in tree.labels], *([getattr(x, up) for x in tree.labels] for up in LEVELS[1:4])]
        depth = np.full((len(tree), len(tree)), len(LEVELS) - 1, np.int8)
        for level in range(3, -1, -1):
            at = np.array(_numbered(names[level]))
            depth[(at[:, None] == at[None]) & (at >= 0)[:, None]] = level
        self.depth = depth  # [K, K] number of the level in LEVELS
        self.g = np.asarray(betas, np.float64)[depth]  # [K, K]
        self.least = float(betas[-1])


def _numbered(names: Sequence[str]) -> list[int]:
    """Equal names get equal numbers; -1 where the scheme has no such level."""
    known = {name: i for i, name in enumerate(sorted(set(names) - {""}))}
    return [known.get(name, -1) for name in names]


@dataclass(frozen=True)
class Donors:
    """Distinct donors of records as shares over classes, sparse: entry i gives donor ``row[i]`` class ``cls[i]``."""

    row: np.ndarray  # int64 [m], rising
    cls: np.ndarray  # int64 [m]
    share: np.ndarray  # float64 [m]; those of a donor sum to 1
    size: int  # D; a donor without an entry is unknown


@dataclass(frozen=True)
class Links:
    """What the records say, summed up: arrays [L], one entry for each (waste, donor classes, receiver class, route).

    ``donor`` numbers ``donors``.
    """

    waste: np.ndarray  # int32, number in the waste index
    donor: np.ndarray  # int32, row of `donors`
    receiver: np.ndarray  # int32, class
    share: np.ndarray  # float32, of the receiver's class among all that its code stands for, the largest = 1
    recovery: np.ndarray  # bool, false: landfill, incineration, collection and disposal
    size: np.ndarray  # int32, records behind it
    example: np.ndarray  # int64, one of them
    donors: Donors

    def __len__(self) -> int:
        return len(self.waste)

    def some(self, which: np.ndarray) -> Links:
        """Those entries only (mask or numbers)."""
        return Links(
            self.waste[which], self.donor[which], self.receiver[which], self.share[which], self.recovery[which],
            self.size[which], self.example[which], self.donors,
        )  # fmt: skip


def donor_match(p: np.ndarray, donors: Donors, near: Nearness) -> tuple[np.ndarray, np.ndarray]:
    """(G [D], level number [D]; len(LEVELS) = unknown) of a donor with class probabilities p [K] against D donors.

    Without any donor class on either side nothing is known: G is the least beta.
    """
    known = np.bincount(donors.row, minlength=donors.size) > 0
    asked = np.flatnonzero(p)
    unknown = len(LEVELS)
    if not len(asked) or not known.any():
        return np.full(donors.size, near.least), np.full(donors.size, unknown)
    total = p[asked].sum()
    per_class = p[asked] @ near.g[asked] / total  # [K], the donor against every class
    sums = np.bincount(donors.row, weights=donors.share * per_class[donors.cls], minlength=donors.size)
    best = p[asked][:, None] * near.g[asked]  # [j, K]
    depth_of = near.depth[asked[best.argmax(0)], np.arange(len(p))]  # [K] level of the pair that gives most
    order = np.lexsort((best.max(0)[donors.cls], donors.row))  # the last entry of each donor is the one that counts
    levels = np.full(donors.size, unknown)
    levels[donors.row[order]] = depth_of[donors.cls[order]]
    return np.where(known, sums, near.least), levels


@dataclass(frozen=True)
class Ranked:
    """Receivers from the best on, and for each the links that speak for it, best first."""

    receivers: np.ndarray  # int [R]
    scores: np.ndarray  # float64 [R]
    recovery: np.ndarray  # bool [R]
    sizes: np.ndarray  # int [R] records behind it
    links: list[np.ndarray]  # of the first ones, numbers into Links


def link_scores(links: Links, g: np.ndarray, w: np.ndarray, a: float) -> np.ndarray:
    """score(r) [L]: ``g`` [D] of the donors, ``w`` [W] of the wastes."""
    s = np.power(g, a)[links.donor] * np.power(np.clip(w, 0, 1), 1 - a)[links.waste] * links.share
    out: np.ndarray = np.where(w[links.waste] > 0, s, 0.0)
    return out


def rank(links: Links, scores: np.ndarray, classes: int, disposal: str = "last", explain: int = 10) -> Ranked:
    """Receivers by their best link, ties by log(1 + records) and then by class.

    ``disposal``: 'last' puts receivers for which only disposal speaks behind all others, 'mixed' does not, 'never'
    leaves links to disposal out. Links are listed for the first ``explain`` receivers only.
    """
    alive = np.flatnonzero((scores > 0) & (links.recovery | (disposal != "never")))
    best, kept, total = np.zeros((2, classes)), np.zeros((2, classes), bool), np.zeros(classes)
    side = links.recovery[alive].astype(int)
    np.maximum.at(best, (side, links.receiver[alive]), scores[alive])
    kept[side, links.receiver[alive]] = True
    np.add.at(total, links.receiver[alive], links.size[alive])
    # a receiver with a recovery link is judged by that one, unless everything is mixed
    recovers = kept[1]
    value = np.maximum(best[0], best[1]) if disposal == "mixed" else np.where(recovers, best[1], best[0])
    found = np.flatnonzero(kept.any(0))
    first = np.zeros(classes, bool) if disposal == "mixed" else ~recovers
    order = found[np.lexsort((found, -np.log1p(total[found]), -value[found], first[found]))]
    speaking = []
    for r in order[:explain]:
        own = alive[links.receiver[alive] == r]
        speaking.append(own[np.lexsort((own, -scores[own], ~links.recovery[own]))])
    return Ranked(order, value[order], recovers[order], total[order].astype(int), speaking)
