"""Cached vectors never meet another text, whatever the order, the hash seed, or where a run was cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from isic_tiny import decoder_folder, encoder_folder

from hedgerow import files
from hedgerow.systems.isic import features


def encode(texts: list[str]) -> np.ndarray:
    """A vector that tells which text it belongs to."""
    return np.array([[len(t), sum(map(ord, t))] for t in texts], np.float32)


TEXTS = [f"text {i * 7919 % 101}" for i in range(50)] + ["", "größer", "text 1"]


def test_vectors_come_in_the_order_asked_whatever_is_cached(tmp_path: Path) -> None:
    first = features.compute(tmp_path, TEXTS[:20], encode)
    both = features.compute(tmp_path, TEXTS[::-1], encode)
    assert (first == encode(TEXTS[:20])).all()
    assert (both == encode(TEXTS[::-1])).all()


def test_a_text_is_computed_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def counting(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return encode(texts)

    features.compute(tmp_path, TEXTS, counting)
    features.compute(tmp_path, TEXTS[::-1], counting)
    assert sorted(asked) == sorted(set(TEXTS))


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    features.compute(tmp_path, TEXTS, encode)
    (shard,) = tmp_path.glob("*.safetensors")
    whole = shard.read_bytes()
    for damaged in (whole[:40], whole[:-30], b""):
        shard.write_bytes(damaged)
        assert (features.compute(tmp_path, TEXTS, encode) == encode(TEXTS)).all()
        assert shard.read_bytes() == whole


def test_a_run_that_is_cut_off_loses_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD", 10)
    calls = 0

    def dying(texts: list[str]) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return encode(texts)

    with pytest.raises(KeyboardInterrupt):
        features.compute(tmp_path, TEXTS, dying)
    kept, vectors = features.load(tmp_path)
    assert len(kept) == 20
    assert (vectors == encode(kept)).all()
    assert (features.compute(tmp_path, TEXTS, encode) == encode(TEXTS)).all()


def test_a_text_that_two_runs_kept_moves_no_other(tmp_path: Path) -> None:
    """Two processes at once each keep the same texts; the next ones must still meet their own vectors."""
    features.compute(tmp_path / "a", TEXTS[:10], encode)
    features.compute(tmp_path / "b", TEXTS[5:15], encode)
    for shard in (tmp_path / "b").iterdir():
        shard.rename(tmp_path / "a" / shard.name)
    assert (features.compute(tmp_path / "a", TEXTS, encode) == encode(TEXTS)).all()


CODE = """
import sys
from pathlib import Path
import numpy as np
from hedgerow.systems.isic import features
texts = set(f"t{i * 31 % 97}" for i in range(60))
def encode(chunk):
    return np.array([[len(t), sum(map(ord, t))] for t in chunk], np.float32)
got = features.compute(Path(sys.argv[1]), list(texts), encode)
assert (got == encode(list(texts))).all()
print(sorted(p.name for p in Path(sys.argv[1]).iterdir()))
"""


def test_two_hash_seeds_share_one_cache(tmp_path: Path) -> None:
    said = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", CODE, tmp_path], env=env, capture_output=True, text=True, check=True
        )
        said.append(done.stdout)
    assert said[0] == said[1]


@pytest.mark.parametrize("make", [encoder_folder, decoder_folder])
def test_a_local_folder_becomes_a_trunk_once(tmp_path: Path, make: object) -> None:
    folder = make(tmp_path / "model")  # type: ignore[operator]
    trunk = features.trunk(str(folder))
    again = features.trunk(str(folder))
    assert again.digest == trunk.digest
    assert again.path.is_relative_to(files.cache_dir())
    assert not trunk.info.shareable  # nobody said under which licence it stands


def test_frozen_vectors_are_those_of_the_normalised_text(tmp_path: Path) -> None:
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    frozen = features.Frozen({"tiny": trunk}, quiet=True)
    a = frozen("tiny", ["growing  of rice", "bread"])
    b = features.Frozen({"tiny": trunk}, quiet=True)("tiny", ["bread", "growing of rice "])
    assert a[0] == pytest.approx(b[1], abs=1e-6)
    assert a[1] == pytest.approx(b[0], abs=1e-6)


def test_remembered_asks_each_text_once() -> None:
    asked: list[str] = []

    def counting(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return encode(texts)

    vectors = features.remembered({"t": counting})
    vectors("t", ["b", "aa", "b"])
    assert (vectors("t", ["aa", "b"]) == encode(["aa", "b"])).all()
    assert sorted(asked) == ["aa", "b"]
