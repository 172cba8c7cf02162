"""The benchmark compares like with like: both sides give the same probabilities, and every ratio is there."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_toys
import tiny

from hedgerow.kinds.text_classifier import KIND
from hedgerow.kinds.text_members import Member
from hedgerow.pack import open_pack

FILE = Path(__file__).parents[2] / "benchmarks" / "text_throughput.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = spec_from_file_location("text_throughput", FILE)
    assert spec is not None and spec.loader is not None
    module = sys.modules["text_throughput"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_words_and_characters(benchmark: Any, tmp_path: Path) -> None:
    found = benchmark.compare(text_toys.text_classifier(tmp_path), text_toys.TEXTS, rounds=2)
    assert found["variant"] == "numpy" and found["largest_difference"] < 1e-5
    assert set(found["results"]) == {
        "probabilities",
        "answers",
        "use --in, file to file",
        "answers with nearest",
        "answers with nearest, bare without",
    }
    for row in found["results"].values():
        assert 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["ours_us"] > 0 and row["bare_us"] > 0


def test_a_trunk(benchmark: Any, tmp_path: Path) -> None:
    members = text_toys.trunk_members(dim=32)
    head = Member("trunk-linear", {"unit": True}, {n: members[0].arrays[n] for n in ("W", "b")})
    pack = text_toys.trunk_classifier(
        tmp_path, trunk=tiny.encoder(tmp_path), members=[head], combine={"rule": "mean", "weights": [1.0]}
    )
    KIND.export(pack, "onnx")
    found = benchmark.compare(open_pack(pack.path), [*text_toys.TEXTS, "a", "b " * 100], rounds=1)
    assert found["variant"] == "onnx" and found["largest_difference"] < 1e-4


def test_sides_that_differ_are_not_compared(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = text_toys.text_classifier(tmp_path)
    wrong = (lambda: np.zeros((len(text_toys.TEXTS), 8)), None)
    monkeypatch.setattr(benchmark, "bare_tfidf", lambda *_: wrong)
    with pytest.raises(SystemExit, match="different probabilities"):
        benchmark.compare(pack, text_toys.TEXTS, rounds=1)


def test_the_pack_of_random_weights(benchmark: Any, tmp_path: Path) -> None:
    texts = [f"{a} of {b}" for a in text_toys.TEXTS for b in ("rice", "bread", "software")]
    pack = benchmark.random_pack(tmp_path / "p", texts, features=(200, 300))
    found = benchmark.compare(pack, texts[:20], rounds=1)
    assert found["examples"] == len(texts) and found["largest_difference"] < 5e-3
