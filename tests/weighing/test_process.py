"""The measuring process for real: what it says, and how its ends are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import install, make_pack

from hedgerow.errors import HedgerowError
from hedgerow.weighing.process import events


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    install(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pack = make_pack(tmp_path / "p")
    return {"pack": str(pack.path), "variant": "numpy", "threads": 3, "grid": "quick", "seconds": 2.0}


def test_rows_of_a_fresh_process(order: dict[str, Any]) -> None:
    rows = list(events(order, "fake_child"))
    load, *calls = rows
    assert load["phase"] == "load"
    assert load["p50_ms"] > 10  # it holds the start of an interpreter
    assert "interpreter" in load["note"]
    assert {(r["phase"], r["batch"]) for r in calls} >= {("prefill", 1), ("decode", 1), ("prefill", 32)}
    for r in rows:
        assert r["runtime"] == {"library": "fake", "omp": "3"}
        assert r["weights_bytes"] == 40
        assert 1 << 20 < r["baseline_bytes"] <= r["peak_bytes"]


def test_memory_of_the_model_is_what_lies_above_the_baseline(
    order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CHILD", "big")
    load, *_ = events({**order, "load_only": True}, "fake_child")
    assert load["peak_bytes"] - load["baseline_bytes"] > 75 << 20


@pytest.mark.parametrize(
    ("how", "words"),
    [("killed", "memory runs out"), ("memory", "ran out of memory"), ("exit", r"code 3 \(the last words\)")],
)
def test_a_bad_end_is_one_line(how: str, words: str, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CHILD", how)
    with pytest.raises(HedgerowError, match=words) as caught:
        list(events(order, "fake_child"))
    assert "\n" not in str(caught.value)


def test_an_error_of_ours_arrives_as_it_is(order: dict[str, Any]) -> None:
    (Path(order["pack"]) / "weights.safetensors").unlink()
    with pytest.raises(HedgerowError, match=r"weights\.safetensors is missing"):
        list(events(order, "fake_child"))


def test_a_process_that_dies_before_it_reads_is_told(order: dict[str, Any]) -> None:
    with pytest.raises(HedgerowError, match="No module named"):
        list(events(order, "no_such_module_anywhere"))


def test_who_stops_reading_leaves_no_process_behind(order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CHILD", "hang")
    stream = events(order, "fake_child")
    assert next(stream)["phase"] == "load"
    # Others of this process's children (a resource tracker, say) are none of its business.
    (measuring,) = [p for p in psutil.Process().children() if "fake_child" in p.cmdline()]
    stream.close()  # type: ignore[attr-defined]
    assert not measuring.is_running()


def test_the_module_runs_as_the_parent_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hedgerow.weighing.child"], input="{}\n", text=True, capture_output=True
    )
    assert done.returncode == 1
    assert "is missing" in done.stdout
    assert done.stderr == ""
