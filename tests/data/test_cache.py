"""What was made on this machine is listed, and goes only when it is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hedgerow.cli import main
from hedgerow.data import cache
from hedgerow.errors import HedgerowError


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with something in each part, of known sizes and ages."""
    monkeypatch.setenv("HEDGEROW_CACHE", str(tmp_path))
    written = {"features/a/x.bin": 300, "features/b": 5000, "trunks/f00/deep/w": 70, "evidence/e/costs.jsonl": 9,
               "data/.lock-x": 0, "features/.being-made/x": 1}  # fmt: skip
    for name, size in written.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        for path in (file, *file.parents[: len(Path(name).parts) - 1]):
            os.utime(path, (0, time.time() - 3 * 86_400))
    return tmp_path


def test_sizes_and_ages(full: Path) -> None:
    assert cache.made() == [
        {"room": "features", "name": "b", "bytes": 5000, "days": 3.0},
        {"room": "features", "name": "a", "bytes": 300, "days": 3.0},
        {"room": "trunks", "name": "f00", "bytes": 70, "days": 3.0},
        {"room": "evidence", "name": "e", "bytes": 9, "days": 3.0},
    ]


def test_only_what_is_named_goes(full: Path) -> None:
    gone = cache.remove(["features", "features"])
    assert [(row["room"], row["name"]) for row in gone] == [("features", "a"), ("features", "b")]
    assert [row["room"] for row in cache.made()] == ["trunks", "evidence"]
    assert (full / "features" / ".being-made" / "x").exists()
    with pytest.raises(HedgerowError, match="did you mean 'trunks'"):
        cache.remove(["evidence", "trunk"])
    assert (full / "evidence" / "e").exists()  # nothing goes before all names are known


def test_a_link_goes_and_not_what_it_names(full: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "kept"
    outside.write_text("mine")
    (full / "trunks" / "link").symlink_to(outside.parent)
    cache.remove(["trunks"])
    assert outside.read_text() == "mine" and not (full / "trunks" / "link").is_symlink()


def test_prune_says_what_it_keeps_and_why(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--prune"]) == 0
    said = capsys.readouterr().out
    assert "removed 0 from the cache" in said and "5 kB" in said and "3 days" in said
    assert "--prune --also trunks" in said and "which Packs are thin cannot be known" in said
    assert main(["data", "--prune", "--also", "trunks", "--also", "evidence"]) == 0
    said = capsys.readouterr().out
    assert "removed 2 from the cache, 79 B" in said and "trunks/f00" in said and "features" in said
    assert not (full / "trunks" / "f00").exists() and (full / "features" / "b").exists()
    assert main(["data", "--also", "trunks"]) == 2


def test_the_listing_says_that_prune_removes_and_removes_nothing(
    full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (full / "data" / "of-no-source").mkdir()
    assert main(["data"]) == 0
    said = capsys.readouterr().err
    assert "`hedgerow data --prune --also PART` removes a part" in said and "lists" not in said
    assert (full / "data" / "of-no-source").exists() and len(cache.made()) == 4
    assert main(["data", "--prune"]) == 0
    assert not (full / "data" / "of-no-source").exists() and len(cache.made()) == 4


def test_what_cannot_be_removed_or_goes_meanwhile(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refused)
        with pytest.raises(HedgerowError, match=r"cannot remove .*trunks.*Permission denied"):
            cache.remove(["trunks"])
    gone, found = full / "trunks" / "f00" / "deep" / "w", Path.rglob

    def racing(self: Path, pattern: str) -> list[Path]:
        listed = list(found(self, pattern))
        gone.unlink(missing_ok=True)  # another program tidies up
        return listed

    monkeypatch.setattr(Path, "rglob", racing)
    assert next(row for row in cache.made() if row["room"] == "trunks")["bytes"] == 0
