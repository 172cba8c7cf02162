"""The header of a GGUF file, read without its weights and believed no further than the file reaches.

A header comes from strangers, and llama.cpp ends the process over a broken one: so it is read here first. Every count
and length is checked against what is left of the file before anything is allocated or looped over: a header that
promises 10^15 elements is one line, not a killed process.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hedgerow.cost import Tensor, Weights
from hedgerow.cost.formats import BLOCKS, NUMBERS, bytes_of
from hedgerow.cost.weights import MOST_ELEMENTS
from hedgerow.errors import HedgerowError

_MOST_FIELDS = 100_000
_MOST_TENSORS = 100_000
_MOST_ITEMS = 10_000_000  # of one list: vocabularies end at a few 100,000
_MOST_KEPT = 4096  # numbers of one list that are kept: layers have one each, a vocabulary's scores are of no use here
_MOST_TEXT = 1 << 24  # bytes of one string: chat templates are some kB, a vocabulary's merges are many strings
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Contents:
    """What a GGUF file says of itself."""

    fields: Mapping[str, Any]  # key -> value; of a list of texts, or a very long one of numbers, only its length
    tensors: tuple[Tensor, ...]
    bytes: int  # of the file

    @property
    def weights(self) -> Weights:
        """Elements by part and format."""
        return Weights.of(self.tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name -> shape, rows first."""
        return {t.name: t.shape for t in self.tensors}


def read(path: str | Path) -> Contents:
    """The checked header. Raises HedgerowError, one line, for anything that is not one whole GGUF file."""
    path = Path(path)
    if not path.is_file():
        raise HedgerowError(f"there is no file {path}")
    try:
        with open(path, "rb") as file:
            return _parse(_Reader(file, path.stat().st_size, str(path)))
    except OSError as e:
        raise HedgerowError(f"{path} cannot be read: {e.strerror or e}") from e


def shown(text: str, most: int = 60) -> str:
    """A stranger's text for one line on a terminal: nothing in it moves a cursor or begins a line."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])


class _Reader:
    """A file that never gives more than it has."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self._file, self.size, self.where, self.at = file, size, where, 0

    def take(self, count: int) -> bytes:
        self._reach(count)
        data = self._file.read(count)
        if len(data) != count:
            raise HedgerowError(f"{self.where} is cut off: it became shorter while it was read")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        self._reach(count)
        self._file.seek(count, 1)
        self.at += count

    def _reach(self, count: int) -> None:
        if count < 0 or count > self.size - self.at:
            raise HedgerowError(f"{self.where} is cut off: its header goes on beyond the {self.size:,} bytes it has")

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self, most: int, each: int, what: str) -> int:
        """A count of things of at least ``each`` bytes, which the rest of the file must be able to hold."""
        value = int(self.number("Q"))
        if value > most:
            raise HedgerowError(f"{self.where}: the header promises {value:,} {what}; refused")
        if value * each > self.size - self.at:
            raise HedgerowError(f"{self.where} is cut off, or its header is wrong: {value:,} {what} do not fit in it")
        return value

    def text(self) -> str:
        length = self.count(_MOST_TEXT, 1, "bytes of one text")
        return self.take(length).decode("utf-8", errors="replace")


def _parse(reader: _Reader) -> Contents:
    where = reader.where
    if reader.size < 24 or reader.take(4) != b"GGUF":
        raise HedgerowError(f"{where} is no GGUF file: it does not begin with the letters GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        more = "; it was written for another byte order" if version in (0x02000000, 0x03000000) else ""
        raise HedgerowError(f"{where} is GGUF version {version}; versions 2 and 3 are read{more}")
    tensors = reader.count(_MOST_TENSORS, 24, "tensors")
    fields: dict[str, Any] = {}
    for _ in range(reader.count(_MOST_FIELDS, 12, "fields")):
        key = reader.text()
        fields[key] = _value(reader, key)
    parts = fields.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise HedgerowError(f"{where} is one of {parts} parts; merge them first (llama-gguf-split --merge)")
    architecture = fields.get("general.architecture", "")
    if not isinstance(architecture, str) or shown(architecture) != architecture:
        raise HedgerowError(f"{where}: the header names no architecture, but {shown(repr(architecture))}")
    listed = _tensors(reader, tensors)
    if not listed:
        raise HedgerowError(f"{where} holds no tensor, so no model")
    _check_ends(reader, listed, fields)
    return Contents(fields, tuple(tensor for tensor, _ in listed), reader.size)


def _value(reader: _Reader, key: str) -> Any:
    kind = reader.number("I")
    if kind == _STRING:
        return reader.text()
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind != _ARRAY:
        raise HedgerowError(f"{reader.where}: field '{shown(key)}' has a type that GGUF does not know ({kind})")
    inner = reader.number("I")
    if inner == _STRING:  # a vocabulary: only how many there are is of use here
        length = reader.count(_MOST_ITEMS, 8, f"texts in '{shown(key)}'")
        for _ in range(length):
            reader.skip(reader.count(_MOST_TEXT, 1, "bytes of one text"))
        return length
    if inner not in _SCALARS:
        raise HedgerowError(f"{reader.where}: field '{shown(key)}' is a list of lists, which no model's header needs")
    code = _SCALARS[inner]
    each = struct.calcsize(f"<{code}")
    length = reader.count(_MOST_ITEMS, each, f"numbers in '{shown(key)}'")
    if length > _MOST_KEPT:
        reader.skip(length * each)
        return length
    return list(struct.unpack(f"<{length}{code}", reader.take(length * each)))


def _tensors(reader: _Reader, count: int) -> list[tuple[Tensor, int]]:
    """(tensor, offset) of each; shapes are turned to rows first."""
    found = []
    names = set()
    for _ in range(count):
        name = reader.text()
        dims = reader.number("I")
        if not 1 <= dims <= 4 or len(name) > 512 or name in names:
            raise HedgerowError(f"{reader.where}: tensor '{shown(name)}' is named twice, or has {dims} dimensions")
        names.add(name)
        shape = struct.unpack(f"<{dims}Q", reader.take(8 * dims))
        number, offset = reader.number("I"), reader.number("Q")
        kind = NUMBERS.get(number)
        if kind is None:
            raise HedgerowError(f"{reader.where}: tensor '{shown(name)}' has element type {number}, which is not known")
        if math.prod(shape) > MOST_ELEMENTS or min(shape) < 1:
            promised = f"tensor '{shown(name)}' promises {math.prod(shape):,} elements"
            raise HedgerowError(f"{reader.where}: {promised}, which no file holds; refused")
        found.append((Tensor(name=name, format=kind, shape=tuple(reversed(shape))), offset))
    return found


def _check_ends(reader: _Reader, listed: list[tuple[Tensor, int]], fields: Mapping[str, Any]) -> None:
    """HedgerowError when a row is no whole number of blocks, or a tensor ends outside the file."""
    align = fields.get("general.alignment", 32)
    if not isinstance(align, int) or isinstance(align, bool) or not 1 <= align <= 1 << 20:
        raise HedgerowError(f"{reader.where}: 'general.alignment' is {align!r}")
    start = -(-reader.at // align) * align
    for tensor, _ in listed:
        if tensor.shape[-1] % BLOCKS[tensor.format][0]:
            raise HedgerowError(
                f"{reader.where}: rows of tensor '{shown(tensor.name)}' are no whole blocks of {tensor.format}"
            )
    ends = [start + offset + bytes_of(tensor.elements, tensor.format) for tensor, offset in listed]
    if max(ends) > reader.size:
        raise HedgerowError(f"{reader.where} is cut off: its tensors end beyond the {reader.size:,} bytes it has")
