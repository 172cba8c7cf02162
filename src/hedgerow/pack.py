"""The Pack: one model as a plain folder, with its lineage, its scores and its measured costs.

::

    pack.toml            what it is: kind, recipe, parents, data with licences, task        (Info)
    model.json           which net, with which arguments                                   (read by the kind)
    weights.safetensors  arrays
    *.json               labels, vocabulary, preprocessing
    variants/NAME/       the same weights in another form, each with variant.json
    trunk/               the frozen trunk, a Pack of its own; absent in a thin Pack
    manifest.json        SHA-256 and size of every file above, and the digests
    scores.jsonl costs.jsonl   the evidence, which only grows and is outside the digest

The **digest** of a Pack covers every file but the evidence and the variants, and the trunk by its digest. A variant has
a digest of its own that names the Pack it was made from. So adding a form does not orphan the evidence of the others,
and an evidence line, which names the digest and the variant, never speaks for other weights than it measured.

This module knows no model. Everything in a Pack is data: opening one runs none of its content.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record, check

FORMAT = 1
EVIDENCE = ("scores.jsonl", "costs.jsonl")
_MANIFEST = "manifest.json"
_HEX = r"^[0-9a-f]{64}$"


class Source(Record):
    """Data that went into the weights, with what its licence asks for."""

    name: str
    version: str = ""
    licence: str
    attribution: str = ""
    sha256: str = ""
    rows: int | None = None
    shareable: bool = True  # whether weights and examples derived from it may be passed on


class Parent(Record):
    """A Pack or published model that this one was made from."""

    role: str  # trunk, teacher, base, start
    name: str
    digest: str = Field(pattern=_HEX)
    licence: str = ""


class Scored(Record):
    """The Task that a Pack's recipe scored it on; a name and options that the system can resolve again."""

    name: str
    options: dict[str, Any] = {}
    digest: str = Field(pattern=_HEX)


class Info(Record):
    """``pack.toml``."""

    format: int = FORMAT
    name: str
    kind: str
    summary: str = ""
    system: str = ""
    preset: str = ""
    config: dict[str, Any] = {}
    config_digest: str = ""
    seed: int | None = None
    made_by: str = ""  # hedgerow version
    parents: tuple[Parent, ...] = ()
    trunk: str | None = Field(default=None, pattern=_HEX)  # digest of the Pack in trunk/
    data: tuple[Source, ...] = ()
    shareable: bool = True
    task: Scored | None = None


class _File(Record):
    sha256: str = Field(pattern=_HEX)
    bytes: int = Field(ge=0)


class _Manifest(Record):
    digest: str = Field(pattern=_HEX)
    files: dict[str, _File]
    variants: dict[str, dict[str, _File]] = {}


class VariantInfo(Record):
    """``variants/NAME/variant.json``: one form of the weights."""

    runtime: str  # a name in hedgerow.runtimes
    of: str = Field(pattern=_HEX)  # digest of the Pack it was made from
    quantisation: str = ""
    made_with: dict[str, str] = {}  # library -> version
    details: dict[str, Any] = {}


@dataclass(frozen=True)
class Pack:
    """An opened Pack. Built by :func:`open_pack` or :func:`create`, never by hand."""

    path: Path
    info: Info
    digest: str
    _files: Mapping[str, int]  # base files -> bytes
    _variants: Mapping[str, Mapping[str, int]]

    # --- content -----------------------------------------------------------------------------------------------------
    def json(self, name: str) -> Any:
        """Parsed JSON file of the Pack."""
        return files.read_json(self.file(name))

    def has(self, name: str) -> bool:
        """Whether the Pack holds the base file ``name``."""
        return name in self._files

    def file(self, name: str) -> Path:
        """Path of a base file; HedgerowError when the Pack has none of that name."""
        if name not in self._files:
            raise HedgerowError(f"{self.path}: this Pack holds no {name}")
        return self.path / name

    def arrays(self, name: str = "weights.safetensors") -> dict[str, np.ndarray]:
        """All arrays of a safetensors file."""
        return read_arrays(self.file(name))

    @property
    def bytes(self) -> int:
        """Size on disk of the base form in bytes, without trunk, variants and evidence."""
        return sum(self._files.values())

    # --- variants and trunk ------------------------------------------------------------------------------------------
    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the forms added beside the base form."""
        return tuple(sorted(self._variants))

    def variant(self, name: str) -> VariantInfo:
        """What is recorded of one added form."""
        folder = self.variant_folder(name)
        return check(VariantInfo, files.read_json(folder / "variant.json"), str(folder / "variant.json"))

    def variant_folder(self, name: str) -> Path:
        """Folder of one added form; HedgerowError when there is none of that name."""
        if name not in self._variants:
            have = ", ".join(self.variants) or "none"
            raise HedgerowError(f"{self.path} has no variant '{name}' (added variants: {have})")
        return self.path / "variants" / name

    def variant_bytes(self, name: str) -> int:
        """Size on disk of one added form in bytes."""
        return sum(self._variants[name].values())

    def trunk(self, *, verify: bool = True) -> Pack:
        """The trunk Pack: ``trunk/`` of this folder, or for a thin Pack the one of that digest in the user's cache.

        ``verify`` as in :func:`open_pack`; without it a trunk that was verified a moment ago is not read once more.
        """
        if self.info.trunk is None:
            raise HedgerowError(f"{self.path}: this Pack has no trunk")
        inside = self.path / "trunk"
        folder = inside if inside.is_dir() else trunk_cache(self.info.trunk)
        if not folder.is_dir():
            raise HedgerowError(
                f"{self.path} is thin and its trunk {self.info.trunk[:12]} is not in the cache; "
                "copy the full Pack, or build or open one with the same trunk on this machine first"
            )
        trunk = open_pack(folder, verify=verify)
        if trunk.digest != self.info.trunk:
            raise HedgerowError(f"{folder} is not the trunk that {self.path} was made with: its digest differs")
        return trunk

    # --- evidence ----------------------------------------------------------------------------------------------------
    def evidence(self, name: str) -> list[dict[str, Any]]:
        """Rows of ``scores.jsonl`` or ``costs.jsonl`` that speak of this digest, from the Pack and from the cache."""
        rows = [row for path in self._evidence_paths(name) for row in files.read_jsonl(path)]
        return [row for row in rows if row.get("pack") == self.digest]

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Score lines of this digest."""
        return self.evidence("scores.jsonl")

    @property
    def costs(self) -> list[dict[str, Any]]:
        """Cost lines of this digest."""
        return self.evidence("costs.jsonl")

    def add_evidence(self, name: str, row: Mapping[str, Any]) -> Path:
        """Append a row about this digest; a read-only Pack keeps it in the user's cache. Returns where it went."""
        inside, cached = self._evidence_paths(name)
        target = inside if os.access(self.path, os.W_OK) else cached
        files.append_jsonl(target, {"pack": self.digest, **row})
        return target

    def _evidence_paths(self, name: str) -> tuple[Path, Path]:
        if name not in EVIDENCE:
            raise HedgerowError(f"'{name}' is no evidence file; there are {' and '.join(EVIDENCE)}")
        return self.path / name, files.cache_dir() / "evidence" / self.digest / name


def trunk_cache(digest: str) -> Path:
    """Where the user's cache keeps the trunk Pack of that digest."""
    return files.cache_dir() / "trunks" / digest


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file; a broken one is one line."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise HedgerowError(f"{path} is not a readable safetensors file: {e}") from e


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays as a safetensors file, written whole or not at all."""
    from safetensors.numpy import save

    files.write_bytes(path, save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))


# --- opening ---------------------------------------------------------------------------------------------------------
def open_pack(path: str | Path, *, verify: bool = True) -> Pack:
    """Open a Pack folder.

    ``verify`` reads every file and compares its SHA-256 with the manifest; without it only names and sizes are checked.
    Raises HedgerowError for a folder that is no Pack, a newer format, a missing, extra, cut or changed file, and a
    path that would leave the folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise HedgerowError(f"{path} is no Pack: there is no such folder")
    if not (path / "pack.toml").is_file():
        raise HedgerowError(f"{path} is no Pack: it holds no pack.toml")
    head = files.read_toml(path / "pack.toml")
    version = head.get("format")
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        hint = "update hedgerow to open it" if newer else "it was not made by hedgerow"
        raise HedgerowError(f"{path} has Pack format {version!r}, this hedgerow reads format {FORMAT}: {hint}")
    info = check(Info, head, str(path / "pack.toml"))
    manifest = check(_Manifest, files.read_json(path / _MANIFEST), str(path / _MANIFEST))
    _check_names(path, manifest)
    for name, entry in _entries(manifest):
        _check_file(path, name, entry, verify)
    if _digest(manifest.files, info.trunk) != manifest.digest:
        raise HedgerowError(f"{path}: the digest in {_MANIFEST} does not follow from its files; the Pack was altered")
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    variants = {v: {n: e.bytes for n, e in entries.items()} for v, entries in manifest.variants.items()}
    pack = Pack(path, info, manifest.digest, sizes, variants)
    for name in pack.variants:
        if pack.variant(name).of != pack.digest:
            raise HedgerowError(f"{path}: variant '{name}' was made from other weights than this Pack holds")
    return pack


def _entries(manifest: _Manifest) -> Iterator[tuple[str, _File]]:
    yield from manifest.files.items()
    for variant, entries in manifest.variants.items():
        for name, entry in entries.items():
            yield f"variants/{variant}/{name}", entry


def _check_names(path: Path, manifest: _Manifest) -> None:
    listed = set()
    for name, _ in _entries(manifest):
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or str(parts) != name:
            raise HedgerowError(f"{path}: {_MANIFEST} names '{name}', which is no plain path inside the Pack")
        listed.add(name)
    found = {p.relative_to(path).as_posix() for p in _walk(path)}
    extra = sorted(found - listed)
    if extra:
        raise HedgerowError(f"{path} holds {extra[0]}, which its manifest does not list; the Pack was altered")


def _walk(path: Path) -> Iterator[Path]:
    """Files of a Pack that its manifest must list."""
    for entry in sorted(path.iterdir()):
        if entry.name in (*EVIDENCE, _MANIFEST) or entry.name.startswith("."):
            continue
        if entry.name == "trunk" and entry.is_dir():
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from (p for p in sorted(entry.rglob("*")) if not p.is_dir() or p.is_symlink())
        else:
            yield entry


def _check_file(path: Path, name: str, entry: _File, verify: bool) -> None:
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise HedgerowError(f"{path}: {name} is missing; copy the Pack again")
    size = file.stat().st_size
    if size != entry.bytes:
        raise HedgerowError(f"{path}: {name} has {size} bytes instead of {entry.bytes}; copy the Pack again")
    if verify and files.sha256(file) != entry.sha256:
        raise HedgerowError(f"{path}: {name} was changed: its SHA-256 is not the one in {_MANIFEST}")


def _digest(entries: Mapping[str, _File], trunk: str | None) -> str:
    return files.digest({"files": {n: e.sha256 for n, e in entries.items()}, "trunk": trunk})


def _entry(file: Path) -> _File:
    return _File(sha256=files.sha256(file), bytes=file.stat().st_size)


# --- making ----------------------------------------------------------------------------------------------------------
@contextmanager
def create(path: str | Path, info: Info, *, trunk: Pack | None = None, thin: bool = False) -> Iterator[Path]:
    """Yield an empty folder to put the Pack's files in; it becomes the Pack at ``path`` when the block ends well.

    ``pack.toml``, ``manifest.json`` and ``trunk/`` are written here. A trunk is put into the cache, and hard-linked
    into the Pack unless ``thin``. Replaces an older Pack of that path (anything else there is an error).
    """
    from hedgerow import __version__

    path = Path(path)
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]) and not (path / "pack.toml").is_file():
        raise HedgerowError(f"{path} exists and is no Pack; choose another name or remove it first")
    trunk_digest = trunk.digest if trunk else None
    info = info.model_copy(update={"format": FORMAT, "made_by": __version__, "trunk": trunk_digest})
    with files.new_folder(path, replace=True) as folder:
        yield folder
        _write_toml(folder / "pack.toml", info)
        if trunk is not None:
            keep_trunk(trunk)
            if not thin:
                copy_pack(trunk, folder / "trunk")
        _write_manifest(folder, info.trunk)


def copy_pack(pack: Pack, target: Path) -> None:
    """The Pack's listed files at ``target``, hard-linked where that works; evidence is copied, never linked."""
    for file in [*_walk(pack.path), pack.path / _MANIFEST]:
        files.link_or_copy(file, target / file.relative_to(pack.path))
    for name in EVIDENCE:
        if (pack.path / name).is_file():
            shutil.copyfile(pack.path / name, target / name)
    if (pack.path / "trunk").is_dir():
        copy_pack(pack.trunk(), target / "trunk")


def keep_trunk(trunk: Pack) -> Path:
    """Put a trunk Pack into the user's cache under its digest, if it is not there; returns the folder."""
    folder = trunk_cache(trunk.digest)
    if not (folder / _MANIFEST).is_file():
        with files.new_folder(folder, replace=True) as temporary:
            copy_pack(trunk, temporary)
    return folder


def add_variant(pack: Pack, name: str, info: VariantInfo, fill: Callable[[Path], None]) -> Pack:
    """Add (or replace) the form ``name``: ``fill(folder)`` writes its files, then manifest and folder appear together.

    Returns the Pack opened again; its digest is unchanged.
    """
    if not name or PurePosixPath(name).name != name or name.startswith("."):
        raise HedgerowError(f"'{name}' cannot name a variant; use letters, digits and '-'")
    folder = pack.path / "variants" / name
    with files.new_folder(folder, replace=True) as temporary:
        fill(temporary)
        files.write_json(temporary / "variant.json", info.model_dump())
    _write_manifest(pack.path, pack.info.trunk)
    return open_pack(pack.path, verify=False)


def _write_manifest(folder: Path, trunk: str | None) -> None:
    base: dict[str, _File] = {}
    variants: dict[str, dict[str, _File]] = {}
    for file in _walk(folder):
        name = file.relative_to(folder).as_posix()
        if name.startswith("variants/"):
            _, variant, rest = name.split("/", 2)
            variants.setdefault(variant, {})[rest] = _entry(file)
        else:
            base[name] = _entry(file)
    manifest = _Manifest(digest=_digest(base, trunk), files=base, variants=variants)
    files.write_json(folder / _MANIFEST, manifest.model_dump())


def _write_toml(path: Path, info: Info) -> None:
    import tomli_w

    files.write_text(path, tomli_w.dumps(_without_null(info.model_dump(mode="json"))))


def _without_null(value: Any) -> Any:
    """TOML knows no null: a key whose value is None is left out, at every depth."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
