"""What can be weighed: a Pack, a bare GGUF file, or a folder in the layout of Hugging Face.

A Pack keeps its evidence itself. That of a file is kept in the user's cache under the file's sha256: the same file in
another place has the same costs. A folder becomes a Pack in the cache, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, assert_never

from hedgerow import files, kinds
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model
from hedgerow.pack import Pack, open_pack


@dataclass(frozen=True)
class Subject:
    """One model to weigh; ``pack`` is None for a bare file."""

    path: Path
    name: str
    digest: str  # of the Pack, or sha256 of the file
    pack: Pack | None = None

    def forms(self) -> tuple[str, ...]:
        """Every form that it can be loaded in."""
        if self.pack is None:
            return (kinds.form_of_file(self.path),)
        return kinds.kind(self.pack.info.kind).variants(self.pack)

    def disk_bytes(self, form: str) -> int:
        """Bytes that a device must hold to run this form."""
        if self.pack is None:
            return self.path.stat().st_size
        return kinds.kind(self.pack.info.kind).disk_bytes(self.pack, form)

    @property
    def costs(self) -> list[dict[str, Any]]:
        """Rows that are known of it."""
        if self.pack is not None:
            return self.pack.costs
        return files.read_jsonl(self._evidence) if self._evidence.is_file() else []

    def keep(self, row: Mapping[str, Any]) -> None:
        """Append a row to the evidence."""
        if self.pack is not None:
            self.pack.add_evidence("costs.jsonl", row)
        else:
            self._evidence.parent.mkdir(parents=True, exist_ok=True)
            files.append_jsonl(self._evidence, row)

    @cached_property
    def _evidence(self) -> Path:
        return files.cache_dir() / "weighed" / self.digest / "costs.jsonl"


def subject_of(what: Model | Pack | str | Path) -> Subject:
    """The subject of a Pack (verified: the measuring process may then trust its files), a GGUF file, or a folder.

    Raises HedgerowError for anything else, and for a file or folder that is damaged.
    """
    match what:
        case Model():
            return subject_of(what.pack)
        case Pack():
            return Subject(what.path, what.info.name, what.digest, what)
        case str() | Path():
            path = Path(what)
            if path.suffix == ".gguf" and not path.exists():
                raise HedgerowError(f"there is no file {path}")
            if path.is_file():
                kinds.form_of_file(path)  # refuses what is no whole GGUF file
                return Subject(path, path.stem, files.sha256(path))
            if (path / "config.json").is_file() and not (path / "pack.toml").is_file():
                return subject_of(_made(path))
            return subject_of(open_pack(path))
        case _:
            assert_never(what)


def _made(folder: Path) -> Pack:
    """The Pack of a folder of Hugging Face's layout, from the cache or made now (needs [build])."""
    names = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json"))
    key = files.digest({p.name: files.sha256(p) for p in names})[:24]
    target = files.cache_dir() / "weighed" / key / "pack"
    if not (target / "pack.toml").is_file():
        try:
            kinds.pack_of_folder(folder, target, folder.name)
        except ImportError as e:
            raise HedgerowError(f"{folder} must first become a Pack: pip install 'hedgerow[build]'") from e
    return open_pack(target)
