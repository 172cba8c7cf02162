"""What the small files of a Pack say: ``pack.toml``, ``manifest.json`` and each form's ``variant.json``."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from hedgerow import files
from hedgerow.schema import Record

FORMAT = 1
EVIDENCE = ("scores.jsonl", "costs.jsonl")
MANIFEST = "manifest.json"
VARIANT = "variant.json"
_HEX = r"^[0-9a-f]{64}$"
FORM_NAME = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*")


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


class File(Record):
    """One file of a Pack."""

    sha256: str = Field(pattern=_HEX)
    bytes: int = Field(ge=0)


class Manifest(Record):
    """``manifest.json``: the files of the base form; ``digest`` follows from them and from the trunk's."""

    digest: str = Field(pattern=_HEX)
    files: dict[str, File]


class VariantInfo(Record):
    """``variants/NAME/variant.json``: one form of the weights; add_variant fills in ``files`` and ``digest``."""

    runtime: str  # a name in hedgerow.runtimes
    of: str = Field(pattern=_HEX)  # digest of the Pack it was made from
    quantisation: str = ""
    made_with: dict[str, str] = {}  # library -> version
    details: dict[str, Any] = {}
    files: dict[str, File] = {}
    digest: str = ""  # of all of the above
    made: str = ""  # when, UTC; no part of the digest: the same form exported again is the same form


def sealed(info: VariantInfo) -> VariantInfo:
    """The same record with the digest of all that makes the form."""
    return info.model_copy(update={"digest": files.digest(info.model_dump(mode="json", exclude={"digest", "made"}))})
