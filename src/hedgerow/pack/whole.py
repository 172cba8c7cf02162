"""Whether a Pack holds exactly the files that it lists, whole and unchanged; and the list itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.pack.records import EVIDENCE, FORM_NAME, MANIFEST, File, Manifest


def check_no_links(path: Path) -> None:
    """Files outside the manifest that are written to or read must not lead out of the Pack."""
    for name in ("pack.toml", MANIFEST, *EVIDENCE, "variants", "trunk"):
        if (path / name).is_symlink():
            raise HedgerowError(f"{path}: {name} is a symbolic link, which a Pack never holds; refused")


def check_files(path: Path, listed: Mapping[str, File], found: Iterable[Path], by: str, verify: bool) -> None:
    """Exactly the listed files, whole and unchanged; ``by`` is the file that lists them."""
    for name in listed:
        parts = PurePosixPath(name)
        reserved = by == MANIFEST and (name in (*EVIDENCE, MANIFEST) or parts.parts[:1] in (("trunk",), ("variants",)))
        hidden = any(part.startswith(".") for part in parts.parts)
        odd = not parts.parts or not name.isprintable() or parts.is_absolute()
        if odd or hidden or reserved or "\\" in name or str(parts) != name or len(name) > 200:
            raise HedgerowError(f"{path}: {by} names '{name[:200]}', which is no plain path inside the Pack")
    extra = sorted({p.relative_to(path).as_posix() for p in found} - set(listed))
    if extra:
        raise HedgerowError(f"{path} holds {extra[0]}, which its {by} does not list; the Pack was altered")
    for name, entry in listed.items():
        _check_file(path, name, entry, by, verify)


_LOOKED_AT = 64_000_000  # bytes; larger files are looked at when they are loaded, not whenever a Pack is opened


def check_numbers(path: Path, listed: Mapping[str, File]) -> None:
    """HedgerowError for an array of NaN or infinity; a file that cannot be read as arrays is left to the kind."""
    from safetensors import SafetensorError, safe_open

    for name in (n for n, entry in listed.items() if n.endswith(".safetensors") and entry.bytes <= _LOOKED_AT):
        try:
            with safe_open(path / name, framework="numpy") as f:
                for key in f.keys():  # noqa: SIM118 (no mapping)
                    if f.get_slice(key).get_dtype() in ("F16", "F32", "F64") and not finite(f.get_tensor(key)):
                        raise HedgerowError(
                            f"{path}/{name}: array '{key}' holds values that are not finite numbers; refused"
                        )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            continue


def finite(array: np.ndarray) -> bool:
    """Whether no value is NaN or infinite. A finite sum says so ten times as fast as looking at each value."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64)) or np.isfinite(array).all())


def base_files(path: Path) -> Iterator[Path]:
    """Files of a Pack that its manifest must list."""
    for entry in sorted(path.iterdir()):
        if entry.name in (*EVIDENCE, MANIFEST, "trunk", "variants") or entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from files_below(entry)
        else:
            yield entry


def files_below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and is no plain folder itself; names that begin with a dot are nobody's."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from files_below(entry)
        else:
            yield entry


def variant_folders(path: Path) -> list[Path]:
    """Folders of the added forms; one whose name begins with a dot is being made, or was left by a killed export."""
    home = path / "variants"
    entries = [e for e in sorted(home.iterdir()) if not e.name.startswith(".")] if home.is_dir() else []
    for entry in entries:
        if entry.is_symlink() or not entry.is_dir() or not FORM_NAME.fullmatch(entry.name):
            raise HedgerowError(f"{path} holds variants/{entry.name}, which is no form; the Pack was altered")
    return entries


def _check_file(path: Path, name: str, entry: File, by: str, verify: bool) -> None:
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise HedgerowError(f"{path}: {name} is missing; copy the Pack again")
    size = file.stat().st_size
    if size != entry.bytes:
        raise HedgerowError(f"{path}: {name} has {size} bytes instead of {entry.bytes}; copy the Pack again")
    if verify and files.sha256(file) != entry.sha256:
        raise HedgerowError(f"{path}: {name} was changed: its SHA-256 is not the one in {by}")


def digest_of(entries: Mapping[str, File], trunk: str | None) -> str:
    """Digest of a Pack: of its base files' digests and its trunk's."""
    return files.digest({"files": {n: e.sha256 for n, e in entries.items()}, "trunk": trunk})


def entry_of(file: Path) -> File:
    """SHA-256 and size of a file."""
    return File(sha256=files.sha256(file), bytes=file.stat().st_size)


def write_manifest(folder: Path, trunk: str | None) -> None:
    """Write ``manifest.json`` for the files that lie in ``folder``; ``trunk`` is the digest of its trunk."""
    listed = {file.relative_to(folder).as_posix(): entry_of(file) for file in base_files(folder)}
    files.write_json(folder / MANIFEST, Manifest(digest=digest_of(listed, trunk), files=listed).model_dump())
