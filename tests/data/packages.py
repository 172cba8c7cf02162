"""Small packages that tests make themselves, and the source that names what lies inside."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from hedgerow.data.sources import Source

MEMBERS = {
    "pack/model/config.json": b'{"a": 1}',
    "pack/model/deep/weights.bin": bytes(range(256)) * 40,
    "pack/table.csv": b"a,b\n1,2\n",
    "pack/__init__.py": b"raise SystemExit('a package is never imported')\n",
}


def tree_digest(members: dict[str, bytes]) -> str:
    """What `sha256sum` prints for the sorted files, digested: the second way to the digest of a folder."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(members.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_source(**changes: object) -> Source:
    """The table of the package."""
    data = MEMBERS["pack/table.csv"]
    fields = {
        "name": "table",
        "client": "pip",
        "package": "pack",
        "version": "1.0",
        "path": "pack/table.csv",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "licence": "MIT",
        "attribution": "us",
        "shareable": True,
    }
    return Source.model_validate(fields | changes)


def folder_source(**changes: object) -> Source:
    """The model folder of the package."""
    inside = {n.removeprefix("pack/model/"): d for n, d in MEMBERS.items() if n.startswith("pack/model/")}
    fields = {
        "name": "model",
        "path": "pack/model",
        "folder": True,
        "sha256": tree_digest(inside),
        "bytes": sum(map(len, inside.values())),
    }
    return file_source(**(fields | changes))


def wheel(path: Path, members: dict[str, bytes] = MEMBERS) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        for name, data in members.items():
            z.writestr(name, data)
    return path


def tgz(path: Path, members: dict[str, bytes] = MEMBERS) -> Path:
    path.write_bytes(tar(members, "gz"))
    return path


def deb(path: Path, members: dict[str, bytes] = MEMBERS, compression: str = "xz") -> Path:
    """A Debian package: an `ar` archive of three members, written out by hand."""
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", tar({"./control": b"Package: pack\n"}, "gz")),
        (f"data.tar.{compression}", tar({f"./{name}": data for name, data in members.items()}, compression)),
    ]
    with open(path, "wb") as f:
        f.write(b"!<arch>\n")
        for name, data in parts:
            f.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
            f.write(data + b"\n" * (len(data) % 2))
    return path


def tar(members: dict[str, bytes], compression: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as t:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()
