"""One bench for all recommenders that are compared: the same records left out, the same ties, another rule each.

Records are few, so the likenesses of all wastes and all donors are held as matrices; IDF weights are those of all
wordings (no receiver is looked at). Whatever a question's donor, waste or country is left out by is left out of every
rule's records, popularity included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.data import schemes
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.hierarchy import Label, LabelsFile, Tree
from hedgerow.kinds.recommender_index import WasteIndex, Wording
from hedgerow.kinds.recommender_match import Nearness
from hedgerow.records import plain_waste
from hedgerow.systems.isic.waste_seeds import Row

BETAS = (1.0, 0.6, 0.3, 0.1, 0.02)
CASES = 10  # of the case-based hybrid
_LIKE = 0.5  # likeness of wastes from which an association rule counts them as the same item


@dataclass(frozen=True)
class Question:
    """A donor with one of its wastes, and the classes that took it."""

    donor: str
    waste: str  # plain wording
    waste_text: str
    isic: tuple[str, ...]
    code: str  # the national code as it stands, 'NACE2 24.42'
    country: str
    gold: frozenset[str]


@dataclass(frozen=True)
class Setting:
    """What is tuned on dev, and the seed of whatever draws."""

    a: float = 0.5
    betas: tuple[float, float, float, float, float] = BETAS
    seed: int = 0


def questions(rows: Sequence[Row]) -> list[Question]:
    """One question for each donor and waste, in order of appearance."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row[0].donor_text, plain_waste(row[0].waste_text)), []).append(row)
    out = []
    for (donor, waste), group in found.items():
        x, coding, _ = group[0]
        gold = frozenset(c for _, _, r in group for c, _ in r.isic)
        code = f"{x.donor_scheme} {';'.join(x.donor_codes)}".strip()
        out.append(Question(donor, waste, x.waste_text, tuple(c for c, _ in coding.isic), code, x.country, gold))
    return out


def isic_tree() -> Tree:
    """The 419 classes of ISIC Rev.4."""
    return Tree(LabelsFile(scheme="ISIC Rev.4", labels=tuple(Label(**label) for label in schemes.isic_labels())))


class Bench:
    """Records with everything that the rules compare, numbered once."""

    def __init__(self, rows: Sequence[Row], predicted: Mapping[str, np.ndarray] | None = None) -> None:
        """``predicted``: class probabilities [K] of donor texts by a classifier, for the arm that uses them."""
        self.rows = [r for r in rows if r[2].isic]
        if not self.rows:
            raise HedgerowError("no record has a receiver class: there is nothing to compare")
        self.tree = isic_tree()
        wastes = list(dict.fromkeys(plain_waste(r[0].waste_text) for r in self.rows))
        donors = list(dict.fromkeys(r[0].donor_text for r in self.rows))
        self.waste_of = {w: i for i, w in enumerate(wastes)}
        self.donor_of = {d: i for i, d in enumerate(donors)}
        self.waste: np.ndarray = np.array([self.waste_of[plain_waste(r[0].waste_text)] for r in self.rows])
        self.donor: np.ndarray = np.array([self.donor_of[r[0].donor_text] for r in self.rows])
        self.country: np.ndarray = np.array([r[0].country for r in self.rows])
        self.code: np.ndarray = np.array(
            [f"{r[0].donor_scheme} {';'.join(r[0].donor_codes)}".strip() for r in self.rows]
        )
        self.waste_like, self._wastes = _likeness(wastes)
        self.donor_like, self._donors = _likeness(donors)
        self.gold: np.ndarray = np.stack([self._shares([(c, s) for c, s in r[1].isic]) for r in self.rows])  # [n, K]
        self._gold = np.unique(self.gold, axis=0, return_inverse=True)
        self.predicted = dict(predicted or {})
        self._guess = None
        if predicted is not None:
            guess = np.stack([predicted[r[0].donor_text] for r in self.rows])
            self._guess = np.unique(guess, axis=0, return_inverse=True)
        self.pairs = [(i, self.tree.index[c]) for i, r in enumerate(self.rows) for c, _ in r[2].isic]
        self.record, self.receiver = (np.array(column) for column in zip(*self.pairs))
        self._near: dict[tuple[float, ...], Nearness] = {}

    def _shares(self, shares: Sequence[tuple[str, float]]) -> np.ndarray:
        out = np.zeros(len(self.tree))
        for code, share in shares:
            out[self.tree.index[code]] = share
        return out

    def near(self, betas: tuple[float, ...]) -> np.ndarray:
        """g [K, K]."""
        if betas not in self._near:
            self._near[betas] = Nearness(self.tree, betas)
        return self._near[betas].g

    # --- ranking -----------------------------------------------------------------------------------------------------
    def kept(self, q: Question, leave: str) -> np.ndarray:
        """Which records may be used [n]: not those of the question's donor, waste or country."""
        if leave == "donor":
            return np.asarray(self.donor != self.donor_of.get(q.donor, -1))
        if leave == "waste":
            return np.asarray(self.waste != self.waste_of.get(q.waste, -1))
        if leave == "country":
            return np.asarray(self.country != q.country)
        raise HedgerowError(f"nothing is left out by '{leave}'{did_you_mean(leave, LEAVE)}")

    def rank(self, q: Question, rule: str, setting: Setting, leave: str) -> list[str]:
        """Receiver classes by a rule, best first; of equal ones the one with more records, then by code."""
        kept = self.kept(q, leave)
        scores = RULES[rule](self, q, setting, kept) * kept  # [n]
        use = kept[self.record]
        best, count = np.zeros(len(self.tree)), np.zeros(len(self.tree))
        np.add.at(count, self.receiver[use], 1)
        if rule in SUMMED:
            np.add.at(best, self.receiver[use], scores[self.record[use]])
        else:
            np.maximum.at(best, self.receiver[use], scores[self.record[use]])
        if rule == "random":
            draw = f"{setting.seed}/{q.donor}/{q.waste}".encode("utf-8", "surrogatepass")
            seed = int(hashlib.sha256(draw).hexdigest()[:12], 16)
            best, count = np.random.default_rng(seed).random(len(best)), (count > 0).astype(float)
        found = np.flatnonzero(count)
        order = found[np.lexsort((found, -np.log1p(count[found]), -best[found]))]
        return [self.tree.codes[i] for i in order]

    def waste_row(self, q: Question) -> np.ndarray:
        """Likeness of the question's waste with every record's [n]."""
        at = self.waste_of.get(q.waste)
        row = self.waste_like[at] if at is not None else np.clip(self._wastes.cosines(q.waste), 0, 1)
        return np.asarray(row[self.waste], np.float64)

    def donor_row(self, q: Question) -> np.ndarray:
        """Likeness of the question's donor text with every record's [n]."""
        at = self.donor_of.get(q.donor)
        row = self.donor_like[at] if at is not None else np.clip(self._donors.cosines(q.donor), 0, 1)
        return np.asarray(row[self.donor], np.float64)

    def class_match(self, p: np.ndarray, betas: tuple[float, ...], *, predicted: bool) -> np.ndarray:
        """G [n] of class probabilities p [K] against the records' donors; unknown gives the least beta.

        ``predicted``: against what the classifier makes of the records' donors, too. HedgerowError without one.
        """
        if predicted and self._guess is None:
            raise HedgerowError("this arm needs a classifier's predictions")
        rows, at = self._guess if predicted and self._guess is not None else self._gold
        total = rows.sum(1)
        asked = np.flatnonzero(p)
        per_class = p[asked] @ self.near(betas)[asked] / max(float(p.sum()), 1e-12)
        found = np.where((total > 0) & (len(asked) > 0), rows @ per_class / np.maximum(total, 1e-12), betas[-1])
        return np.asarray(found[np.ravel(at)], np.float64)


def _likeness(texts: Sequence[str]) -> tuple[np.ndarray, WasteIndex]:
    index = WasteIndex([Wording(t) for t in texts])
    return np.clip(np.stack([index.cosines(t) for t in texts]), 0, 1), index


# --- rules: score of every record [n] --------------------------------------------------------------------------------
def _ones(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    return np.ones(len(bench.rows))


def _popular_given_waste(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    """Records of the very waste, or, where none is left, of the most similar one."""
    w = bench.waste_row(q) * kept
    return np.asarray((w >= w.max() - 1e-9).astype(float) + 1e-3)


def _rules(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    """Association rules (donor class, waste -> receiver): support of both, then of one of the two; unseen wastes by
    their nearest. The confidence of a rule is its receivers' share, so summing records ranks by it."""
    mine = (
        (bench.gold[:, [bench.tree.index[c] for c in q.isic]].sum(1) > 0) if q.isic else np.zeros(len(bench.rows), bool)
    )
    same = bench.waste_row(q) >= _LIKE
    both = mine & same & kept
    return np.asarray(both * 1e3 + (same & kept) * 1.0 + (mine & kept) * 1e-1 + 1e-4)


def _waste_only(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    return bench.waste_row(q)


def _codes_only(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    """Records of a donor of the same class, without back-off and whatever the waste."""
    return _same_class(bench, q) + 1e-4


def _same_class(bench: Bench, q: Question) -> np.ndarray:
    """Records [n] whose donor shares a class with the question's."""
    found: np.ndarray = bench.gold[:, [bench.tree.index[c] for c in q.isic]].sum(1) > 0
    return found


def _hybrid(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
    """Case-based: the nearest cases by donor text and waste text together vote with their likeness."""
    like = (bench.waste_row(q) + bench.donor_row(q)) / 2 * kept
    least = np.sort(like)[-min(CASES, len(like))]
    return np.where(like >= max(least, 1e-12), like, 0) + 1e-6


def _ours(arm: str) -> Callable[[Bench, Question, Setting, np.ndarray], np.ndarray]:
    """G^a w^(1-a); where G comes from is the arm."""

    def rule(bench: Bench, q: Question, s: Setting, kept: np.ndarray) -> np.ndarray:
        w = bench.waste_row(q)
        if arm == "text":
            g = np.maximum(bench.donor_row(q), s.betas[-1])
        elif arm == "national":
            g = np.where((bench.code == q.code) & (q.code != ""), 1.0, s.betas[-1])
        elif arm == "predicted":
            g = bench.class_match(bench.predicted.get(q.donor, np.zeros(len(bench.tree))), s.betas, predicted=True)
        else:
            p = bench._shares([(c, 1 / len(q.isic)) for c in q.isic])
            g = bench.class_match(p, s.betas, predicted=False)
        return np.asarray(np.where(w > 0, g**s.a * w ** (1 - s.a), 0) + 1e-9 * g)

    return rule


LEAVE = ("donor", "waste", "country")
SUMMED = ("popularity", "popularity given waste", "association rules", "codes only", "case-based hybrid")
PEERS = (
    "random", "popularity", "popularity given waste", "association rules", "waste text only", "codes only",
    "case-based hybrid",
)  # fmt: skip
ARMS = {
    "ours, raw text": "text",
    "ours, national codes": "national",
    "ours, predicted ISIC": "predicted",
    "ours": "gold",
}
NO_CODES = ("random", "popularity", "popularity given waste", "waste text only", "case-based hybrid")
RULES: dict[str, Any] = {
    "random": _ones,
    "popularity": _ones,
    "popularity given waste": _popular_given_waste,
    "association rules": _rules,
    "waste text only": _waste_only,
    "codes only": _codes_only,
    "case-based hybrid": _hybrid,
    **{name: _ours(arm) for name, arm in ARMS.items()},
}
