"""Files that are whole or absent, JSON lines that survive a cut, digests that do not depend on order."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_reads_back_and_ignores_order(value: Any) -> None:
    text = files.canonical(value)
    assert json.loads(text) == value
    if isinstance(value, dict):
        assert files.digest(dict(reversed(value.items()))) == files.digest(value)
    assert len(files.digest(value)) == 64


def test_canonical_refuses_what_json_has_not() -> None:
    for value in (float("nan"), float("inf"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            files.canonical(value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a" / "x.json"
    files.write_json(file, {"n": 1})
    before = file.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(file, {"n": float("nan")})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(HedgerowError, match=r"cannot save .*x\.json: No space left on device"):
        files.write_json(file, {"n": 2})
    assert file.read_bytes() == before and names(tmp_path / "a") == ["x.json"]


def test_a_written_file_can_be_read_by_others(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "ä")
    assert (tmp_path / "x").read_bytes() == "ä".encode() and (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_writing_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HedgerowError, match="cannot save"):
        files.write_text(tmp_path / "file" / "x", "y")
    with pytest.raises(HedgerowError, match="cannot save"), files.new_folder(tmp_path / "file" / "x"):
        pass
    with pytest.raises(HedgerowError, match="cannot save"):
        files.append_jsonl(tmp_path / "file" / "x", {})


def test_new_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "deep" / "f") as folder:
        assert not (tmp_path / "deep" / "f").exists()
        (folder / "x").write_text("1")
    assert names(tmp_path / "deep") == ["f"] and (tmp_path / "deep" / "f").stat().st_mode & 0o777 == 0o755
    with pytest.raises(HedgerowError, match="exists already"), files.new_folder(tmp_path / "deep" / "f"):
        pass
    with pytest.raises(KeyboardInterrupt), files.new_folder(tmp_path / "deep" / "f", replace=True) as folder:
        raise KeyboardInterrupt
    assert (tmp_path / "deep" / "f" / "x").read_text() == "1"
    with files.new_folder(tmp_path / "deep" / "f", replace=True) as folder:
        (folder / "y").write_text("2")
    assert names(tmp_path / "deep") == ["f"] and names(tmp_path / "deep" / "f") == ["y"]


def test_a_replacement_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    with files.new_folder(target) as folder:
        (folder / "x").write_text("old")
    real, calls = os.replace, []

    def second_fails(source: Any, to: Any) -> None:
        calls.append(to)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(source, to)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(HedgerowError, match="Input/output error"), files.new_folder(target, replace=True):
        pass
    assert (target / "x").read_text() == "old" and names(tmp_path) == ["f"]


def test_two_processes_that_make_one_folder_both_end_well(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hedgerow import files\n"
        "for i in range(150):\n"
        "    with files.new_folder(Path(sys.argv[1]), replace=True) as f: (f / 'x').write_text(sys.argv[2])\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "f"), who], stderr=subprocess.PIPE, text=True)
        for who in "ab"
    ]
    said = [child.communicate()[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert names(tmp_path) == ["f"] and (tmp_path / "f" / "x").read_text() in ("a", "b")


@pytest.mark.parametrize("text", ["", "{", "nan", '{"a": 1} x', "[" * 100_000, "\ufeff{}", "9" * 5000])
def test_broken_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HedgerowError) as caught:
        files.read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value) and "x.json" in str(caught.value)


@pytest.mark.parametrize("text", ["=", "a = ", "a = 1\na = 2", "[a", "a = 99999999999999999999999x"])
def test_broken_toml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(HedgerowError, match=r"x\.toml") as caught:
        files.read_toml(tmp_path / "x.toml")
    assert "\n" not in str(caught.value)


def test_what_is_absent_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe{}")
    (tmp_path / "folder").mkdir()
    for read in (files.read_json, files.read_toml):
        for name in ("nowhere", "latin", "folder"):
            with pytest.raises(HedgerowError, match=name):
                read(tmp_path / name)
    assert files.read_jsonl(tmp_path / "nowhere") == []


# --- JSON lines -------------------------------------------------------------------------------------------------------
ROWS = st.lists(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=8), max_size=3), max_size=6)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, more=ROWS, data=st.data())
def test_a_cut_off_line_never_spoils_the_others(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, more: Any, data: Any
) -> None:
    """Cut the file anywhere, append again: every whole line is there, and every later one."""
    file = tmp_path_factory.mktemp("lines") / "x.jsonl"
    for row in rows:
        files.append_jsonl(file, row)
    whole = file.read_bytes() if rows else b""
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    left = whole[:cut].count(b"\n")
    assert files.read_jsonl(file) == rows[:left]
    for row in more:
        files.append_jsonl(file, row)
    assert files.read_jsonl(file) == rows[:left] + more


def test_a_long_broken_tail_is_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    for tail in (b"y" * 200_000, b'{"a": ' + b"1" * 70_000):
        file.write_bytes(b'{"n": 1}\n' + tail)
        files.append_jsonl(file, {"n": 2})
        assert files.read_jsonl(file) == [{"n": 1}, {"n": 2}]


def test_a_disk_that_fills_up_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.jsonl"
    files.append_jsonl(file, {"n": 1})
    real, calls = os.write, []

    def short(handle: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(handle, data[:3])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(HedgerowError, match="No space left"):
        files.append_jsonl(file, {"n": 2})
    assert file.read_text() == '{"n": 1}\n'


@pytest.mark.parametrize("bad", ["not json", "[1]", '"x"', "{"])
def test_a_broken_line_names_file_and_line(tmp_path: Path, bad: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"n": 1}}\n\n{bad}\n{{"n": 2}}\n')
    with pytest.raises(HedgerowError, match=r"x\.jsonl, line 3"):
        files.read_jsonl(tmp_path / "x.jsonl")


def _append(arguments: tuple[str, int]) -> None:
    path, writer = arguments
    for n in range(40):
        files.append_jsonl(Path(path), {"writer": writer, "n": n, "long": "x" * 5000})


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    """Lines longer than a pipe's atomic write, from three processes: none is mixed or lost."""
    file = tmp_path / "x.jsonl"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_append, [(str(file), w) for w in range(3)])
    rows = files.read_jsonl(file)
    assert sorted((r["writer"], r["n"]) for r in rows) == [(w, n) for w in range(3) for n in range(40)]


def test_rows_that_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.append_jsonl(tmp_path / "x.jsonl", {"n": float("nan")})
    assert not (tmp_path / "x.jsonl").exists()


def test_suggestions() -> None:
    assert did_you_mean("onxx", ["onnx", "torch"]) == " (did you mean 'onnx'?)"
    assert did_you_mean("zzzz", ["onnx", "torch"]) == " (one of: onnx, torch)"
    assert did_you_mean("zzzz", []) == "" == did_you_mean("zzzz", [f"0{i}" for i in range(100)])


def test_the_cache_is_where_one_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEDGEROW_CACHE", str(tmp_path / "c"))
    assert files.cache_dir() == tmp_path / "c"
    monkeypatch.delenv("HEDGEROW_CACHE")
    assert files.cache_dir().name == "hedgerow"
