"""Texts on their way into a net: read from a row, cut into tokens, sorted by length, padded into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError

MAX_CHARACTERS = 100_000  # a longer "text" is a file put into the wrong place, and takes seconds to cut into tokens


def read_text(row: Mapping[str, Any], column: str = "text") -> str:
    """The text of a row; HedgerowError when it is absent, empty, no text, or longer than MAX_CHARACTERS."""
    if column not in row:
        raise HedgerowError(f"there is no column '{column}'; the columns are {', '.join(map(str, row))}")
    return good_text(row[column])


def good_text(text: Any) -> str:
    """``text`` when a net can be asked with it; HedgerowError says why not (a lone surrogate, say)."""
    if not isinstance(text, str):
        raise HedgerowError(f"a text is needed, got {type(text).__name__}")
    if not text.strip():
        raise HedgerowError("the text is empty")
    if len(text) > MAX_CHARACTERS:
        raise HedgerowError(f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        text.encode()
    except UnicodeEncodeError as e:  # no tokenizer takes it
        raise HedgerowError(f"the text holds half a character at position {e.start + 1}; its file is damaged") from None
    return text


@dataclass(frozen=True)
class Batch:
    """Token numbers of some texts, padded to the longest of them."""

    rows: np.ndarray  # [n] places in the list that was asked
    ids: np.ndarray  # [n, T] int64
    mask: np.ndarray  # [n, T] int64, 1 where there is a token


class Tokens:
    """``tokenizer.json`` of a Pack, with our own padding: the file's own length and padding settings are not used."""

    def __init__(self, path: Path, max_tokens: int | None, threads: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_padding()
            if max_tokens is None:
                self._tokenizer.no_truncation()
            else:
                self._tokenizer.enable_truncation(max_tokens)  # and keep the special tokens at the end
        except Exception as e:  # tokenizers raises bare Exception
            raise HedgerowError(f"{path} is no tokenizer that can be read: {str(e).splitlines()[0][:200]}") from e
        self.where = str(path)
        self.size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._threads = threads

    def __call__(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """Token numbers of each text, cut at ``max_tokens`` if there is such a limit."""
        if self._threads == 1:  # encode_batch would take every core
            return [self._tokenizer.encode(t, add_special_tokens=special).ids for t in texts]
        return [e.ids for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=special)]

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Token numbers of ``text``, and for each the place in the text where it ends (0 for special tokens)."""
        found = self._tokenizer.encode(text)
        return list(found.ids), [end for _, end in found.offsets]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers, special tokens left out."""
        return str(self._tokenizer.decode(list(ids)))


def batches(tokens: Sequence[Sequence[int]], padding: int, budget: int, most: int) -> Iterator[Batch]:
    """Batches of texts of like length, longest first: at most ``most`` texts and ``budget`` tokens with padding.

    Longest first, so that a batch that does not fit into memory fails at once and not at the end.
    """
    tokens = [t or [padding] for t in tokens]  # a net cannot be asked about no token at all
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    start = 0
    while start < len(order):
        width = len(tokens[order[start]])
        count = min(most, max(1, budget // width), len(order) - start)
        rows = order[start : start + count]
        ids = np.full((count, width), padding, dtype=np.int64)
        mask = np.zeros((count, width), dtype=np.int64)
        for place, i in enumerate(rows):
            ids[place, : len(tokens[i])] = tokens[i]
            mask[place, : len(tokens[i])] = 1
        yield Batch(np.asarray(rows), ids, mask)
        start += count
