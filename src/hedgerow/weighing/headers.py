"""What a model's file says of itself, read without its weights: a GGUF file, a Hugging Face folder, or a Pack.

A header comes from strangers. Every count and length is checked against what is left of the file before anything is
allocated or looped over, so a header that promises 10^15 elements is one line, not a killed process.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hedgerow import files
from hedgerow.cost import Geometry, Tensor, Weights, configs, formats, formulas
from hedgerow.cost.weights import MOST_ELEMENTS
from hedgerow.errors import HedgerowError

_MOST_FIELDS = 100_000
_MOST_TENSORS = 100_000
_MOST_ITEMS = 10_000_000  # of one list: vocabularies end at a few 100,000
_MOST_TEXT = 1 << 24  # bytes of one string: chat templates are some kB, a vocabulary's merges are many strings
_MOST_CONFIG = 1 << 24
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Header:
    """A model by its header alone."""

    name: str
    path: Path
    layout: str  # gguf, hf-folder, pack
    geometry: Geometry
    weights: Weights  # by part and format; of a folder without weights, what its sizes imply
    file_bytes: int
    complete: bool  # whether the weights are there too
    fields: Mapping[str, Any]


def read(path: str | Path) -> Header:
    """The header of a GGUF file, of a folder with config.json, or of a Pack; no weight is read.

    Raises HedgerowError in one line: nothing there, no model, cut off, or a header that cannot be true.
    """
    path = Path(path)
    if path.is_dir():
        for config, layout in (("pack.toml", "pack"), ("config.json", "hf-folder")):
            if (path / config).is_file():
                return _folder(path, layout)
        found = sorted(path.glob("*.gguf"))
        if len(found) == 1:
            return _gguf(found[0])
        raise HedgerowError(f"{path} holds no model: no config.json, no pack.toml" + (
            f", and {len(found)} GGUF files: name one" if found else " and no GGUF file"))  # fmt: skip
    if not path.exists():
        raise HedgerowError(f"there is no file or folder {path}")
    return _gguf(path)


# --- GGUF ------------------------------------------------------------------------------------------------------------
class _Reader:
    """A file that never gives more than it has."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self._file, self.size, self.where, self.at = file, size, where, 0

    def take(self, count: int) -> bytes:
        if count < 0 or count > self.size - self.at:
            raise HedgerowError(f"{self.where} is cut off: its header goes on beyond the {self.size:,} bytes it has")
        data = self._file.read(count)
        if len(data) != count:
            raise HedgerowError(f"{self.where} is cut off: it became shorter while it was read")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        if count < 0 or count > self.size - self.at:
            raise HedgerowError(f"{self.where} is cut off: its header goes on beyond the {self.size:,} bytes it has")
        self._file.seek(count, 1)
        self.at += count

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


def _gguf(path: Path) -> Header:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            return _parse(_Reader(file, size, str(path)), path, size)
    except OSError as e:
        raise HedgerowError(f"{path} cannot be read: {e.strerror or e}") from e


def _parse(reader: _Reader, path: Path, size: int) -> Header:
    if size < 24 or reader.take(4) != b"GGUF":
        raise HedgerowError(f"{path} is no GGUF file, and no folder of a model either")
    version = reader.number("I")
    if version not in (2, 3):
        more = "; it was written for another byte order" if version in (0x02000000, 0x03000000) else ""
        raise HedgerowError(f"{path} is GGUF version {version}; versions 2 and 3 are read{more}")
    tensors = reader.count(_MOST_TENSORS, 24, "tensors")
    fields_count = reader.count(_MOST_FIELDS, 12, "fields")
    fields: dict[str, Any] = {}
    for _ in range(fields_count):
        key = reader.text()
        fields[key] = _value(reader, key)
    parts = fields.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise HedgerowError(f"{path} is one of {parts} parts; merge them first (llama-gguf-split --merge)")
    listed = _tensors(reader, tensors)
    complete = _check_ends(reader, listed, fields)
    held = [tensor for tensor, _ in listed]
    sizes = configs.from_gguf(fields, {t.name: t.shape for t in held}, str(path))
    if not complete:
        raise HedgerowError(f"{path} is cut off: its tensors end beyond the {size:,} bytes it has")
    name = fields.get("general.name")
    shown = name if isinstance(name, str) and name.strip() else path.stem
    return Header(shown, path, "gguf", sizes, Weights.of(held), size, True, fields)


def _value(reader: _Reader, key: str) -> Any:
    kind = reader.number("I")
    if kind == _STRING:
        return reader.text()
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind != _ARRAY:
        raise HedgerowError(f"{reader.where}: field '{key[:60]}' has a type that GGUF does not know ({kind})")
    inner = reader.number("I")
    if inner == _STRING:  # a vocabulary: only how many there are is of use here
        length = reader.count(_MOST_ITEMS, 8, f"texts in '{key[:60]}'")
        for _ in range(length):
            reader.skip(reader.count(_MOST_TEXT, 1, "bytes of one text"))
        return length
    if inner not in _SCALARS:
        raise HedgerowError(f"{reader.where}: field '{key[:60]}' is a list of lists, which no model's header needs")
    code = _SCALARS[inner]
    each = struct.calcsize(f"<{code}")
    length = reader.count(_MOST_ITEMS, each, f"numbers in '{key[:60]}'")
    if length > 4096:
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
            raise HedgerowError(f"{reader.where}: tensor '{name[:60]}' is named twice, or has {dims} dimensions")
        names.add(name)
        shape = struct.unpack(f"<{dims}Q", reader.take(8 * dims))
        number, offset = reader.number("I"), reader.number("Q")
        kind = formats.NUMBERS.get(number)
        if kind is None:
            raise HedgerowError(f"{reader.where}: tensor '{name[:60]}' has element type {number}, which is not known")
        if math.prod(shape) > MOST_ELEMENTS or min(shape) < 1:
            promised = f"tensor '{name[:60]}' promises {math.prod(shape):,} elements"
            raise HedgerowError(f"{reader.where}: {promised}, which no file holds; refused")
        found.append((Tensor(name=name, format=kind, shape=tuple(reversed(shape))), offset))
    return found


def _check_ends(reader: _Reader, listed: list[tuple[Tensor, int]], fields: Mapping[str, Any]) -> bool:
    """Whether every tensor ends inside the file; HedgerowError when a row is no whole number of blocks."""
    align = fields.get("general.alignment", 32)
    if not isinstance(align, int) or isinstance(align, bool) or not 1 <= align <= 1 << 20:
        raise HedgerowError(f"{reader.where}: 'general.alignment' is {align!r}")
    start = -(-reader.at // align) * align
    for tensor, offset in listed:
        if tensor.shape[-1] % formats.BLOCKS[tensor.format][0]:
            raise HedgerowError(
                f"{reader.where}: rows of tensor '{tensor.name[:60]}' are no whole blocks of {tensor.format}"
            )
        if start + offset + formats.bytes_of(tensor.elements, tensor.format) > reader.size:
            return False
    return True


# --- folders ---------------------------------------------------------------------------------------------------------
_DTYPES = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "I8": "i8", "U8": "i8", "I16": "i16",
           "I32": "i32", "I64": "i64", "BOOL": "i8", "F8_E4M3": "f8_e4m3", "F8_E5M2": "f8_e5m2"}  # fmt: skip
_BUFFER = (".inv_freq", ".masked_bias", ".attn.bias", "attention.bias", "position_ids")  # not weights


def _folder(path: Path, layout: str) -> Header:
    file = path / ("config.json" if layout == "hf-folder" else "model.json")
    config = _json(file)
    if layout == "pack":
        config = config.get("config") if isinstance(config, dict) else None
        if not isinstance(config, dict) or "model_type" not in config:
            raise HedgerowError(f"{path} is a Pack of no language model: `hedgerow weigh` measures what it costs")
    if not isinstance(config, dict):
        raise HedgerowError(f"{file} is no configuration of a model")
    sizes = configs.from_config(config, str(file))
    held: list[Tensor] = []
    total = 0
    for part in sorted(path.glob("*.safetensors")):
        held += _safetensors(part)
        total += part.stat().st_size
    if held:
        weights = Weights.of(held)
        if sizes.tied and "head" in weights.parts:  # some writers store the shared matrix twice
            weights = Weights(parts={k: v for k, v in weights.parts.items() if k != "head"}, tied=True)
        _plausible(weights, sizes, path)
    else:
        kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}.get(
            str(config.get("dtype") or config.get("torch_dtype")), "f16"
        )
        weights = formulas.weights(sizes, kind)
    return Header(path.name, path, layout, sizes, weights, total, bool(held), config)


def _plausible(weights: Weights, sizes: Geometry, path: Path) -> None:
    """A folder whose arrays are not those of its config would give numbers that describe neither."""
    embedding = sum(weights.parts.get("embedding", {}).values())
    least, stored = sizes.vocabulary * sizes.width, weights.elements
    if embedding < least or not 0.5 * formulas.parameters(sizes) <= stored <= 2 * formulas.parameters(sizes):
        raise HedgerowError(
            f"{path}: its arrays hold {stored:,} numbers, its config speaks of about {formulas.parameters(sizes):,}; "
            "one of them is of another model"
        )


def _safetensors(path: Path) -> list[Tensor]:
    from safetensors import SafetensorError, safe_open

    found = []
    try:
        with safe_open(path, framework="numpy") as f:
            for name in f.keys():  # noqa: SIM118 (no mapping)
                part = f.get_slice(name)
                kind, shape = _DTYPES.get(str(part.get_dtype())), tuple(part.get_shape())
                if kind is None:
                    raise HedgerowError(f"{path}: array '{name[:60]}' has elements of a kind that is not known")
                if not name.endswith(_BUFFER) and 0 not in shape:
                    found.append(Tensor(name=name, format=kind, shape=shape or (1,)))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise HedgerowError(f"{path} is not a readable safetensors file: {e}") from e
    return found


def _json(file: Path) -> Any:
    if file.is_file() and file.stat().st_size > _MOST_CONFIG:
        raise HedgerowError(f"{file} has {file.stat().st_size:,} bytes, which no configuration has; refused")
    return files.read_json(file)
