"""What the user's cache holds beside fetched data: made on this machine, listed with size and age, removed on request.

Nobody can know which of it is still wanted: a thin Pack somewhere on the disk may need a trunk that is only here.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean

# folder of the cache -> what it is, and what its loss means
ROOMS = {
    "features": "vectors of texts; made again when a build needs them",
    "trunks": "base models; thin Packs need theirs, and which Packs are thin cannot be known",
    "evidence": "scores and costs of read-only Packs; only weighing them again brings them back",
    "suite": "sets and baselines of the capability suite; made again when it runs",
}


def made() -> list[dict[str, Any]]:
    """``{room, name, bytes, days}`` of every entry, largest first within its room; days since its last change."""
    rows = []
    for room in ROOMS:
        entries = [_entry(room, path) for path in _entries(room)]
        rows += sorted(entries, key=lambda row: (-row["bytes"], row["name"]))
    return rows


def remove(rooms: Collection[str]) -> list[dict[str, Any]]:
    """Remove all that these rooms hold; returns what :func:`made` says of it. HedgerowError for an unknown room."""
    for room in rooms:
        if room not in ROOMS:
            raise HedgerowError(f"the cache has no part '{room}'{did_you_mean(room, ROOMS)}")
    gone = []
    for room in dict.fromkeys(rooms):
        for path in _entries(room):
            said = _entry(room, path)
            try:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            except OSError as e:
                raise HedgerowError(f"cannot remove {path}: {e.strerror or e}; what came before it is gone") from e
            gone.append(said)
    return gone


def _entries(room: str) -> list[Path]:
    """What lies in a room; a name that begins with a dot is being made."""
    folder = files.cache_dir() / room
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _lstat(path: Path) -> os.stat_result | None:
    """None when another program removed it meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _entry(room: str, path: Path) -> dict[str, Any]:
    inside = [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]
    found = [s for s in map(_lstat, inside) if s is not None]
    size = sum(s.st_size for s in found if not stat.S_ISDIR(s.st_mode))
    days = (time.time() - max((s.st_mtime for s in found), default=time.time())) / 86_400
    return {"room": room, "name": path.name, "bytes": size, "days": round(max(0.0, days), 1)}
