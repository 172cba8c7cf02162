"""The nearest stored examples: by cosine of trunk vectors, or of TF-IDF rows where a classifier has no trunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hedgerow.kinds.text_features import Rows, Tfidf, chunks

BLOCK = 16_384  # stored vectors compared at once, so that memory does not grow with their number


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a zero row stays zero."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    out: np.ndarray = vectors / np.where(norms > 0, norms, np.float32(1))
    return out


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


_RARE = 0.05  # a feature is rare when at most this share of the examples holds it
_PAIR_COST = 3.0  # of an entry in a comparison one by one, in entries of a feature's list
_ROWS = 32  # queries searched at once


class Postings:
    """TF-IDF rows of the example texts, stored by feature (an inverted index), for exact cosines.

    The lists of rare features are added up first. What the others can still add to example i is at most |q'| |e_i'|,
    the lengths of both rows over frequent features (Cauchy-Schwarz; no value is negative). Examples that can reach the
    best k are then compared one by one, or, where that is dearer, the long lists of the frequent features added, too.
    """

    _PAIR = np.dtype([("doc", np.int32), ("value", np.float32)])

    def __init__(self, tfidf: Tfidf, texts: Sequence[str]) -> None:
        self.tfidf = tfidf
        self.size = len(texts)
        parts = [tfidf.rows(texts[part]) for part in chunks(texts, 1024)]
        columns = np.concatenate([rows.indices for rows in parts])
        docs = np.repeat(np.arange(self.size), np.concatenate([np.diff(rows.indptr) for rows in parts]))
        values = np.concatenate([rows.values for rows in parts]).astype(np.float64)
        values /= np.maximum(_lengths(docs, values, self.size), 1e-30)[docs]
        self._frequency = np.bincount(columns, minlength=tfidf.width)
        order = np.argsort(columns, kind="stable")
        posting = np.empty(len(order), self._PAIR)
        posting["doc"], posting["value"] = docs[order], values[order]
        self._posting = posting.view(np.int64)  # an example and its value in one look-up
        self._starts = np.concatenate([[0], np.cumsum(self._frequency)])
        # the examples' rows over frequent features alone, which get numbers of their own
        self._frequent = self._frequency > _RARE * self.size
        self._place = (np.cumsum(self._frequent) - 1).astype(np.int32)
        kept = self._frequent[columns]
        docs, values = docs[kept], values[kept]
        self._columns, self._values = self._place[columns[kept]], values.astype(np.float32)
        self._row_starts = np.concatenate([[0], np.cumsum(np.bincount(docs, minlength=self.size))])
        self._rest = _lengths(docs, values, self.size).astype(np.float32)  # [m]
        self._query = np.zeros((_ROWS, max(1, int(self._frequent.sum()))), np.float32)  # all 0 between two searches
        self.arrays: dict[str, np.ndarray] = {
            "postings": self._posting,
            "starts": self._starts,
            "columns": self._columns,
            "values": self._values,
            "row_starts": self._row_starts,
            "rest": self._rest,
        }

    def nearest(self, rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and cosines [n, min(k, m)] of the nearest examples, best first, ties by number."""
        k = min(k, self.size)
        ids, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, min(start + _ROWS, len(rows)))
            ids[part], cosines[part] = self._search(rows.part(part), k)
        return ids, cosines

    def _search(self, rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        of = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
        columns = rows.indices
        values = rows.values / np.maximum(_lengths(of, rows.values, len(rows)), 1e-30)[of].astype(np.float32)
        scores = np.zeros((len(rows), self.size), np.float32)
        late = self._frequent[columns]
        self._add(scores, of[~late], columns[~late], values[~late])
        of, columns, values = of[late], columns[late], values[late]
        least = largest(scores, k)[1][:, -1:] - np.float32(1e-5)
        length = _lengths(of, values, len(rows)).astype(np.float32)
        able = scores + length[:, None] * self._rest >= least
        lists = np.bincount(of, weights=self._frequency[columns], minlength=len(rows))
        few = np.count_nonzero(able, axis=1) * (_PAIR_COST * len(self._values) / self.size) <= lists
        able &= few[:, None]
        at = np.flatnonzero(able)
        queries, examples = at // self.size, at % self.size
        found = scores[queries, examples] + self._dot(queries, examples, of, columns, values)
        scores[few] = -1
        scores[queries, examples] = found
        dear = ~few[of]
        self._add(scores, of[dear], columns[dear], values[dear])
        return largest(scores, k)

    def _add(self, scores: np.ndarray, queries: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """scores[query, example] += value * example's value, for every example that holds the feature."""
        starts = self._starts[columns]
        lengths = self._starts[columns + 1] - starts
        found = self._posting[_runs(starts, lengths)].view(self._PAIR)
        places = np.repeat((queries * self.size).astype(np.int32), lengths)
        places += found["doc"]
        np.add.at(scores.reshape(-1), places, np.repeat(values, lengths) * found["value"])

    def _dot(
        self, queries: np.ndarray, examples: np.ndarray, of: np.ndarray, columns: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Products of pairs (query, example) over frequent features, float32; the queries come as CSR entries."""
        starts, ends = self._row_starts[examples], self._row_starts[examples + 1]
        at = _runs(starts, ends - starts)
        places = self._place[columns]
        self._query[of, places] = values
        products = self._query[np.repeat(queries, ends - starts), self._columns[at]] * self._values[at]
        self._query[of, places] = 0
        pairs = np.repeat(np.arange(len(examples)), ends - starts)
        sums: np.ndarray = np.bincount(pairs, products, len(examples)).astype(np.float32)
        return sums


def _runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … of every run, one after the other, int32."""
    ends = np.cumsum(lengths)
    at = np.repeat((starts - (ends - lengths)).astype(np.int32), lengths)
    at += np.arange(len(at), dtype=np.int32)
    return at


def _lengths(of: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Euclidean length of each of n sparse rows, float64 [n]."""
    return np.sqrt(np.bincount(of, weights=np.square(values, dtype=np.float64), minlength=n))
