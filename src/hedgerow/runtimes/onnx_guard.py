"""Look into an ONNX file before an engine does, without the onnx package (a device has none).

A graph is data, with two ways out of its file: tensors kept in other files (``external_data``, a path that the maker
chooses) and operators of other domains, which a library outside would have to supply. Both are refused here. Only the
wire format of protocol buffers is read (https://protobuf.dev/programming-guides/encoding/), with field numbers from
onnx.proto; big tensors are skipped, not read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from hedgerow.errors import HedgerowError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})  # what ONNX Runtime itself implements
_DEPTH = 32  # of graphs inside graphs; deeper is an attack on the reader, not a model

# message -> field number -> (what to do, message of the field)
_WALK: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DOMAIN = {"node": 7, "function": 10}
_EXTERNAL, _LOCATION = 13, 14  # of TensorProto


class _Broken(Exception):
    pass


def check_graph(path: Path) -> None:
    """Raises HedgerowError for a file that is no ONNX model, keeps tensors outside, or uses foreign operators."""
    try:
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            own: set[str] = set()
            used: set[str] = set()
            _walk(data, 0, len(data), "model", 0, own, used)
    except (_Broken, OSError, ValueError) as e:
        raise HedgerowError(f"{path} is not a readable ONNX file: {e}") from e
    foreign = sorted(used - own - DOMAINS)
    if foreign:
        raise HedgerowError(f"{path} uses operators of '{foreign[0][:60]}', which are not part of ONNX; refused")


def _walk(data: mmap.mmap, at: int, end: int, message: str, depth: int, own: set[str], used: set[str]) -> None:
    if depth > _DEPTH:
        raise _Broken(f"graphs inside graphs more than {_DEPTH} deep")
    inner = _WALK.get(message, {})
    for field, start, stop, number in _fields(data, at, end):
        if message == "tensor" and (field == _EXTERNAL or (field == _LOCATION and number)):
            raise _Broken("it keeps tensors in another file, which a Pack never does; refused")
        if field == _DOMAIN.get(message):
            (own if message == "function" else used).add(data[start:stop].decode("utf-8", "replace"))
        if field in inner and stop > start:
            _walk(data, start, stop, inner[field], depth + 1, own, used)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, start, stop, value) of each field: start..stop for bytes, value for whole numbers."""
    while at < end:
        key, at = _varint(data, at, end)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield field, at, at, value
        elif wire == 2:
            size, at = _varint(data, at, end)
            if at + size > end:
                raise _Broken("it was cut off or altered")
            yield field, at, at + size, 0
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise _Broken("it was cut off or altered")
    if at != end:
        raise _Broken("it was cut off or altered")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _Broken("it was cut off or altered")
