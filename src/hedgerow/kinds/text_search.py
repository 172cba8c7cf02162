"""The nearest stored examples: by cosine of trunk vectors, or of TF-IDF rows where a classifier has no trunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.kinds.text_features import Rows, Tfidf, chunks

BLOCK = 16_384  # stored vectors compared at once, so that memory does not grow with their number


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a zero row stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32))[:, None]
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


class Vectors:
    """Stored vectors of unit length [m, d] with one label each [m]."""

    def __init__(self, vectors: np.ndarray, labels: np.ndarray) -> None:
        self.vectors = unit(vectors)
        self.labels = labels
        self.arrays: dict[str, np.ndarray] = {"vectors": self.vectors}

    def __len__(self) -> int:
        return len(self.vectors)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and cosines [n, min(k, m)] of the nearest vectors, best first, for unit queries [n, d].

        Equal cosines are ordered by number, so an answer does not depend on the block size.
        """
        n = len(queries)
        ids, best = np.empty((n, 0), np.int64), np.empty((n, 0), np.float32)
        for start in range(0, len(self.vectors), BLOCK):
            cosines = queries @ self.vectors[start : start + BLOCK].T
            found, values = largest(cosines, k)
            ids = np.concatenate([ids, found + start], axis=1)
            best = np.concatenate([best, values], axis=1)
        order = np.lexsort((ids, -best), axis=1)[:, :k]
        return np.take_along_axis(ids, order, 1), np.take_along_axis(best, order, 1)


def largest(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values [n, min(k, columns)] of the largest scores of each row, best first, ties by column."""
    k = min(k, scores.shape[1])
    if k <= 3:  # repeated argmax beats a partition, and leaves ties in order by itself
        rows = np.arange(len(scores))
        found = np.empty((len(scores), k), np.int64)
        values = np.empty((len(scores), k), scores.dtype)
        scores = scores.copy()
        for j in range(k):
            found[:, j] = scores.argmax(1)
            values[:, j] = scores[rows, found[:, j]]
            scores[rows, found[:, j]] = -np.inf
        return found, values
    if k < scores.shape[1]:
        found = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    else:
        found = np.tile(np.arange(k), (len(scores), 1))
    values = np.take_along_axis(scores, found, 1)
    order = np.lexsort((found, -values), axis=1)
    return np.take_along_axis(found, order, 1), np.take_along_axis(values, order, 1)


class Postings:
    """TF-IDF rows of the example texts, stored by feature (an inverted index), for exact cosines."""

    def __init__(self, tfidf: Tfidf, texts: Sequence[str]) -> None:
        self.tfidf = tfidf
        self.size = len(texts)
        parts = [tfidf.rows(texts[part]) for part in chunks(texts, 1024)]
        columns = np.concatenate([rows.indices for rows in parts])
        docs = np.repeat(np.arange(self.size), np.concatenate([np.diff(rows.indptr) for rows in parts]))
        values = np.concatenate([rows.values for rows in parts]).astype(np.float64)
        norms = np.sqrt(np.bincount(docs, weights=values**2, minlength=self.size))
        order = np.argsort(columns, kind="stable")
        self._docs = docs[order].astype(np.int32)
        self._values = (values / np.where(norms > 0, norms, 1)[docs])[order].astype(np.float32)
        self._starts = np.searchsorted(columns[order], np.arange(tfidf.width + 1))
        self.arrays: dict[str, np.ndarray] = {"docs": self._docs, "values": self._values, "starts": self._starts}

    def nearest(self, rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and cosines [n, min(k, m)] of the nearest examples, best first; see :class:`Vectors`."""
        scores = np.zeros((len(rows), self.size), np.float32)
        for i in range(len(rows)):
            features, values = rows.row(i)
            norm = float(np.sqrt(values.astype(np.float64) @ values)) or 1.0
            for feature, value in zip(features.tolist(), (values / np.float32(norm)).tolist()):
                part = slice(self._starts[feature], self._starts[feature + 1])
                scores[i, self._docs[part]] += np.float32(value) * self._values[part]  # an example once a feature
        return largest(scores, k)
