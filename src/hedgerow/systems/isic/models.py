"""The peers, all in one shape: fitted on train, tuned on dev, asked for probabilities [n, K].

A model is a few **parts** with weights and one temperature. A part is a member of a text-classifier Pack, asked through
the very code that a device runs, so what the table scores is what a Pack answers. Tuned numbers (temperature, k, tau,
weights) come from dev alone; nothing here sees test before it is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any, Protocol

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_features import Block, TfidfSettings, exact_key, normalise
from hedgerow.kinds.text_members import MEMBERS, Batch, Member, Spot
from hedgerow.kinds.text_search import largest, unit

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


# ---- linear models --------------------------------------------------------------------------------------------------
BLOCKS = TfidfSettings(
    blocks=(
        Block(name="word", analyser="word", ngrams=(1, 2)),
        Block(name="char", analyser="char_wb", ngrams=(3, 5)),
    )
)


class Vectoriser:
    """scikit-learn's two ``TfidfVectorizer`` side by side, each row of each of length 1 (isic.md §2.4)."""

    def __init__(self, texts: Sequence[str], words: int, characters: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        sizes = {"word": words, "char": characters}
        self._parts = [
            TfidfVectorizer(
                analyzer=block.analyser, ngram_range=block.ngrams, max_features=sizes[block.name], sublinear_tf=True,
                min_df=2 if block.name == "char" and len(texts) > 100 else 1,
            ).fit(texts)
            for block in BLOCKS.blocks
        ]  # fmt: skip

    def __call__(self, texts: Sequence[str]) -> Any:
        """Sparse float32 [n, F]."""
        from scipy.sparse import hstack

        return hstack([part.transform(texts) for part in self._parts]).tocsr().astype(np.float32)

    @property
    def idf(self) -> np.ndarray:
        """float32 [F]."""
        return np.concatenate([part.idf_ for part in self._parts]).astype(np.float32)

    @property
    def tables(self) -> dict[str, list[str]]:
        """Terms of each block in column order."""
        return {b.name: part.get_feature_names_out().tolist() for b, part in zip(BLOCKS.blocks, self._parts)}


def tfidf(
    fold: Fold, seed: int, extra: bool = False, *, words: int = 12000, characters: int = 15000, strength: float = 30.0,
    passes: int = 20,
) -> Piece:  # fmt: skip
    """Multinomial logistic regression on TF-IDF rows.

    ``strength`` is scikit-learn's C. saga in ``passes`` over train, since 20 reach the accuracy of lbfgs in a tenth of
    its time.
    """
    rows = fold.rows(extra)
    texts = [normalise(t) for t in rows.texts]
    vectoriser = Vectoriser(texts, words, characters)
    coef, intercept, classes = _regression(vectoriser(texts), rows.classes, strength, seed, passes)
    arrays = {"idf": vectoriser.idf, "coef": coef, "intercept": intercept, "classes": classes}
    return Piece(Member("tfidf-linear", BLOCKS.model_dump(), arrays, vectoriser.tables), fold.tree)


def head(fold: Fold, trunk: str, seed: int, extra: bool = False, *, strength: float = 30.0, passes: int = 100) -> Piece:
    """Multinomial logistic regression on a trunk's vectors of length 1, centred and scaled (lbfgs).

    The scale is one number, the root mean square distance from the mean: so ``strength`` means the same for a trunk
    whose vectors fill the sphere (MiniLM) and for one whose vectors huddle in a corner of it (language models, e5).
    """
    rows = fold.rows(extra)
    x = unit(fold.vectors(trunk, rows.texts))
    mean = x.mean(0)
    scale = np.full_like(mean, np.sqrt(((x - mean) ** 2).sum(1).mean()) or 1.0)
    weight, bias, classes = _regression((x - mean) / scale, rows.classes, strength, seed, passes)
    arrays = {"W": weight, "b": bias, "mean": mean, "scale": scale, "classes": classes}
    return Piece(Member("trunk-linear", {"unit": True}, arrays), fold.tree, trunk)


def _regression(
    x: Any, classes: np.ndarray, strength: float, seed: int, passes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [C, F], intercept [C] and label numbers [C] of the C classes that train shows."""
    import warnings

    from scipy.sparse import issparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(classes)) < 2:
        raise HedgerowError("a classifier needs training texts of two classes at least; these all have one")
    solver = "saga" if issparse(x) else "lbfgs"
    model = LogisticRegression(C=strength, solver=solver, max_iter=passes, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped by its number of passes on purpose
        model.fit(x, classes)
    coef, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes, with which z = (0, row)
        coef, intercept = np.concatenate([0 * coef, coef]), np.concatenate([0 * intercept, intercept])
    return coef.astype(np.float32), intercept.astype(np.float32), model.classes_.astype(np.int64)


@dataclass(frozen=True)
class TfidfNearest:
    """1-NN by the mean of the two blocks' TF-IDF cosines: a peer of the table, not a member of any Pack."""

    vectoriser: Vectoriser
    rows: Any  # sparse [m, F]
    classes: np.ndarray
    labels: int

    def answer(self, texts: Sequence[str], vectors: Vectors) -> tuple[np.ndarray, None]:
        """As :func:`knn` with k = 100, tau = 0.01."""
        cosine = (self.vectoriser([normalise(t) for t in texts]) @ self.rows.T).toarray() / len(BLOCKS.blocks)
        near, value = largest(cosine, 100)
        out = np.zeros((len(texts), self.labels), np.float32)
        np.add.at(out, (np.arange(len(texts))[:, None], self.classes[near]), np.exp((value - value[:, :1]) / 0.01))
        return out / out.sum(1, keepdims=True), None


def tfidf_nearest(fold: Fold, extra: bool = False, words: int = 12000, characters: int = 15000) -> TfidfNearest:
    """Nothing is fitted but the idf."""
    rows = fold.rows(extra)
    texts = [normalise(t) for t in rows.texts]
    vectoriser = Vectoriser(texts, words, characters)
    return TfidfNearest(vectoriser, vectoriser(texts), rows.classes, len(fold.tree))


# ---- whole models ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Model:
    """Parts, how they are combined, and one temperature: what is saved as a Pack and what the table scores."""

    parts: tuple[Part, ...]
    weights: tuple[float, ...]
    rule: str = "mean"  # 'mean' of probabilities, or 'first': the first part that answers at all
    temperature: float = 1.0
    tuned: Mapping[str, Any] = field(default_factory=dict)  # what dev chose, for the record

    def proba(self, texts: Sequence[str], vectors: Vectors) -> np.ndarray:
        """float32 [n, K]: softmax(log(mixture) / temperature)."""
        each = [part.answer(texts, vectors) for part in self.parts]
        return sharpen(combine(each, self.weights, self.rule), self.temperature)


def combine(
    each: Sequence[tuple[np.ndarray, np.ndarray | None]], weights: Sequence[float], rule: str = "mean"
) -> np.ndarray:
    """Mixture [n, K] of the parts' probabilities."""
    if rule == "mean":
        total = sum(weights)
        return np.asarray(sum(np.float32(w / total) * p for w, (p, _) in zip(weights, each)), np.float32)
    out = each[-1][0].copy()
    for p, hit in reversed(each[:-1]):
        out[hit] = p[hit]
    return out


def sharpen(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(p) / temperature): above 1 it takes confidence back, below 1 it adds some; the order stays."""
    z = np.log(np.maximum(p, 1e-12)) / temperature
    z = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(z / z.sum(1, keepdims=True), np.float32)


def fit_temperature(p: np.ndarray, gold: np.ndarray, weight: np.ndarray) -> float:
    """The temperature in 0.2..5 under which the acceptable classes of dev are most likely."""

    def loss(t: float) -> float:
        return float(-weight @ np.log(np.maximum((sharpen(p, t) * gold).sum(1), 1e-12)))

    return float(min(np.geomspace(0.2, 5.0, 65), key=loss)) if len(p) else 1.0


def calibrated(model: Model, fold: Fold) -> Model:
    """The model with its temperature from dev, and the confidences at which dev is right 90 and 95 times in 100."""
    p = replace(model, temperature=1.0).proba(fold.dev.texts, fold.vectors)
    temperature = fit_temperature(p, fold.dev.gold, fold.dev_weight)
    thresholds = {
        f"{t:.2f}": threshold(sharpen(p, temperature), fold.dev.gold, t, fold.dev_weight) for t in (0.90, 0.95)
    }
    return replace(model, temperature=temperature, tuned={**model.tuned, "thresholds": thresholds})


def threshold(p: np.ndarray, gold: np.ndarray, precision: float, weight: np.ndarray) -> float:
    """The lowest confidence above which answers reach ``precision``; 1 where none does."""
    if not len(p):
        return 1.0
    confidence, hit = p.max(1), np.take_along_axis(gold, ranked(p, 1), 1)[:, 0]
    order = np.argsort(-confidence, kind="stable")
    right, all_ = np.cumsum((weight * hit)[order]), np.cumsum(weight[order])
    last = np.append(np.diff(confidence[order]) != 0, True)  # equal confidences are answered together
    reached = np.flatnonzero(last & (right >= precision * all_ - 1e-6))
    return min(1.0, float(confidence[order][reached[-1]])) if len(reached) else 1.0


def same_mix(like: Model, parts: Sequence[Piece]) -> Model:
    """Fresh parts in the mixture, with the settings, temperature and thresholds that ``like`` was given by dev."""
    fresh = {part.member.type: part for part in parts}
    old = [part for part in like.parts if isinstance(part, Piece)]
    made = tuple(fresh[p.member.type].set(**p.member.settings) for p in old)
    return replace(like, parts=made)


def single(part: Part, fold: Fold) -> Model:
    """One part alone."""
    return calibrated(Model((part,), (1.0,)), fold)


def first(parts: Sequence[Part], fold: Fold) -> Model:
    """The first part that answers."""
    return calibrated(Model(tuple(parts), (1.0,) * len(parts), "first"), fold)


def simplex(parts: int, step: float = 0.2) -> Iterable[tuple[float, ...]]:
    """All weightings in steps of ``step`` that sum to one."""
    n = round(1 / step)
    return (tuple(s / n for s in shares) for shares in product(range(n + 1), repeat=parts) if sum(shares) == n)


KNN_GRID = tuple(product((5, 20, 60), (0.02, 0.05, 0.1)))  # (k, tau)


def is_knn(part: Part) -> bool:
    """Whether k and tau are to be tuned."""
    return isinstance(part, Piece) and part.member.type == "trunk-knn"


def mix(parts: Sequence[Part], fold: Fold, step: float = 0.2) -> Model:
    """The weights, k and tau of the mixture that rank dev's acceptable classes best (mean reciprocal rank).

    A weight of zero drops a part; the plain mean of both regressions is about one of the choices.
    """
    texts, gold = fold.dev.texts, fold.dev.gold
    fixed = {i: part.answer(texts, fold.vectors) for i, part in enumerate(parts) if not is_knn(part)}
    best: tuple[float, tuple[float, ...], tuple[int, float], list[Part]] | None = None
    for k, tau in KNN_GRID if len(fixed) < len(parts) else ((0, 0.0),):
        tuned = [part.set(k=k, tau=tau) if isinstance(part, Piece) and is_knn(part) else part for part in parts]
        each = [fixed[i] if i in fixed else part.answer(texts, fold.vectors) for i, part in enumerate(tuned)]
        for weights in simplex(len(parts), step):
            score = reciprocal_rank(combine(each, weights), gold, fold.dev_weight)
            if best is None or score > best[0]:
                best = score, weights, (k, tau), tuned
    assert best is not None
    score, weights, (k, tau), tuned = best
    kept = [(part, w) for part, w in zip(tuned, weights) if w > 0]
    record = {"weights": list(weights), "k": k, "tau": tau, "dev_mrr": round(score, 4)}
    return calibrated(Model(tuple(p for p, _ in kept), tuple(w for _, w in kept), tuned=record), fold)


def reciprocal_rank(p: np.ndarray, gold: np.ndarray, weight: np.ndarray) -> float:
    """Mean of 1 / rank of the best acceptable class: smoother than accuracy where dev is small.

    Equal probabilities share the middle of their ranks: else a model that gives most classes exactly nothing, as a few
    neighbours do, would rank all of them right behind those few.
    """
    best = np.where(gold, p, -1).max(1, keepdims=True)
    above, equal = (p > best).sum(1), (p == best).sum(1)
    return float(weight @ (1 / (1 + above + (equal - 1) / 2)) / weight.sum())


def ranked(p: np.ndarray, k: int) -> np.ndarray:
    """int64 [n, k]: the most probable classes, best first."""
    return largest(p, k)[0]
