"""The members of a text classifier: each gives class probabilities for a batch, from arrays and tables of a Pack.

A member may pass on a text (``exact`` does when the text is not in its table); the combination then leaves it out.
Shapes: n texts, K classes, d trunk dimensions, F features, m stored vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_checks import floats, integers, need, terms
from hedgerow.kinds.text_features import Rows, Tfidf, TfidfSettings, exact_key
from hedgerow.kinds.text_search import Vectors, unit
from hedgerow.schema import Record, check

Arrays = Mapping[str, np.ndarray]
Tables = Mapping[str, Any]


@dataclass(frozen=True)
class Member:
    """A member on its way into a Pack; see the class of its ``type`` for settings, arrays and tables."""

    type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)


class Batch:
    """Normalised texts with what several members share: trunk vectors and TF-IDF rows, made once when first asked."""

    def __init__(self, texts: Sequence[str], encode: Callable[[list[str]], np.ndarray] | None = None) -> None:
        self.texts = list(texts)
        self._encode = encode
        self._vectors: np.ndarray | None = None
        self._unit: np.ndarray | None = None
        self._rows: dict[int, Rows] = {}

    @property
    def vectors(self) -> np.ndarray:
        """h(x) of the trunk, float32 [n, d]."""
        if self._vectors is None:
            if self._encode is None:
                raise HedgerowError("this classifier has no trunk, so its texts have no vectors")
            self._vectors = np.asarray(self._encode(self.texts), np.float32)
        return self._vectors

    @property
    def unit(self) -> np.ndarray:
        """h(x) / |h(x)|, float32 [n, d]."""
        if self._unit is None:
            self._unit = unit(self.vectors)
        return self._unit

    def rows(self, tfidf: Tfidf) -> Rows:
        """TF-IDF rows [n, F]."""
        if id(tfidf) not in self._rows:
            self._rows[id(tfidf)] = tfidf.rows(self.texts)
        return self._rows[id(tfidf)]


@dataclass(frozen=True)
class Spot:
    """Where a member stands, for its checks: the labels, the examples' vectors and labels, and the name for errors."""

    tree: Tree
    where: str
    examples: Vectors | None = None  # with a trunk
    dim: int | None = None  # of the trunk, None where it is not loaded


class MemberEngine(Protocol):
    """A loaded member."""

    passes: bool  # whether it can pass on a text

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What it holds in memory, for the count of bytes."""
        ...

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """float32 [n, K] whose rows sum to 1, and which texts it answers (bool [n]; None = all)."""
        ...

    def flops(self, nnz: float) -> float:
        """Operations for one text with ``nnz`` features, a multiply-add counted as two, without the trunk."""
        ...


# --- linear heads ----------------------------------------------------------------------------------------------------
class TfidfLinear:
    """``softmax(coef x + intercept)`` on TF-IDF rows.

    settings: :class:`TfidfSettings`. arrays: ``idf`` [F], ``coef`` [C, F], ``intercept`` [C], optional ``classes`` [C]
    (label numbers of the C rows; without it C = K). tables: per block its vocabulary, a list of terms in column order.
    """

    passes = False

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        record = check(TfidfSettings, settings, spot.where)
        need(arrays, ("idf", "coef", "intercept"), ("classes",), spot.where)
        need(tables, [b.name for b in record.blocks], (), spot.where)
        vocabularies = [terms(tables[b.name], f"{spot.where}, vocabulary '{b.name}'") for b in record.blocks]
        width = sum(map(len, vocabularies))
        idf = floats(arrays["idf"], (width,), f"{spot.where}: idf")
        if (idf < 0).any():
            raise HedgerowError(f"{spot.where}: idf holds a negative value")
        self._head = _Head(arrays["coef"], arrays["intercept"], arrays.get("classes"), width, spot)
        self.tfidf = Tfidf(record, vocabularies, idf)
        self._idf = idf

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`MemberEngine`."""
        return {"idf": self._idf, **self._head.arrays}

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, None]:
        """See :class:`MemberEngine`."""
        return self._head.spread(batch.rows(self.tfidf).times(self._head.weights) + self._head.intercept), None

    def flops(self, nnz: float) -> float:
        """Weighting and norm (6 a feature), product with C columns, softmax (5 a class)."""
        return nnz * (6 + 2 * self._head.size) + 5 * self._head.size


class NoSettings(Record):
    """A member without settings."""


class TrunkLinearSettings(Record):
    """``unit``: scale h(x) to length 1 before the feature mean and scale."""

    unit: bool = False


class TrunkLinear:
    """``softmax(W z + b)``, z = (h - mean) / scale on the trunk's vector.

    arrays: ``W`` [C, d], ``b`` [C], optional ``mean`` [d], ``scale`` [d] (positive), ``classes`` [C].
    """

    passes = False

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        self._settings = check(TrunkLinearSettings, settings, spot.where)
        need(arrays, ("W", "b"), ("mean", "scale", "classes"), spot.where)
        need(tables, (), (), spot.where)
        dim = width_of(arrays["W"], spot, "W")
        head = _Head(arrays["W"], arrays["b"], arrays.get("classes"), dim, spot)
        mean = floats(arrays.get("mean", np.zeros(dim)), (dim,), f"{spot.where}: mean")
        scale = floats(arrays.get("scale", np.ones(dim)), (dim,), f"{spot.where}: scale")
        if not (scale > 0).all():
            raise HedgerowError(f"{spot.where}: scale holds a value that is not positive")
        # (W / scale) h + (b - W mean / scale): the feature scaling costs nothing at inference
        head.weights = np.ascontiguousarray(head.weights / scale[:, None])
        head.intercept = head.intercept - mean @ head.weights
        self._head, self._dim = head, dim
        self.arrays = head.arrays

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, None]:
        """See :class:`MemberEngine`."""
        h = batch.unit if self._settings.unit else batch.vectors
        return self._head.spread(h @ self._head.weights + self._head.intercept), None

    def flops(self, nnz: float) -> float:
        """Product with C columns, softmax (5 a class)."""
        return 2.0 * self._dim * self._head.size + 5 * self._head.size


class _Head:
    """Weights [F, C] (contiguous by feature) and intercept [C] of a linear head, and where its C columns belong."""

    def __init__(
        self, coef: np.ndarray, intercept: np.ndarray, classes: np.ndarray | None, width: int, spot: Spot
    ) -> None:
        k = len(spot.tree)
        self._k = k
        self.classes = None if classes is None else integers(classes, k, f"{spot.where}: classes", distinct=True)
        self.size = k if self.classes is None else len(self.classes)
        floats(coef, (self.size, width), f"{spot.where}: coef")
        self._coef = coef
        self.intercept = floats(intercept, (self.size,), f"{spot.where}: intercept")

    @cached_property
    def weights(self) -> np.ndarray:
        """float32 [F, C]. Turned when first asked, since a Pack that is only looked at never asks."""
        turned = np.ascontiguousarray(self._coef.T).astype(np.float32, copy=False)
        del self._coef
        return turned

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "intercept": self.intercept}

    def spread(self, scores: np.ndarray) -> np.ndarray:
        """Softmax over the C columns, put into their places among the K classes."""
        p = softmax(scores)
        if self.classes is None:
            return p
        out = np.zeros((len(p), self._k), np.float32)
        out[:, self.classes] = p
        return out


# --- retrieval -------------------------------------------------------------------------------------------------------
class KnnSettings(Record):
    """``k`` neighbours, softmax temperature ``tau`` over their cosines."""

    k: int = Field(default=20, ge=1, le=10_000)
    tau: float = Field(default=0.05, gt=0)


class TrunkKnn:
    """``p_c ∝ sum over the k nearest i with label c of exp(cos(h(x), v_i) / tau)``.

    arrays: ``vectors`` [m, d], ``labels`` int [m]; or none of them, then the Pack's examples are the stored vectors.
    """

    passes = False

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        self._settings = check(KnnSettings, settings, spot.where)
        need(tables, (), (), spot.where)
        self._k = len(spot.tree)
        if arrays:
            need(arrays, ("vectors", "labels"), (), spot.where)
            dim = width_of(arrays["vectors"], spot, "vectors")
            rows = len(arrays["vectors"])
            vectors = floats(arrays["vectors"], (rows, dim), f"{spot.where}: vectors")
            labels = integers(arrays["labels"], self._k, f"{spot.where}: labels", rows)
            self.store = Vectors(vectors, labels)
            self.arrays = {"vectors": self.store.vectors}
        elif spot.examples is not None and len(spot.examples):
            self.store = spot.examples
            self.arrays = {}  # counted with the examples
        else:
            raise HedgerowError(f"{spot.where}: it has neither vectors of its own nor examples with vectors to look at")
        if not len(self.store):
            raise HedgerowError(f"{spot.where}: it holds no vectors")

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, None]:
        """See :class:`MemberEngine`."""
        found, cosines = self.store.nearest(batch.unit, self._settings.k)
        weights = np.exp((cosines - cosines[:, :1]) / self._settings.tau)
        n = len(found)
        keys = np.arange(n)[:, None] * self._k + self.store.labels[found]
        sums = np.bincount(keys.ravel(), weights=weights.ravel(), minlength=n * self._k).reshape(n, self._k)
        return (sums / sums.sum(1, keepdims=True)).astype(np.float32), None

    def flops(self, nnz: float) -> float:
        """Cosines with every stored vector, and the search for the largest."""
        m, d = self.store.vectors.shape
        return float(2 * m * d + m)


class TitleSettings(Record):
    """``scale``: what the cosine is multiplied with before the softmax."""

    scale: float = Field(default=20.0, gt=0)


class TrunkTitles:
    """``softmax(scale * cos(h(x), t_c))`` with one stored vector a class title. arrays: ``vectors`` [K, d]."""

    passes = False

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        self._settings = check(TitleSettings, settings, spot.where)
        need(arrays, ("vectors",), (), spot.where)
        need(tables, (), (), spot.where)
        shape = (len(spot.tree), width_of(arrays["vectors"], spot, "vectors"))
        self._titles = np.ascontiguousarray(unit(floats(arrays["vectors"], shape, f"{spot.where}: vectors")).T)
        self.arrays = {"titles": self._titles}

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, None]:
        """See :class:`MemberEngine`."""
        return softmax(batch.unit @ self._titles * np.float32(self._settings.scale)), None

    def flops(self, nnz: float) -> float:
        """Cosines with every title, softmax (5 a class)."""
        d, k = self._titles.shape
        return float(2 * d * k + 5 * k)


# --- tables ----------------------------------------------------------------------------------------------------------
class Exact:
    """The class of a text that stands in the table word for word (:func:`exact_key`); passes on every other text.

    tables: ``table``, text -> list of codes; several codes share the probability equally.
    """

    passes = True

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        check(NoSettings, settings, spot.where)
        need(arrays, (), (), spot.where)
        need(tables, ("table",), (), spot.where)
        table = tables["table"]
        if not isinstance(table, dict) or not table:
            raise HedgerowError(f"{spot.where}: its table is not text -> codes, or empty")
        self._table: dict[str, list[int]] = {}
        for text, codes in table.items():
            if not isinstance(codes, list) or not codes or not all(isinstance(c, str) for c in codes):
                raise HedgerowError(f"{spot.where}: '{text[:60]}' needs a list of at least one code")
            numbers = sorted({spot.tree.find(code, spot.where) for code in codes})
            self._table[exact_key(text)] = numbers
        self._k = len(spot.tree)
        self.arrays: dict[str, np.ndarray] = {}

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`MemberEngine`."""
        p = np.zeros((len(batch.texts), self._k), np.float32)
        hit = np.zeros(len(p), bool)
        for i, text in enumerate(batch.texts):
            numbers = self._table.get(exact_key(text))
            if numbers is not None:
                p[i, numbers] = 1 / len(numbers)
                hit[i] = True
        return p, hit

    def flops(self, nnz: float) -> float:
        """A lookup."""
        return 0.0


class Prior:
    """The same probabilities for every text: ``p`` [K], say class frequencies; its best class is the majority."""

    passes = False

    def __init__(self, settings: Mapping[str, Any], arrays: Arrays, tables: Tables, spot: Spot) -> None:
        check(NoSettings, settings, spot.where)
        need(arrays, ("p",), (), spot.where)
        need(tables, (), (), spot.where)
        p = floats(arrays["p"], (len(spot.tree),), f"{spot.where}: p")
        if (p < 0).any() or p.sum() <= 0:
            raise HedgerowError(f"{spot.where}: p must hold frequencies >= 0 that are not all 0")
        self._p = p / p.sum()
        self.arrays = {"p": self._p}

    def probabilities(self, batch: Batch) -> tuple[np.ndarray, None]:
        """See :class:`MemberEngine`."""
        return np.repeat(self._p[None], len(batch.texts), axis=0), None

    def flops(self, nnz: float) -> float:
        """Nothing is computed."""
        return 0.0


MEMBERS: dict[str, Callable[[Mapping[str, Any], Arrays, Tables, Spot], MemberEngine]] = {
    "tfidf-linear": TfidfLinear,
    "trunk-linear": TrunkLinear,
    "trunk-knn": TrunkKnn,
    "trunk-titles": TrunkTitles,
    "exact": Exact,
    "prior": Prior,
}


# --- small sums and checks -------------------------------------------------------------------------------------------
def softmax(scores: np.ndarray) -> np.ndarray:
    """exp(z) / sum exp(z) over the last axis, float32; the scores are overwritten."""
    scores -= scores.max(1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(1, keepdims=True)
    return scores


def width_of(array: np.ndarray, spot: Spot, name: str) -> int:
    """The last axis of a [.., d] array; HedgerowError where it is not the trunk's d."""
    if array.ndim != 2 or array.shape[1] == 0:
        raise HedgerowError(f"{spot.where}: {name} has shape {list(array.shape)}, expected rows of trunk vectors")
    if spot.dim is not None and array.shape[1] != spot.dim:
        raise HedgerowError(f"{spot.where}: {name} has {array.shape[1]} columns, the trunk gives {spot.dim}")
    return int(array.shape[1])
