"""Linear parts: logistic regression on TF-IDF and on a trunk's vectors, and the nearest rows by TF-IDF beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.text_features import Block, TfidfSettings, normalise
from hedgerow.kinds.text_members import Member
from hedgerow.kinds.text_search import largest, unit
from hedgerow.systems.isic.parts import Fold, Piece, Vectors

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
