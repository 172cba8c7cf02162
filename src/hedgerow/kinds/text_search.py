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


_TIERS = (0.03, 0.08)  # features that at most this share of the examples hold come first, the rest last
_FEW = 128  # candidates that are compared one by one
_ROWS = 32  # queries searched at once


class Postings:
    """TF-IDF rows of the example texts, stored by feature (an inverted index), for exact cosines.

    Rare features are added up first. What the others can still add to example i is at most |q'| |e_i'|, the lengths of
    both rows over those features (Cauchy-Schwarz; no value is negative). Where that leaves few examples that can reach
    the best k, those alone are compared in full; otherwise the next, more frequent features are added, too.
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
        frequency = np.bincount(columns, minlength=tfidf.width)
        self._tier = np.searchsorted(np.array(_TIERS) * self.size, frequency)  # int [F]
        tiers = self._tier[columns]
        rest = [_lengths(docs[tiers > t], values[tiers > t], self.size) for t in range(len(_TIERS))]
        self._rest = np.stack(rest).astype(np.float32)  # [tiers - 1, m]
        order = np.argsort(columns, kind="stable")
        posting = np.empty(len(order), self._PAIR)
        posting["doc"], posting["value"] = docs[order], values[order]
        self._posting = posting.view(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(frequency)])
        # the examples' rows over frequent features alone, which get numbers of their own
        frequent = np.flatnonzero(self._tier)
        self._place = np.zeros(tfidf.width, np.int32)
        self._place[frequent] = np.arange(len(frequent))
        kept = tiers > 0
        self._columns = self._place[columns[kept]]
        self._values = values[kept].astype(np.float32)
        self._row_starts = np.concatenate([[0], np.cumsum(np.bincount(docs[kept], minlength=self.size))])
        self._query = np.zeros((_ROWS, max(1, len(frequent))), np.float32)  # all 0 between two searches
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
        values = rows.values / np.maximum(_lengths(of, rows.values, len(rows)), 1e-30)[of].astype(np.float32)
        tiers = self._tier[rows.indices]
        scores = np.zeros((len(rows), self.size), np.float32)
        open_rows = np.arange(len(rows))
        is_open = np.ones(len(rows), bool)
        for tier in range(len(_TIERS) + 1):
            chosen = (tiers == tier) & is_open[of]
            self._add(scores, of[chosen], rows.indices[chosen], values[chosen])
            if tier == len(_TIERS):
                break
            left = tiers > tier
            rest = Rows(np.empty(0), rows.indices[left], values[left], rows.width)
            closed = self._close(scores, open_rows, of[left], rest, tier, k)
            is_open[closed] = False
            open_rows = np.flatnonzero(is_open)
            if not len(open_rows):
                break
        return largest(scores, k)

    def _close(
        self, scores: np.ndarray, open_rows: np.ndarray, of: np.ndarray, rest: Rows, tier: int, k: int
    ) -> np.ndarray:
        """Finish the queries that few examples can still win: those get their full scores, all others -1.

        ``rest``: what of the queries is not yet in the scores. Returns the finished queries.
        """
        now = scores[open_rows]
        least = largest(now, k)[1][:, -1:] - np.float32(1e-5)
        length = _lengths(of, rest.values, len(scores))[open_rows].astype(np.float32)
        able = now + length[:, None] * self._rest[tier] >= least
        few = able.sum(1) <= max(_FEW, 2 * k)
        able &= few[:, None]
        at = np.flatnonzero(able)
        queries, examples = open_rows[at // self.size], at % self.size
        found = scores[queries, examples] + self._dot(queries, examples, of, rest)
        closed: np.ndarray = open_rows[few]
        scores[closed] = -1
        scores[queries, examples] = found
        return closed

    def _add(self, scores: np.ndarray, queries: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """scores[query, example] += value * example's value, for every example that holds the feature."""
        starts = self._starts[columns]
        lengths = self._starts[columns + 1] - starts
        found = self._posting[_runs(starts, lengths)].view(self._PAIR)
        places = np.repeat((queries * self.size).astype(np.int32), lengths)
        places += found["doc"]
        np.add.at(scores.reshape(-1), places, np.repeat(values, lengths) * found["value"])

    def _dot(self, queries: np.ndarray, examples: np.ndarray, of: np.ndarray, rest: Rows) -> np.ndarray:
        """Products of pairs (query, example) over the frequent features in ``rest``, float32."""
        starts, ends = self._row_starts[examples], self._row_starts[examples + 1]
        at = _runs(starts, ends - starts)
        places = self._place[rest.indices]
        self._query[of, places] = rest.values
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
