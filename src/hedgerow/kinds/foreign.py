"""Models that somebody else published, a GGUF file or a folder in Hugging Face's layout, made into Packs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.kinds import is_model
from hedgerow.pack import Info, Pack, Source

MAGIC = b"GGUF"


def pack_of(path: str | Path, target: str | Path, *, licence: str | None = None, shareable: bool = False) -> Pack:
    """A Pack at ``target`` from a GGUF file or a folder with config.json, *.safetensors and a tokenizer.

    ``pack.toml`` names the file, its SHA-256 (of a folder: that of its config and weights together) and the licence,
    "unknown" when none is given. A GGUF file stays a form of the Pack where its format has a name there. Raises
    HedgerowError for anything else, an architecture that no kind builds, a target that exists, and without [build].
    """
    path, target = Path(path), Path(target)
    if target.exists():
        raise HedgerowError(f"{target} exists; choose another name with --output or remove it first")
    if target.name in ("", ".."):
        raise HedgerowError(f"'{target}' gives the Pack no name; name a folder of its own with --output")
    if not is_model(path):
        raise HedgerowError(f"{path} is missing, or neither a GGUF file nor a folder with a config.json")
    if path.is_file():
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise HedgerowError(f"{path} is no GGUF file")
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise HedgerowError("making a Pack of a model needs the larger installation: pip install 'hedgerow[build]'")
    source = Source(
        name=path.resolve().name, licence=licence or "unknown", sha256=_sha256(path), shareable=shareable,
    )  # fmt: skip
    info = Info(
        name=target.name, kind="decoder-lm", summary=f"made from {source.name}", data=(source,), shareable=shareable
    )
    return _made(path, target, info)


def _sha256(path: Path) -> str:
    if path.is_file():
        return files.sha256(path)
    weights = sorted(path.glob("*.safetensors"))
    return files.digest([files.sha256(p) for p in (path / "config.json", *weights)])


def _made(path: Path, target: Path, info: Info) -> Pack:
    from hedgerow.kinds import decoder_export, decoder_lm, encoder, transformer

    if path.is_file():
        pack = decoder_lm.from_gguf(path, target, info)
        known = decoder_export.form_of_file(path) in decoder_export.FORMS
        return decoder_export.keep(pack, path) if known else pack
    config = files.read_json(path / "config.json")
    known_encoder = isinstance(config, dict) and config.get("model_type") in transformer.ENCODERS
    if known_encoder:
        return encoder.from_folder(path, target, info)
    return decoder_lm.from_folder(path, target, info)
