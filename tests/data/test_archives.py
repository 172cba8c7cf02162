from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import MEMBERS, deb, tar, tgz, wheel

from hedgerow.data.archives import take_out
from hedgerow.errors import HedgerowError

MAKERS = [(wheel, "p.whl"), (tgz, "p.tgz"), (deb, "p.deb")]


def take(archive: Path, inside: str, target: Path, folder: bool = False, limit: int = 1 << 20) -> Path:
    take_out(archive, inside, target, folder=folder, only=(), limit=limit)
    return target


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_one_file_comes_out(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    out = take(make(tmp_path / name), "pack/table.csv", tmp_path / "out" / "table.csv")
    assert out.read_bytes() == MEMBERS["pack/table.csv"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["table.csv"]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_one_folder_comes_out_and_nothing_beside_it(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    out = take(make(tmp_path / name), "pack/model", tmp_path / "model", folder=True)
    found = {f.relative_to(out).as_posix(): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    assert found == {n.removeprefix("pack/model/"): d for n, d in MEMBERS.items() if "/model/" in n}


def test_only_keeps_what_is_named(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "p.whl")
    take_out(archive, "pack/model", tmp_path / "m", folder=True, only=("config.json",), limit=1 << 20)
    assert [f.name for f in (tmp_path / "m").rglob("*") if f.is_file()] == ["config.json"]


@pytest.mark.parametrize("compression", ["gz", "bz2"])
def test_debian_packages_in_other_compressions(compression: str, tmp_path: Path) -> None:
    archive = deb(tmp_path / "p.deb", compression=compression)
    assert take(archive, "pack/table.csv", tmp_path / "t").read_bytes() == MEMBERS["pack/table.csv"]


@pytest.mark.parametrize(("make", "name"), MAKERS)
@pytest.mark.parametrize("evil", ["pack/model/../../../evil", "pack/model/a\\..\\evil", "pack/model/C:evil"])
def test_a_path_that_leads_out_is_refused(
    make: Callable[[Path, dict[str, bytes]], Path], name: str, evil: str, tmp_path: Path
) -> None:
    archive = make(tmp_path / name, {evil: b"x", "pack/model/a": b"y"})
    with pytest.raises(HedgerowError, match="leads out of its folder"):
        take(archive, "pack/model", tmp_path / "in" / "model", folder=True)
    assert not list(tmp_path.rglob("evil"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as t:
        link = tarfile.TarInfo("pack/model/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        t.addfile(link)
        t.addfile(tarfile.TarInfo("pack/model/empty"), io.BytesIO())
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as z:
        info = zipfile.ZipInfo("pack/model/link")
        info.external_attr = 0o120777 << 16
        z.writestr(info, str(secret))
        z.writestr("pack/model/empty", b"")
    for name in ("p.tgz", "p.whl"):
        out = take(tmp_path / name, "pack/model", tmp_path / f"out-{name}", folder=True)
        assert [f.name for f in out.iterdir()] == ["empty"]


def test_a_package_in_zstandard_is_left_to_dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for dpkg-deb that answers with the tar, as the real one does."""
    archive = deb(tmp_path / "p.deb", compression="")
    archive.write_bytes(archive.read_bytes().replace(b"data.tar.       ", b"data.tar.zst/   "))
    program = tmp_path / "bin" / "dpkg-deb"
    program.parent.mkdir()
    (tmp_path / "plain.tar").write_bytes(tar(MEMBERS, ""))
    program.write_text(f'#!/bin/sh\n[ "$1" = --fsys-tarfile ] && cat {tmp_path}/plain.tar\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HedgerowError, match="packed with Zstandard, and dpkg-deb"):
        take(archive, "pack/table.csv", tmp_path / "t")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert take(archive, "pack/table.csv", tmp_path / "t").read_bytes() == MEMBERS["pack/table.csv"]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_more_than_the_known_size_is_refused(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    target = tmp_path / "w"
    whole = len(MEMBERS["pack/model/deep/weights.bin"])
    with pytest.raises(HedgerowError, match=f"unpacks to more than the {whole - 1} bytes"):
        take(make(tmp_path / name), "pack/model/deep/weights.bin", target, limit=whole - 1)
    assert target.stat().st_size < whole
    assert take(make(tmp_path / name), "pack/model/deep/weights.bin", target, limit=whole).stat().st_size == whole


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_package_that_was_cut_off_or_lacks_the_file(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name)
    with pytest.raises(HedgerowError, match="holds no pack/other"):
        take(archive, "pack/other", tmp_path / "x")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(HedgerowError, match=r"is not a whole package|holds no"):
        take(archive, "pack/table.csv", tmp_path / "x")
