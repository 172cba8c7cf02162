"""Which wastes are alike: TF-IDF cosines over the wordings, vectors where there is an encoder, and equal codes.

The TF-IDF is fitted on the wordings themselves in numpy, so a device that reads a live store needs nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hedgerow.kinds.text_features import Block, Tfidf, TfidfSettings, chunks, normalise

SETTINGS = TfidfSettings(
    blocks=(
        Block(name="word", analyser="word", ngrams=(1, 2)),
        Block(name="char", analyser="char_wb", ngrams=(3, 5)),
    ),
    norm="union",
)
MOST_TERMS = 200_000  # of each block; the most frequent are kept
_TOKEN = re.compile(r"(?u)\b\w\w+\b")


@dataclass(frozen=True)
class Wording:
    """One waste: its text and its codes, '' where unknown."""

    text: str
    ewc: str = ""  # digits and *, without spaces
    ewc_stat: str = ""


def prepared(text: str) -> str:
    """A wording as the index compares it: ``redmud`` of one source and ``red mud`` of another meet in their n-grams."""
    return normalise(text).lower()


def fit_tfidf(texts: Sequence[str], settings: TfidfSettings = SETTINGS) -> Tfidf:
    """TF-IDF over prepared texts; idf = ln((1 + n) / (1 + df)) + 1 as scikit-learn's (smooth_idf)."""
    vocabularies, idf = [], []
    for block in settings.blocks:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(_terms(text, block)))
        terms = sorted(counts, key=lambda t: (-counts[t], t))[:MOST_TERMS]
        terms.sort()
        vocabularies.append(terms)
        idf.append(np.log((1 + len(texts)) / (1 + np.array([counts[t] for t in terms], np.float64))) + 1)
    return Tfidf(settings, vocabularies, np.concatenate(idf))


def _terms(text: str, block: Block) -> Iterator[str]:
    low, high = block.ngrams
    if block.analyser == "word":
        tokens = _TOKEN.findall(text)
        for n in range(low, high + 1):
            yield from (" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        return
    for word in text.split():
        padded = f" {word} "
        for n in range(low, high + 1):
            if len(padded) <= n:
                yield padded
                break
            yield from (padded[i : i + n] for i in range(len(padded) - n + 1))


class WasteIndex:
    """Wastes to compare a wording with. ``vectors`` [W, d] of unit length, or None without an encoder."""

    def __init__(self, wordings: Sequence[Wording], vectors: np.ndarray | None = None) -> None:
        self.wordings = list(wordings)
        self.vectors = vectors
        texts = [prepared(w.text) for w in wordings]
        self.tfidf = fit_tfidf(texts)
        self._stats = _numbers([w.ewc_stat for w in wordings])
        self._ewcs = _numbers([w.ewc for w in wordings])
        self._build(texts)

    def __len__(self) -> int:
        return len(self.wordings)

    def _build(self, texts: Sequence[str]) -> None:
        """The rows by column: where each feature's wastes start, which they are, and their values."""
        docs, columns, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for part in chunks(texts, 1024):
            rows = self.tfidf.rows(texts[part])
            docs.append(part.start + np.repeat(np.arange(len(rows)), np.diff(rows.indptr)))
            columns.append(rows.indices)
            values.append(rows.values)
        column = np.concatenate(columns)
        order = np.argsort(column, kind="stable")
        self._docs = np.concatenate(docs)[order].astype(np.int32)
        self._values = np.concatenate(values)[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=self.tfidf.width))]).astype(
            np.int64
        )

    @property
    def bytes(self) -> int:
        """Bytes of all arrays."""
        held = self._docs.nbytes + self._values.nbytes + self._starts.nbytes
        return held + (0 if self.vectors is None else self.vectors.nbytes)

    def cosines(self, text: str) -> np.ndarray:
        """TF-IDF cosine of a wording with every waste, float32 [W]."""
        row = self.tfidf.rows([prepared(text)])
        out = np.zeros(len(self), np.float32)
        for column, value in zip(row.indices, row.values):
            part = slice(self._starts[column], self._starts[column + 1])
            out[self._docs[part]] += value * self._values[part]  # a waste stands once in a feature's list
        return out

    def similar(self, asked: Wording, vector: np.ndarray | None, bonus: float) -> np.ndarray:
        """w [W] in 0..1: the larger of both cosines, plus ``bonus`` where an EWC or EWC-Stat code is the same."""
        w = self.cosines(asked.text)
        if vector is not None and self.vectors is not None:
            w = np.maximum(w, self.vectors @ vector.astype(np.float32))
        equal = np.zeros(len(self), bool)
        for code, numbers in ((asked.ewc_stat, self._stats), (asked.ewc, self._ewcs)):
            if code:
                equal[numbers.get(code, np.empty(0, np.int64))] = True
        out: np.ndarray = np.clip(w + np.float32(bonus) * equal, 0, 1)
        return out


def _numbers(codes: Sequence[str]) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {}
    for i, code in enumerate(codes):
        if code:
            found.setdefault(code, []).append(i)
    return {code: np.array(places, np.int64) for code, places in found.items()}
