"""Trunks: a Pack inside a Pack, hard-linked, shared through the cache, or left out of a thin one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow import files, pack
from hedgerow.errors import HedgerowError
from hedgerow.pack import Info, Pack, VariantInfo, keep_trunk, open_pack, trunk_cache

WEIGHTS = "weights.safetensors"


def trunk_pack(path: Path, seed: int = 0) -> Pack:
    with pack.create(path, Info(name="trunk", kind="thing", seed=seed)) as folder:
        pack.write_arrays(folder / WEIGHTS, {"w": np.random.default_rng(seed).normal(size=50)})
    return open_pack(path)


def child(path: Path, trunk: Pack, **more: Any) -> Pack:
    with pack.create(path, Info(name="child", kind="thing"), trunk=trunk, **more) as folder:
        files.write_json(folder / "model.json", {})
    return open_pack(path)


def form(made: Pack, name: str = "onnx", data: bytes = b"graph") -> Pack:
    info = VariantInfo(runtime="onnx", of=made.digest)
    return pack.add_variant(made, name, info, lambda folder: files.write_bytes(folder / "model.onnx", data))


def flip(file: Path) -> None:
    """Change one byte in place, so that whoever shares the file by a hard link sees it."""
    with open(file, "r+b") as f:
        f.seek(-3, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-3, os.SEEK_END)
        f.write(bytes([byte ^ 4]))


@pytest.fixture
def trunk(tmp_path: Path) -> Pack:
    return trunk_pack(tmp_path / "trunk")


def test_a_child_holds_its_trunk(tmp_path: Path, trunk: Pack) -> None:
    made = child(tmp_path / "child", trunk)
    assert made.info.trunk == trunk.digest == made.trunk().digest and made.trunk().path == made.path / "trunk"
    assert (trunk.path / WEIGHTS).samefile(made.path / "trunk" / WEIGHTS)
    shutil.rmtree(trunk.path)
    shutil.rmtree(trunk_cache(trunk.digest))
    shutil.copytree(made.path, tmp_path / "elsewhere")
    assert open_pack(tmp_path / "elsewhere").trunk().arrays()["w"].shape == (50,)


def test_the_digest_names_the_trunk_wherever_it_lies(tmp_path: Path, trunk: Pack) -> None:
    full, thin = child(tmp_path / "full", trunk), child(tmp_path / "thin", trunk, thin=True)
    assert full.digest == thin.digest and not (thin.path / "trunk").exists() and (full.path / "trunk").exists()
    assert child(tmp_path / "other", trunk_pack(tmp_path / "t2", 2)).digest != full.digest
    assert full.bytes == thin.bytes
    with pytest.raises(HedgerowError, match="has no trunk"):
        trunk.trunk()


def test_a_thin_pack_finds_its_trunk_in_the_cache(tmp_path: Path, trunk: Pack) -> None:
    thin = child(tmp_path / "thin", trunk, thin=True)
    shutil.rmtree(trunk.path)
    assert thin.trunk().path == trunk_cache(thin.info.trunk or "")
    shutil.rmtree(trunk_cache(thin.info.trunk or ""))
    with pytest.raises(HedgerowError, match=r"thin and its trunk .* is not in the cache") as caught:
        thin.trunk()
    assert "\n" not in str(caught.value)


def test_a_byte_changed_through_one_is_seen_in_the_other(tmp_path: Path, trunk: Pack) -> None:
    one, two = child(tmp_path / "one", trunk), child(tmp_path / "two", trunk)
    thin = child(tmp_path / "thin", trunk, thin=True)
    flip(one.path / "trunk" / WEIGHTS)
    for made in (one, two, thin):
        open_pack(made.path)  # its own files are whole
        with pytest.raises(HedgerowError, match=f"the trunk of .*{made.path.name} is damaged.*was changed") as caught:
            made.trunk()
        assert "\n" not in str(caught.value)


def test_a_damaged_trunk_in_the_cache_is_kept_anew(tmp_path: Path, trunk: Pack) -> None:
    shutil.copytree(trunk.path, tmp_path / "good")  # bytes of its own, no hard link
    thin = child(tmp_path / "thin", trunk, thin=True)
    flip(trunk_cache(trunk.digest) / WEIGHTS)
    with pytest.raises(HedgerowError, match="damaged"):
        thin.trunk()
    with pytest.raises(HedgerowError, match="was changed"):  # shares its bytes with the damaged one
        keep_trunk(trunk)
    with pytest.raises(HedgerowError, match="damaged"):
        thin.trunk()
    keep_trunk(open_pack(tmp_path / "good"))
    assert thin.trunk().digest == trunk.digest


def test_a_child_is_not_made_with_a_trunk_that_changed_meanwhile(tmp_path: Path, trunk: Pack) -> None:
    flip(trunk.path / WEIGHTS)
    with pytest.raises(HedgerowError, match="was changed"):
        child(tmp_path / "child", trunk)
    assert not (tmp_path / "child").exists() and not trunk_cache(trunk.digest).exists()


def test_another_trunk_is_refused(tmp_path: Path, trunk: Pack) -> None:
    made, other = child(tmp_path / "child", trunk), trunk_pack(tmp_path / "other", 1)
    shutil.rmtree(made.path / "trunk")
    shutil.copytree(other.path, made.path / "trunk")
    with pytest.raises(HedgerowError, match="not the trunk"):
        made.trunk()


def test_forms_of_a_trunk_travel_with_it(tmp_path: Path, trunk: Pack) -> None:
    bare = child(tmp_path / "bare", trunk)
    grown = form(trunk)
    full = child(tmp_path / "full", grown)
    assert full.trunk().variants == ("onnx",) and bare.trunk().variants == ()
    assert full.digest == bare.digest
    thin = child(tmp_path / "thin", grown, thin=True)
    assert thin.trunk().variants == ("onnx",)  # the cache had it without; the form was added
    small = child(tmp_path / "small", open_pack(bare.path / "trunk"))
    assert small.trunk().variants == ()  # and is not forced upon others


def test_a_form_added_inside_a_child_stays_there(tmp_path: Path, trunk: Pack) -> None:
    one, two = child(tmp_path / "one", trunk), child(tmp_path / "two", trunk)
    form(one.trunk())
    assert one.trunk().variants == ("onnx",) and two.trunk().variants == () and open_pack(trunk.path).variants == ()


def test_evidence_is_copied_and_never_shared(tmp_path: Path, trunk: Pack) -> None:
    trunk.add_evidence("costs.jsonl", {"n": 1})
    made = child(tmp_path / "child", trunk)
    made.trunk().add_evidence("costs.jsonl", {"n": 2})
    assert [r["n"] for r in made.trunk().costs] == [1, 2] and [r["n"] for r in trunk.costs] == [1]


def test_a_form_of_the_trunk_that_was_exported_again_outdates_its_lines(tmp_path: Path, trunk: Pack) -> None:
    made = child(tmp_path / "child", trunk)
    form(made.trunk())
    made.add_evidence("scores.jsonl", {"variant": "onnx", "n": 1})
    assert [r["n"] for r in made.scores] == [1]
    form(made.trunk(), data=b"another graph")
    assert made.scores == [] and made.outdated() == {"onnx": 1}
    shutil.rmtree(made.path / "trunk")
    shutil.rmtree(trunk_cache(trunk.digest))
    assert [r["n"] for r in open_pack(made.path).scores] == [1]  # nobody can tell which form it was


def test_a_trunk_of_a_trunk(tmp_path: Path, trunk: Pack) -> None:
    middle = child(tmp_path / "middle", trunk)
    top = child(tmp_path / "top", middle)
    shutil.copytree(top.path, tmp_path / "copy")
    assert open_pack(tmp_path / "copy").trunk().trunk().digest == trunk.digest


def test_without_hard_links_files_are_copied(tmp_path: Path, trunk: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    made = child(tmp_path / "child", trunk)
    assert not (trunk.path / WEIGHTS).samefile(made.path / "trunk" / WEIGHTS)
    assert made.trunk().digest == trunk.digest
