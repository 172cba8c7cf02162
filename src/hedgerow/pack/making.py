"""Making Packs, adding forms to them, and keeping trunks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.pack.opened import Pack, open_pack, open_variant, trunk_cache
from hedgerow.pack.records import EVIDENCE, FORM_NAME, FORMAT, MANIFEST, VARIANT, Info, VariantInfo, sealed
from hedgerow.pack.whole import base_files, entry_of, files_below, write_manifest


@contextmanager
def create(
    path: str | Path,
    info: Info,
    *,
    trunk: Pack | None = None,
    thin: bool = False,
    check: Callable[[Pack], None] | None = None,
) -> Iterator[Path]:
    """Yield an empty folder to put the Pack's files in; it becomes the Pack at ``path`` when the block ends well.

    ``pack.toml``, ``manifest.json`` and ``trunk/`` are written here. A trunk is put into the cache, and hard-linked
    into the Pack unless ``thin``. Replaces an older Pack of that path (anything else there is an error), whose evidence
    stays: each of its lines names the digest that it speaks of. ``check`` (a kind's) sees the whole Pack before it
    appears, and what it raises keeps it from appearing.
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
            kept = open_pack(keep_trunk(trunk), verify=False)
            if not thin:
                copy_pack(kept, folder / "trunk", trunk.variants)
        write_manifest(folder, info.trunk)
        _copy_evidence(path, folder)
        if check is not None:
            try:
                check(open_pack(folder, verify=False))
            except HedgerowError as e:
                raise HedgerowError(str(e).replace(str(folder), str(path))) from e


def copy_pack(pack: Pack, target: Path, variants: Iterable[str] | None = None) -> None:
    """The Pack's files and forms (None: all) at ``target``, hard-linked where that works; evidence is never linked."""
    forms = pack.variants if variants is None else variants
    folders = [f for name in forms for f in files_below(pack.variant_folder(name))]
    for file in [*base_files(pack.path), pack.path / MANIFEST, *folders]:
        files.link_or_copy(file, target / file.relative_to(pack.path))
    _copy_evidence(pack.path, target)
    if (pack.path / "trunk").is_dir():
        copy_pack(pack.trunk(), target / "trunk")


def _copy_evidence(source: Path, target: Path) -> None:
    for name in EVIDENCE:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def keep_evidence(old: Path, new: Path) -> None:
    """Put the evidence of the Pack ``old``, whose place ``new`` is about to take, before that of ``new``.

    Each line names the digest that it speaks of: a Pack that is built again with the same weights keeps its costs.
    """
    for name in EVIDENCE:
        kept, fresh = ((folder / name).read_bytes() if (folder / name).is_file() else b"" for folder in (old, new))
        kept = kept[: kept.rfind(b"\n") + 1]  # not the line of a writer that was cut off
        if kept:
            files.write_bytes(new / name, kept + fresh)


def keep_trunk(trunk: Pack) -> Path:
    """Put a trunk Pack with its forms into the user's cache under its digest; returns the folder.

    What the cache holds is verified first: a damaged copy is replaced, a form that it lacks is added. Raises
    HedgerowError when the trunk itself was changed since it was opened.
    """
    folder = trunk_cache(trunk.digest)
    have = _whole(folder, trunk.digest)
    if have is None:
        with files.new_folder(folder, replace=True) as temporary:
            copy_pack(trunk, temporary)
            open_pack(temporary)
        return folder
    for name in set(trunk.variants) - set(have.variants):
        with files.new_folder(folder / "variants" / name) as temporary:
            for file in files_below(trunk.variant_folder(name)):
                files.link_or_copy(file, temporary / file.relative_to(trunk.variant_folder(name)))
            open_variant(temporary, trunk.digest, verify=True)
    return folder


def _whole(folder: Path, digest: str) -> Pack | None:
    try:
        found = open_pack(folder)
    except HedgerowError:
        return None
    return found if found.digest == digest else None


def add_variant(pack: Pack, name: str, info: VariantInfo, fill: Callable[[Path], None]) -> Pack:
    """Add (or replace) the form ``name``: ``fill(folder)`` writes its files, and the folder appears in one step.

    Returns the Pack opened again; its digest is unchanged.
    """
    if not FORM_NAME.fullmatch(name):
        raise HedgerowError(f"'{name}' cannot name a variant; use letters, digits, '_' and '-'")
    if info.of != pack.digest:
        raise HedgerowError(f"the form '{name}' was made from other weights than {pack.path} holds")
    with files.new_folder(pack.path / "variants" / name, replace=True) as temporary:
        fill(temporary)
        listed = {f.relative_to(temporary).as_posix(): entry_of(f) for f in files_below(temporary)}
        made = info.made or datetime.now(UTC).isoformat(timespec="seconds")
        record = sealed(info.model_copy(update={"files": listed, "made": made}))
        files.write_json(temporary / VARIANT, record.model_dump(mode="json"))
    return open_pack(pack.path, verify=False)


def _write_toml(path: Path, info: Info) -> None:
    import tomli_w

    files.write_text(path, tomli_w.dumps(_without_null(info.model_dump(mode="json"))))


def _without_null(value: Any) -> Any:
    """TOML knows no null: a key whose value is None is left out, at every depth."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
