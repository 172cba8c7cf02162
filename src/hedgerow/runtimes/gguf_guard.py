"""The header of a GGUF file, read and checked before llama.cpp sees the file: a broken one there ends the process.

Checked are the magic number, the version, that no count or length reaches beyond the file, that every element type is
known, and that the data of every array lies inside the file. Nothing but the header is read, whatever the file's size.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hedgerow.cost import Tensor, Weights
from hedgerow.cost.formats import BLOCKS, NUMBERS
from hedgerow.cost.weights import MOST_ELEMENTS
from hedgerow.errors import HedgerowError

_PLAIN = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_ENTRIES = 1_000_000  # of fields, arrays, or dimensions together: a small model has a few hundred
_MOST_ITEMS = 4_000_000  # of one list in the header: vocabularies end at a few 100,000


@dataclass(frozen=True)
class Contents:
    """What a GGUF file says of itself."""

    fields: dict[str, Any]  # key -> value; lists in full
    tensors: tuple[Tensor, ...]
    bytes: int  # of the file

    @property
    def weights(self) -> Weights:
        """Elements by part and format."""
        return Weights.of(self.tensors)

    @property
    def architecture(self) -> str:
        """'llama', 'qwen2', …; '' when the file does not say."""
        return str(self.fields.get("general.architecture", ""))


class _Reader:
    """Numbers and strings from a file whose end is known."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file, self._path, self._size = file, path, size

    def take(self, count: int) -> bytes:
        """``count`` bytes; HedgerowError where the file ends before."""
        if count > self._size:
            raise self.broken("a length in its header reaches beyond the file")
        data = self._file.read(count)
        if len(data) != count:
            raise self.broken("it ends in the middle of its header")
        return data

    def number(self, code: str) -> Any:
        """One number in struct's spelling."""
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        """A string: its length in 8 bytes, then UTF-8."""
        return self.take(self.number("<Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        """One value of a field."""
        if kind in _PLAIN:
            return self.number(_PLAIN[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise self.broken(f"its header holds a value of the unknown type {kind}")
        inner, count = self.number("<I"), self.number("<Q")
        if count > min(_MOST_ITEMS, self._size):
            raise self.broken(f"its header promises a list of {count:,} values")
        if inner in _PLAIN:
            code = _PLAIN[inner]
            return [v for (v,) in struct.iter_unpack(code, self.take(count * struct.calcsize(code)))]
        return [self.value(inner) for _ in range(count)]

    def place(self) -> int:
        """Bytes from the start of the file."""
        return self._file.tell()

    def broken(self, why: str) -> HedgerowError:
        """The error for this file."""
        return HedgerowError(f"{self._path} is no whole GGUF file: {why}")


def read(path: str | Path) -> Contents:
    """The checked header. Raises HedgerowError, one line, for anything that is not a whole GGUF file."""
    path = Path(path)
    if not path.is_file():
        raise HedgerowError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, path, size)
        if size < 24 or reader.take(4) != b"GGUF":
            raise HedgerowError(f"{path} is no GGUF file (its first four bytes say so)")
        version = reader.number("<I")
        if version not in (2, 3):
            raise reader.broken(f"version {version} is not known (2 and 3 are)")
        arrays, fields = reader.number("<Q"), reader.number("<Q")
        if arrays > _MOST_ENTRIES or fields > _MOST_ENTRIES:
            raise reader.broken(f"its header promises {arrays:,} arrays and {fields:,} fields")
        known = {}
        for _ in range(fields):
            key = reader.text()
            known[key] = reader.value(reader.number("<I"))
        tensors = _tensors(reader, arrays, known, size)
    return Contents(known, tensors, size)


def _tensors(reader: _Reader, count: int, fields: dict[str, Any], size: int) -> tuple[Tensor, ...]:
    found, ends = [], []
    for _ in range(count):
        name, dimensions = reader.text(), reader.number("<I")
        if not 1 <= dimensions <= 4:
            raise reader.broken(f"array '{name}' has {dimensions} dimensions")
        shape = tuple(reader.number("<Q") for _ in range(dimensions))
        kind, offset = reader.number("<I"), reader.number("<Q")
        if kind not in NUMBERS:
            raise reader.broken(f"array '{name}' has elements of the unknown type {kind}")
        if 0 in shape or math.prod(shape) > MOST_ELEMENTS:
            raise reader.broken(f"array '{name}' promises {math.prod(shape):,} elements")
        block, width = BLOCKS[NUMBERS[kind]]
        if shape[0] % block:
            raise reader.broken(f"array '{name}' has rows of {shape[0]}, not a multiple of {block}")
        ends.append((offset + math.prod(shape) // block * width, name))
        found.append(Tensor(name=name, format=NUMBERS[kind], shape=shape[::-1]))
    grain = int(fields.get("general.alignment", 32) or 32)
    start = (reader.place() + grain - 1) // grain * grain
    for end, name in ends:
        if start + end > size:
            raise reader.broken(f"array '{name}' ends at byte {start + end:,}, the file at {size:,}: it is cut off")
    if not found:
        raise reader.broken("it holds no array")
    return tuple(found)
