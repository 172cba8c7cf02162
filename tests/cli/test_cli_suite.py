"""``weigh --suite``: the table, the lines, the evidence, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from cli_said import Run

from hedgerow import weighing
from hedgerow.cost import Geometry
from hedgerow.pack import open_pack
from hedgerow.runtimes import random_gguf
from hedgerow.weighing import sandbox


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny decoder of ``tests/kinds/tiny.py``."""
    path = Path(__file__).parents[1] / "kinds" / "tiny.py"
    spec = importlib.util.spec_from_file_location("cli_suite_tiny", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(module.decoder_lm(tmp_path_factory.mktemp("decoder")).path)


def questions(path: Path, count: int = 12) -> Path:
    rows = ({"id": i, "context": f"Is {i} even?", "choices": ["no", "yes"], "gold": (i + 1) % 2} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_ones_own_is_asked_and_kept_as_evidence(run: Run, decoder: Path, tmp_path: Path) -> None:
    mine = questions(tmp_path / "even.jsonl")
    said = run("weigh", decoder, "--suite", mine, "--form", "torch", "--limit", 10)
    assert said.code == 0, said
    assert "What tiny-decoder (torch) can do" in said.out and "random weights" in said.out
    row = next(line for line in said.out.splitlines() if " even " in line)
    assert row.split()[:4] == ["own", "even", "0", "10"] and "0.500" in row  # chance and majority
    (line,) = run("weigh", decoder, "--suite", mine, "--form", "torch", "--limit", 10, "--json").lines
    assert line["task"]["name"] == "suite/even" and line["task"]["options"] == {"shots": 0, "limit": 10}
    assert set(line["beside"]) == {"chance", "majority", "random_weights"}
    kept = [held for held in open_pack(decoder).scores if held["task"]["name"] == "suite/even"]
    assert [held["metrics"] for held in kept] == [line["metrics"]], "asking again adds no second line"


def test_faults_are_one_line(run: Run, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("weigh", decoder, "--suite", "comonsense").failed("no group or set 'comonsense'", "did you mean 'commonsense'")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": 1, "context": "x", "choices": ["a", "b"]}\n')
    run("weigh", decoder, "--suite", broken).failed("broken.jsonl, line 1: 'gold' is missing")
    run("weigh", decoder, "--suite", questions(tmp_path / "few.jsonl", 4), "--shots", 3).failed("3 examples are asked")
    code = tmp_path / "code.jsonl"
    code.write_text(json.dumps({"id": 1, "prompt": "def f(x):\n", "tests": "assert f(1) == 2"}) + "\n")
    monkeypatch.setattr(sandbox, "refused", lambda: "coding is refused: no sandbox here")
    run("weigh", decoder, "--suite", code).failed("coding is refused: no sandbox here")


def test_a_pack_that_writes_no_text_is_refused(run: Run, pack: Path, tmp_path: Path) -> None:
    run("weigh", pack, "--suite", questions(tmp_path / "even.jsonl")).failed("neither scores nor writes text")


def test_a_bare_file_has_no_evidence_to_keep_scores_in() -> None:
    from hedgerow.cli.suite import weigh_suite
    from hedgerow.errors import HedgerowError

    with pytest.raises(HedgerowError, match="make it a Pack first"):
        weigh_suite([], "commonsense", None, None, None, 1, False, None)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = Geometry(layers=1, width=64, heads=2, kv_heads=1, head=32, ffn=64, gated=True, vocabulary=64, tied=True)
    return random_gguf.write(tmp_path_factory.mktemp("bare") / "bare.gguf", sizes)


def test_a_bare_file_beside_a_pack_is_named_as_left_out(run: Run, decoder: Path, bare: Path, tmp_path: Path) -> None:
    said = run("weigh", decoder, bare, "--suite", questions(tmp_path / "odd.jsonl", 2), "--form", "torch", "--json")
    assert said.code == 0 and len(said.lines) == 1
    assert f"left out: {bare} (--suite asks Packs" in said.err.replace("\n", " ")


def test_a_bare_file_that_should_be_scored_says_that_it_was_not(
    run: Run, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weighing, "weigh", lambda *arguments, **more: [])
    said = run("weigh", bare, "--score", "--json")
    assert f"weighed, not scored: {bare} (a bare file names no Task)" in said.err.replace("\n", " ")
    assert "not scored" not in run("weigh", bare, "--json").err
