"""Texts as TF-IDF rows in numpy alone, equal to scikit-learn's ``TfidfVectorizer``, and the text forms used around it.

Sparse rows are held as three arrays (CSR): row ``i`` has the features ``indices[indptr[i]:indptr[i+1]]``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from hedgerow.errors import HedgerowError
from hedgerow.schema import Record

Form = Literal["NFKC", "NFC", "none"]
_TOKEN = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's default token pattern
_MEMO_WORDS = 1 << 16  # words whose n-grams are remembered
_MEMO_LENGTH = 40  # longer words are rare, and their lists long


def normalise(text: str, form: Form = "NFKC") -> str:
    """The text as every part of a classifier sees it: one Unicode form, single spaces, nothing at the ends.

    Training must use the same function. (Which texts count as *the same* in splits is stricter:
    ``data.texts.normalise``.) A lone surrogate (half a character, from broken JSON) becomes U+FFFD, since no tokenizer
    takes it.
    """
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if form != "none":
            text = unicodedata.normalize(form, text)
    return " ".join(text.split())


def exact_key(text: str, form: Form = "NFKC") -> str:
    """What two texts share when they are one entry of a coding index: case and a final full stop do not matter."""
    return normalise(text, form).casefold().rstrip(" .")


class Block(Record):
    """One ``TfidfVectorizer``: words, or characters inside word boundaries, as n-grams of ``ngrams[0]..ngrams[1]``."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    analyser: Literal["word", "char_wb"]
    ngrams: tuple[int, int]

    @model_validator(mode="after")
    def _range(self) -> Block:
        if not 1 <= self.ngrams[0] <= self.ngrams[1] <= 12:
            raise ValueError("ngrams must be a rising pair within 1..12")
        return self


class TfidfSettings(Record):
    """How texts become rows. ``norm``: L2 over each block, over all blocks together, or none."""

    blocks: tuple[Block, ...] = Field(min_length=1)
    lowercase: bool = True
    sublinear: bool = True  # 1 + ln(count) in place of the count
    norm: Literal["block", "union", "none"] = "block"


@dataclass(frozen=True)
class Rows:
    """Sparse rows [n, width] in CSR form; features rise within a row."""

    indptr: np.ndarray  # int64 [n + 1]
    indices: np.ndarray  # int64 [nnz]
    values: np.ndarray  # float32 [nnz]
    width: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def part(self, which: slice) -> Rows:
        """Some rows in sequence."""
        start, stop, _ = which.indices(len(self))
        inside = slice(self.indptr[start], self.indptr[stop])
        return Rows(
            self.indptr[start : stop + 1] - self.indptr[start], self.indices[inside], self.values[inside], self.width
        )

    def dense(self) -> np.ndarray:
        """float32 [n, width]."""
        out = np.zeros((len(self), self.width), np.float32)
        out[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.values
        return out

    def times(self, matrix: np.ndarray) -> np.ndarray:
        """Product with a dense float32 [width, m]: one gather and one vector-matrix product a row."""
        out = np.empty((len(self), matrix.shape[1]), np.float32)
        for i in range(len(self)):
            start, end = self.indptr[i], self.indptr[i + 1]
            np.dot(self.values[start:end], matrix[self.indices[start:end]], out=out[i])
        return out


class _Analyser(Protocol):
    def ids(self, text: str) -> np.ndarray:
        """Feature numbers of every n-gram of the text that the vocabulary holds, repeats included (int64)."""
        ...


class _Words:
    """Word n-grams, as ``TfidfVectorizer(analyzer="word")`` makes them."""

    def __init__(self, vocabulary: dict[str, int], ngrams: tuple[int, int]) -> None:
        self._get = vocabulary.get
        self._low, self._high = ngrams

    def ids(self, text: str) -> np.ndarray:
        tokens = _TOKEN.findall(text)
        found = list(map(self._get, tokens)) if self._low == 1 else []
        for n in range(max(2, self._low), self._high + 1):
            found.extend(map(self._get, map(" ".join, zip(*(tokens[i:] for i in range(n))))))
        return np.array([i for i in found if i is not None], np.int64)


class _Characters:
    """Character n-grams inside padded words, as ``TfidfVectorizer(analyzer="char_wb")`` makes them.

    The n-grams of a word do not depend on its neighbours, so they are looked up once a word and then remembered.
    """

    def __init__(self, vocabulary: dict[str, int], ngrams: tuple[int, int]) -> None:
        self._vocabulary = vocabulary
        self._low, self._high = ngrams
        self._memo: dict[str, np.ndarray] = {}

    def ids(self, text: str) -> np.ndarray:
        memo = self._memo
        parts = []
        for word in text.split():
            known = memo.get(word)
            if known is None:
                known = self._word(word)
                if len(word) <= _MEMO_LENGTH:
                    if len(memo) >= _MEMO_WORDS:
                        memo.clear()
                    memo[word] = known
            parts.append(known)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _word(self, word: str) -> np.ndarray:
        word = f" {word} "
        length = len(word)
        found = []
        for n in range(self._low, self._high + 1):
            if length <= n:  # a short word counts once
                found.append(self._vocabulary.get(word))
                break
            found.extend(self._vocabulary.get(word[i : i + n]) for i in range(length - n + 1))
        return np.array([i for i in found if i is not None], np.int64)


class Tfidf:
    """Texts to rows. ``vocabularies``: the terms of each block in column order; ``idf``: float [width] over all blocks.

    Source of the formula: scikit-learn, ``TfidfTransformer``: value = (1 + ln count) * idf, then the norm.
    """

    def __init__(self, settings: TfidfSettings, vocabularies: Sequence[Sequence[str]], idf: np.ndarray) -> None:
        self.settings = settings
        sizes = [len(v) for v in vocabularies]
        self.width = sum(sizes)
        if idf.shape != (self.width,):
            raise HedgerowError(f"idf has shape {idf.shape}, the vocabularies hold {self.width} terms")
        self._idf = idf.astype(np.float64)
        self._block_of = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.cumsum([0, *sizes])
        self._analysers: list[_Analyser] = []
        for block, terms, start in zip(settings.blocks, vocabularies, starts):
            numbers = {term: int(start) + i for i, term in enumerate(terms)}
            make: Any = _Words if block.analyser == "word" else _Characters
            self._analysers.append(make(numbers, block.ngrams))

    def rows(self, texts: Sequence[str]) -> Rows:
        """float32 CSR rows [n, width] of already normalised texts; a text without a known n-gram is an empty row."""
        if self.settings.lowercase:
            texts = [t.lower() for t in texts]
        pieces = [analyser.ids(text) for text in texts for analyser in self._analysers]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces)).reshape(len(texts), len(self._analysers)).sum(1)
        rows = np.repeat(np.arange(len(texts)), lengths)
        keys = rows * self.width
        if pieces:
            keys += np.concatenate(pieces)
        keys.sort()
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else keys
        counts = np.diff(first, append=len(keys))
        rows, columns = np.divmod(keys[first], max(self.width, 1))
        values = (1.0 + np.log(counts) if self.settings.sublinear else counts) * self._idf[columns]
        values = self._scaled(values, rows, columns, len(texts))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(texts)))])
        return Rows(indptr, columns, values.astype(np.float32), self.width)

    def _scaled(self, values: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> np.ndarray:
        if self.settings.norm == "none":
            return values
        group = rows
        if self.settings.norm == "block":
            blocks = len(self._analysers)
            group, n = rows * blocks + self._block_of[columns], n * blocks
        norm = np.sqrt(np.bincount(group, weights=values * values, minlength=n))
        norm[norm == 0] = 1.0
        scaled: np.ndarray = values / norm[group]
        return scaled


def chunks(texts: Sequence[str], size: int = 256, characters: int = 200_000) -> Iterator[slice]:
    """Slices of at most ``size`` texts and about ``characters`` characters, so that memory stays bounded."""
    start = total = 0
    for i, text in enumerate(texts):
        if i > start and (i - start >= size or total + len(text) > characters):
            yield slice(start, i)
            start, total = i, 0
        total += len(text)
    if start < len(texts):
        yield slice(start, len(texts))
