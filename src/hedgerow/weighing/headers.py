"""What a model's file says of itself, read without its weights: a GGUF file, a Hugging Face folder, or a Pack.

How far a GGUF header is believed stands in :mod:`hedgerow.runtimes.gguf_header`; a configuration is held against the
arrays beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.cost import Geometry, Tensor, Weights, configs, formulas
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import gguf_header

_MOST_CONFIG = 1 << 24  # bytes


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
def _gguf(path: Path) -> Header:
    held = gguf_header.read(path)
    sizes = configs.from_gguf(held.fields, held.shapes, str(path))
    name = held.fields.get("general.name")
    own = gguf_header.shown(name.strip(), 120) if isinstance(name, str) else ""
    return Header(own or path.stem, path, "gguf", sizes, held.weights, held.bytes, True, held.fields)


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
