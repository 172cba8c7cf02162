"""Parsed copies of data in the cache: what takes seconds to read from a package is kept as JSON, made again at will."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data.fetch import data_dir
from hedgerow.errors import HedgerowError


def parsed(name: str, inputs: Mapping[str, str], readers: Iterable[str], make: Callable[[], Any]) -> Any:
    """JSON of ``make()``, read from the cache when it was made from the same inputs by the same code.

    ``inputs`` are versions and digests of what is read; ``readers`` the ``__file__`` of the modules that read it, whose
    text counts too, so that a change of a reader never meets an old copy. A copy that is damaged is made again.
    """
    code = {Path(reader).name: files.sha256(Path(reader)) for reader in readers}
    key = files.digest({"inputs": dict(inputs), "code": code})
    path = data_dir() / f"parsed-{name}-{key[:12]}.json"
    if path.exists():
        try:
            return files.read_json(path)
        except HedgerowError:
            path.unlink(missing_ok=True)
    value = make()
    try:
        files.write_text(path, files.canonical(value) + "\n")
    except HedgerowError:
        return value  # a full or read-only cache costs time, not the answer
    return value


def package_version(package: str, purpose: str) -> str:
    """Version of an installed package, without importing it; one line when it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise HedgerowError(
            f"{purpose} needs the package {package}; pip install 'hedgerow[build]' (or {package} alone)"
        ) from None
