"""An opened Pack: its content, forms, trunk and evidence."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.pack.records import EVIDENCE, FORMAT, MANIFEST, VARIANT, Info, Manifest, VariantInfo, sealed
from hedgerow.pack.whole import (
    base_files,
    check_files,
    check_no_links,
    check_numbers,
    digest_of,
    files_below,
    variant_folders,
)
from hedgerow.schema import check


@dataclass(frozen=True)
class Pack:
    """An opened Pack. Built by :func:`open_pack` or :func:`create`, never by hand."""

    path: Path
    info: Info
    digest: str
    _files: Mapping[str, int]  # base files -> bytes
    _variants: Mapping[str, VariantInfo]

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
        """What is recorded of one added form; HedgerowError when there is none of that name."""
        if name not in self._variants:
            have = ", ".join(self.variants) or "none"
            raise HedgerowError(f"{self.path} has no variant '{name}' (added variants: {have})")
        return self._variants[name]

    def variant_folder(self, name: str) -> Path:
        """Folder of one added form; HedgerowError when there is none of that name."""
        self.variant(name)
        return self.path / "variants" / name

    def variant_bytes(self, name: str) -> int:
        """Size of the files of one added form in bytes."""
        return sum(entry.bytes for entry in self.variant(name).files.values())

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
                "copy the full Pack instead, or build one with the same trunk on this machine first"
            )
        try:
            trunk = open_pack(folder, verify=verify)
        except HedgerowError as e:
            raise HedgerowError(f"the trunk of {self.path} is damaged: {e}") from e
        if trunk.digest != self.info.trunk:
            raise HedgerowError(f"{folder} is not the trunk that {self.path} was made with: its digest differs")
        return trunk

    # --- evidence ----------------------------------------------------------------------------------------------------
    def evidence(self, name: str) -> list[dict[str, Any]]:
        """Rows of ``scores.jsonl`` or ``costs.jsonl`` that speak of this digest, from the Pack and from the cache.

        A row about a form that was exported again since, with other settings or libraries, is left out: see
        :meth:`outdated`.
        """
        return [row for row, old in self._lines(name) if not old]

    def outdated(self) -> dict[str, int]:
        """Lines of evidence about older exports of a form: {form: how many}."""
        old = [str(row["variant"]) for name in EVIDENCE for row, outdated in self._lines(name) if outdated]
        return {form: old.count(form) for form in sorted(set(old))}

    def _lines(self, name: str) -> list[tuple[dict[str, Any], bool]]:
        """(row of this digest, whether it speaks of an older export of its form).

        A line names the digest of its form; one that was written before lines did so is older when its form was made
        after it.
        """
        rows = [row for path in self._evidence_paths(name) for row in files.read_jsonl(path)]
        forms = self._forms() if rows else {}
        found = []
        for row in (r for r in rows if r.get("pack") == self.digest):
            about, form = row.pop("form", None), forms.get(str(row.get("variant", "")))
            earlier = form is not None and str(row.get("when", "")) < form.made
            found.append((row, form is not None and (about != form.digest if about else earlier)))
        return found

    def _forms(self) -> dict[str, VariantInfo]:
        """Added forms by name, with those of the trunk, which stand for forms of this Pack."""
        try:
            inner = self.trunk(verify=False)._forms() if self.info.trunk is not None else {}
        except HedgerowError:  # thin, and its trunk is not here
            inner = {}
        return {**inner, **self._variants}

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
        form = self._forms().get(str(row.get("variant", "")))
        about = {"pack": self.digest, **({"form": form.digest} if form is not None else {}), **row}
        if os.access(self.path, os.W_OK):
            try:
                files.append_jsonl(inside, about)
                return inside
            except HedgerowError as e:
                cause = e.__cause__
                if not isinstance(cause, OSError) or cause.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                    raise
        files.append_jsonl(cached, about)
        return cached

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


def open_pack(path: str | Path, *, verify: bool = True) -> Pack:
    """Open a Pack folder.

    ``verify`` reads every file and compares its SHA-256 with the manifest, and refuses weights that are no numbers;
    without it only names and sizes are checked. Raises HedgerowError for a folder that is no Pack, a newer format, a
    missing, extra, cut or changed file, and a path that would leave the folder.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            if path.suffix == ".gguf" and path.is_file():
                made = f"hedgerow export {path} --output packs/NAME"
                raise HedgerowError(f"{path} is no Pack but a GGUF file; make it one: {made}")
            raise HedgerowError(f"{path} is no Pack: there is no such folder")
        if not (path / "pack.toml").is_file():
            raise HedgerowError(f"{path} is no Pack: it holds no pack.toml")
    except OSError as e:  # a name too long, a folder that may not be entered
        raise HedgerowError(f"{str(path)[:200]} is no Pack: {e.strerror or e}") from e
    head = files.read_toml(path / "pack.toml")
    version = head.get("format")
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        hint = "update hedgerow to open it" if newer else "it was not made by hedgerow"
        raise HedgerowError(f"{path} has Pack format {version!r}, this hedgerow reads format {FORMAT}: {hint}")
    info = check(Info, head, str(path / "pack.toml"))
    manifest = check(Manifest, files.read_json(path / MANIFEST), str(path / MANIFEST))
    try:
        check_no_links(path)
        check_files(path, manifest.files, base_files(path), MANIFEST, verify)
        if digest_of(manifest.files, info.trunk) != manifest.digest:
            raise HedgerowError(f"{path}: the digest in {MANIFEST} does not follow from its files; it was altered")
        if info.trunk is None and (path / "trunk").exists():
            raise HedgerowError(f"{path} holds a trunk that its pack.toml does not name; the Pack was altered")
        if verify:
            check_numbers(path, manifest.files)
        variants = {folder.name: open_variant(folder, manifest.digest, verify) for folder in variant_folders(path)}
    except OSError as e:
        raise HedgerowError(f"{path} cannot be read: {e.strerror or e}") from e
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    return Pack(path, info, manifest.digest, sizes, variants)


def open_variant(folder: Path, of: str, verify: bool) -> VariantInfo:
    """The record of the form in ``folder``, made from the Pack of digest ``of``; checks its files as a Pack's are."""
    where = folder / VARIANT
    info = check(VariantInfo, files.read_json(where), str(where))
    try:
        digest = sealed(info).digest
    except (ValueError, RecursionError) as e:  # NaN, or a tower of brackets, in its free part
        raise HedgerowError(f"{where} is no plain JSON: {e}") from e
    if info.digest != digest:
        raise HedgerowError(f"{where} was changed: its digest is another; copy the Pack again or export the form again")
    if info.of != of:
        raise HedgerowError(f"{folder} was made from other weights than this Pack holds; export the form again")
    check_files(folder, info.files, (f for f in files_below(folder) if f != where), VARIANT, verify)
    return info
