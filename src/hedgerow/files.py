"""Files that are written whole or not at all, digests, JSON lines, and the user's folders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError


def cache_dir() -> Path:
    """The user's cache (data, trunks, evidence of read-only Packs); ``HEDGEROW_CACHE`` overrides it."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("HEDGEROW_CACHE") or user_cache_path("hedgerow"))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, whatever the order they were built in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write (full disk, no permission) into one line for a person."""
    try:
        yield
    except OSError as e:
        raise HedgerowError(f"cannot save {path}: {e.strerror or e}; nothing was left there") from e


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename; a failure leaves ``path`` as it was."""
    path = Path(path)
    temporary = None
    with saving(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
            temporary = None
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline, written whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes ``path`` when the block ends well and vanishes when it does not.

    Raises HedgerowError when ``path`` exists and ``replace`` is false (an empty folder counts as absent).
    """
    path = Path(path)
    if path.exists() and not replace and not (path.is_dir() and not any(path.iterdir())):
        raise HedgerowError(f"{path} exists already; choose another name or remove it first")
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            with _one_at_a_time(path.parent):  # two processes that make the same folder: the later one stays
                _put(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` to ``path``; what was there is moved aside first, and moved back when that fails."""
    if not path.exists():
        os.replace(temporary, path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        os.replace(path, aside / "old")
        try:
            os.replace(temporary, path)
        except BaseException:
            os.replace(aside / "old", path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """A lock on the folder itself, which leaves no file behind; nothing where the (file) system has no such."""
    handle = None
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link ``source`` as ``target``, or copy it where the file system has no such links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_json(path: Path) -> Any:
    """Parsed JSON; a missing or broken file is one line."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise HedgerowError(f"{path} is missing") from e
    except (ValueError, OSError, RecursionError) as e:
        raise HedgerowError(f"{path} is not readable JSON: {e}") from e


def read_toml(path: Path) -> dict[str, Any]:
    """Parsed TOML; a missing or broken file is one line."""
    import tomllib

    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise HedgerowError(f"{path} is missing") from e
    except (ValueError, OSError) as e:
        raise HedgerowError(f"{path} is not readable TOML: {e}") from e


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON Lines file, ``[]`` when it is absent.

    A last line without its newline is a write that was cut off, and is left out; any other broken line is an error.
    """
    path = Path(path)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise HedgerowError(f"{path}, line {number}: not JSON ({e})") from e
        if not isinstance(row, dict):
            raise HedgerowError(f"{path}, line {number}: expected a JSON object")
        rows.append(row)
    return rows


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one object as one line. Two writers never mix their lines; a write that fails leaves no part of one."""
    data = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            with _locked(handle):
                size = _whole_lines(handle)
                os.truncate(handle, size)  # takes away what a writer that was cut off had left of its line
                try:
                    written = 0
                    while written < len(data):
                        written += os.write(handle, data[written:])
                except BaseException:
                    os.truncate(handle, size)
                    raise
        finally:
            os.close(handle)


@contextmanager
def _locked(handle: int) -> Iterator[None]:
    """Only one process at a time inside the block, on systems that have ``flock``."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _whole_lines(handle: int) -> int:
    """Bytes up to the end of the last whole line."""
    size = os.fstat(handle).st_size
    end = size
    while end:
        start = max(0, end - 65536)
        os.lseek(handle, start, os.SEEK_SET)
        found = os.read(handle, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
