"""``sources.toml``: what hedgerow takes out of other people's packages, and the digest that proves it."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from hedgerow import files, pack
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record, check

CLIENTS = ("pip", "npm", "apt")
SUFFIXES = {"pip": (".whl",), "npm": (".tgz",), "apt": (".deb",)}  # of the packages that each client brings
_TABLE = Path(__file__).with_name("sources.toml")


class Source(Record):
    """One file, or one folder, inside one version of one package."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    client: Literal["pip", "npm", "apt"]
    package: str = Field(pattern=r"^[A-Za-z0-9@][A-Za-z0-9@/._+-]*$")  # never an option of the client
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+:~_-]*$")
    path: str
    folder: bool = False
    only: tuple[str, ...] = ()  # for a folder: the files of it that are kept; all when empty
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    download: int = Field(default=0, ge=0)  # bytes of the package; 0 where it is not known
    licence: str
    attribution: str
    shareable: bool
    used_by: tuple[str, ...] = ()
    note: str = ""
    platform: str = Field(default="", pattern=r"^[a-z0-9_]*$")  # whose wheel is asked for, where each has its own
    sdist: bool = False  # published only as a source package, whose build script runs while pip fetches it

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        parts = PurePosixPath(value).parts
        if not parts or value.startswith("/") or ".." in parts or "\\" in value:
            raise ValueError("must be a relative path inside the package")
        return value

    @property
    def basename(self) -> str:
        """Last part of ``path``: the name of the file or folder once it is taken out."""
        return PurePosixPath(self.path).name

    @property
    def key(self) -> str:
        """Its folder in the cache: another digest is another folder, so two versions of hedgerow never disturb."""
        return f"{self.name}-{self.sha256[:12]}"

    def provenance(self, rows: int | None = None) -> pack.Source:
        """The record of it that a Pack made from it carries."""
        return pack.Source(
            name=self.name,
            version=self.version,
            licence=self.licence,
            attribution=self.attribution,
            sha256=self.sha256,
            rows=rows,
            shareable=self.shareable,
        )


@cache
def sources() -> dict[str, Source]:
    """All sources that this version knows, by name."""
    return read_sources(_TABLE)


def read_sources(path: Path) -> dict[str, Source]:
    """The checked tables of a ``sources.toml``."""
    tables = files.read_toml(path)
    return {name: check(Source, {"name": name, **table}, f"{path.name} [{name}]") for name, table in tables.items()}


def source(name: str) -> Source:
    """The source of that name; an unknown one is an error with a suggestion."""
    found = sources().get(name)
    if found is None:
        raise HedgerowError(f"there is no data source '{name}'{did_you_mean(name, sources())}")
    return found


def contents_digest(path: Path, only: tuple[str, ...] = ()) -> str:
    """SHA-256 of a file; of a folder, that of its ``sha256  path`` lines sorted by path (as ``sha256sum`` prints)."""
    if path.is_file():
        return files.sha256(path)
    total = hashlib.sha256()
    for name, file in walk(path, only):
        total.update(f"{files.sha256(file)}  {name}\n".encode())
    return total.hexdigest()


def walk(folder: Path, only: tuple[str, ...] = ()) -> list[tuple[str, Path]]:
    """``(relative path, file)`` of the regular files below ``folder``, sorted; of those in ``only`` when given."""
    found = [(f.relative_to(folder).as_posix(), f) for f in folder.rglob("*") if f.is_file()]
    return sorted((name, file) for name, file in found if not only or name in only)
