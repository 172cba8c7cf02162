"""The harness asks through us: its own numbers, also after an interruption; faults of files are one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from suite_fakes import FakeScorer, Stopped, choice_rows, write_rows

from hedgerow.errors import HedgerowError
from hedgerow.weighing.suite import harness, items
from hedgerow.weighing.suite.harness import Test, cut, rolling, written
from hedgerow.weighing.suite.journal import Journal
from hedgerow.weighing.suite.sets import Asked, prepare_own


@pytest.fixture
def own(tmp_path: Path) -> Asked:
    return prepare_own(write_rows(tmp_path / "trees.jsonl", choice_rows()), 0)[0]


def asked_items(asked: Asked, scorer: FakeScorer, folder: Path, block: int = 32) -> list[dict[str, Any]]:
    journal = Journal(folder, block)
    samples = harness.ask(harness.build(Test(asked.name, asked.folder, asked.shots, None)), scorer, journal)
    return items.choice_items(samples, journal.all("loglikelihood"))


def test_scores_are_what_the_likelihoods_say(own: Asked, tmp_path: Path) -> None:
    rows, scorer = choice_rows(), FakeScorer()
    found = asked_items(own, scorer, tmp_path / "run")
    assert [item["id"] for item in found] == [row["id"] for row in rows]
    for row, item in zip(rows, found, strict=True):
        pairs = [(row["context"], f" {choice}") for choice in row["choices"]]
        logp = np.array([a.logprob for a in FakeScorer().loglikelihood(pairs)])
        tokens = [len(c.split()) for c in row["choices"]]
        characters = [len(c) for c in row["choices"]]
        assert item["logprob"] == pytest.approx(logp.tolist())
        assert item["accuracy"] == float(np.argmax(logp) == row["gold"])
        assert item["accuracy_per_char"] == float(np.argmax(logp / characters) == row["gold"])
        assert item["accuracy_per_token"] == float(np.argmax(logp / tokens) == row["gold"])


def test_the_three_ways_to_normalise_differ_somewhere(own: Asked, tmp_path: Path) -> None:
    found = asked_items(own, FakeScorer(), tmp_path / "run")
    ways = {tuple(item[m] for item in found) for m in ("accuracy", "accuracy_per_char", "accuracy_per_token")}
    assert len(ways) == 3


@pytest.mark.parametrize("breaks_after", [0, 7, 33, 70])
def test_an_interrupted_test_goes_on_inside_and_ends_equal(own: Asked, tmp_path: Path, breaks_after: int) -> None:
    straight = asked_items(own, whole := FakeScorer(), tmp_path / "straight", block=8)
    with pytest.raises(Stopped):
        asked_items(own, FakeScorer(breaks_after=breaks_after), tmp_path / "cut", block=8)
    kept = Journal(tmp_path / "cut").kept
    assert kept == breaks_after // 8 * 8
    resumed = asked_items(own, rest := FakeScorer(), tmp_path / "cut", block=8)
    assert resumed == straight
    assert rest.asked == whole.asked - kept
    lines = [(tmp_path / name / "answers.jsonl").read_text() for name in ("straight", "cut")]
    assert lines[0] == lines[1]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from suite_fakes import FakeScorer
from hedgerow.weighing.suite import harness
from hedgerow.weighing.suite.harness import Test
from hedgerow.weighing.suite.journal import Journal

class Dying(FakeScorer):
    def loglikelihood(self, pairs):
        if self.asked > 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loglikelihood(pairs)

built = harness.build(Test("trees", Path(sys.argv[2]), 0, None))
harness.ask(built, Dying(), Journal(Path(sys.argv[3]), 8))
"""


def test_a_process_that_is_killed_in_the_middle_goes_on_and_ends_equal(own: Asked, tmp_path: Path) -> None:
    straight = asked_items(own, whole := FakeScorer(), tmp_path / "straight", block=8)
    words = [str(Path(__file__).parent), str(own.folder), str(tmp_path / "killed")]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    kept = Journal(tmp_path / "killed").kept
    assert 40 <= kept < whole.asked
    assert asked_items(own, rest := FakeScorer(), tmp_path / "killed", block=8) == straight
    assert rest.asked == whole.asked - kept
    texts = [(tmp_path / name / "answers.jsonl").read_text() for name in ("straight", "killed")]
    assert texts[0] == texts[1]


def test_a_line_that_was_cut_off_is_asked_again(own: Asked, tmp_path: Path) -> None:
    straight = asked_items(own, FakeScorer(), tmp_path / "run", block=8)
    path = tmp_path / "run" / "answers.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])  # in the middle of a line, and of a block
    assert asked_items(own, again := FakeScorer(), tmp_path / "run", block=8) == straight
    assert 0 < again.asked < len(text.splitlines())
    assert path.read_text() == text


def test_answers_to_other_questions_are_refused(own: Asked, tmp_path: Path) -> None:
    asked_items(own, FakeScorer(), tmp_path / "run")
    other = prepare_own(write_rows(tmp_path / "more.jsonl", choice_rows(41)[1:]), 0)[0]
    with pytest.raises(HedgerowError, match="answers to other questions"):
        asked_items(other, FakeScorer(), tmp_path / "run")


def test_the_digest_is_that_of_all_that_is_asked(tmp_path: Path) -> None:
    def digest(rows: list[dict[str, Any]], shots: int = 0, limit: int | None = None) -> str:
        asked = prepare_own(write_rows(tmp_path / "t.jsonl", rows), shots)[0]
        return harness.build(Test(asked.name, asked.folder, asked.shots, limit)).digest

    rows = choice_rows(60)
    same = digest(rows)
    assert digest(choice_rows(60)) == same
    other = [{**rows[0], "gold": 1 - rows[0]["gold"]}, *rows[1:]]
    changed = [digest(other), digest(rows, shots=2), digest(rows, limit=10), digest(rows[:-1])]
    assert len({same, *changed}) == 5


def test_examples_come_from_rows_that_are_not_scored(tmp_path: Path) -> None:
    asked = prepare_own(write_rows(tmp_path / "t.jsonl", choice_rows(80)), 3)[0]
    test, dev = ([json.loads(line) for line in (asked.folder / f"{n}.jsonl").open()] for n in ("test", "dev"))
    assert {row["id"] for row in test} & {row["id"] for row in dev} == set()
    assert len(test) + len(dev) == 80 and len(dev) >= 3
    seen: list[str] = []

    class Listening(FakeScorer):
        def loglikelihood(self, pairs: Any) -> Any:
            seen.extend(prompt for prompt, _ in pairs)
            return super().loglikelihood(pairs)

    asked_items(asked, Listening(), tmp_path / "run")
    shown = [row["context"] + " " + row["choices"][row["gold"]] for row in dev[:3]]
    assert all(prompt.startswith("\n\n".join(shown) + "\n\nQuestion") for prompt in seen)
    assert all(prompt.count("Answer:") == 4 for prompt in seen)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"id": "x", "context": "c", "choices": ["a", "b"]}, "line 3: 'gold' is missing"),
        ({"id": "x", "context": "c", "choices": ["a", "b"], "gold": 2}, "line 3: 'gold' is 2"),
        ({"id": "x", "context": "c", "choices": ["a", "b"], "gold": "z"}, "none of the choices"),
        ({"id": "x", "context": "c", "choices": ["a"], "gold": 0}, "two texts or more"),
        ({"id": "q1", "context": "c", "choices": ["a", "b"], "gold": 0}, "'q1' stands on line 2"),
        ({"id": "x", "context": "c", "choices": ["a", "b"], "gold": 0, "golf": 1}, "unknown key 'golf'"),
        ({"id": "x", "prompt": "p", "target": "t"}, "to be answered, among rows to be chosen"),
    ],
)
def test_a_fault_in_a_users_file_names_file_and_line(tmp_path: Path, line: dict[str, Any], why: str) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [*choice_rows(2), line])
    with pytest.raises(HedgerowError, match=why) as e:
        prepare_own(path, 0)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"id": "x", "prompt": "p"}, "line 1: 'target' is missing"),
        ({"id": "x", "prompt": "p", "target": " "}, "line 1: 'target' is empty"),
        ({"id": "x", "prompt": "p", "tests": ""}, "line 1: 'tests' is empty"),
    ],
)
def test_a_missing_target_or_test_is_named(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    with pytest.raises(HedgerowError, match=why):
        prepare_own(write_rows(tmp_path / "mine.jsonl", [row]), 0)


def own_folder(tmp_path: Path, rows: list[dict[str, Any]], more: str = "") -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    write_rows(folder / "rows.jsonl", rows)
    (folder / "mine.yaml").write_text(
        f"task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: 'Q: {{q}}'\ndoc_to_choice: options\n"
        f"doc_to_target: answer\nmetric_list:\n  - metric: acc\n{more}"
    )
    return folder


def test_a_folder_of_the_harness_works_as_it_is(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, [{"q": f"field {i}", "options": ["ash", "oak"], "answer": i % 2} for i in range(6)])
    (asked,) = prepare_own(folder, 0)
    built = harness.build(Test(asked.name, asked.folder, 0, None))
    assert (asked.name, built.output, built.count) == ("mine", "multiple_choice", 6)
    samples = harness.ask(built, FakeScorer(), Journal(tmp_path / "run"))
    assert [s["arguments"][0] for s in samples] == [(f"Q: field {i}", " ash") for i in range(6)]


def test_a_missing_answer_in_a_folder_names_file_and_line(tmp_path: Path) -> None:
    rows = [{"q": "a", "options": ["ash", "oak"], "answer": 1}, {"q": "b", "options": ["ash", "oak"], "answer": None}]
    (asked,) = prepare_own(own_folder(tmp_path, rows), 0)
    with pytest.raises(HedgerowError, match=r"rows\.jsonl, line 2: the answer is missing"):
        harness.build(Test(asked.name, asked.folder, 0, None))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("process_docs: !function utils.process\n", 13), ("process_docs: !%66unction utils.process\n", 13),
        ("process_docs: !<!function> utils.process\n", 13), ("'class': utils.process\n", 13),
        ('? "unsafe_code"\n: true\n', 13), ("nested: {deep: [1, {custom_dataset: x}]}\n", 13),
        ("x: !!python/name:os.system\n", 13), ("include: more.txt\n", 13), ("include: [../outside.yaml]\n", 13),
        ("include: /etc/outside.yaml\n", 13), ("x: [\n", 14),
    ],
)  # fmt: skip
def test_python_in_a_folder_is_not_run(tmp_path: Path, more: str, line: int) -> None:
    row = {"q": "a", "options": ["ash", "oak"], "answer": 1}
    folder = own_folder(tmp_path, [row], more)
    for place in (folder / "more.txt", tmp_path / "outside.yaml"):
        place.write_text("process_docs: !function utils.process\n")
    (folder / "utils.py").write_text("raise SystemExit('ran')")
    with pytest.raises(
        HedgerowError, match=rf"mine\.yaml, line {line}: (this task brings Python code|it includes|not r)"
    ):
        prepare_own(folder, 0)


def test_python_in_a_file_that_a_task_includes_or_that_names_its_tag_by_a_handle_is_not_run(tmp_path: Path) -> None:
    row = {"q": "a", "options": ["ash", "oak"], "answer": 1}
    folder = own_folder(tmp_path, [row], "include: deep/more.YML\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.YML").write_text("%TAG !f! !func\n---\nprocess_docs: !f!tion utils.process\n")
    with pytest.raises(HedgerowError, match=r"more\.YML, line 3: this task brings Python code"):
        prepare_own(folder, 0)


def test_a_row_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"id": 1, "context": "\\ud800", "choices": ["a", "b"], "gold": 0}\n')
    with pytest.raises(HedgerowError, match=r"odd\.jsonl, line 1: not a JSON object"):
        prepare_own(file, 0)


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    row = {"q": "a", "options": ["ash", "oak"], "answer": 1}
    folder = own_folder(tmp_path, [row])
    path = folder / "mine.yaml"
    path.write_text(path.read_text().replace("{{q}}", "{{ q.__class__.__mro__[1].__subclasses__() }}"))
    (asked,) = prepare_own(folder, 0)
    with pytest.raises(HedgerowError, match="is unsafe"):
        harness.build(Test(asked.name, asked.folder, 0, None))


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, own: Asked) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HedgerowError, match=r"pip install 'hedgerow\[eval\]'"):
        harness.build(Test(own.name, own.folder, 0, None))


def test_nothing_is_printed(own: Asked, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked_items(own, FakeScorer(), tmp_path / "run")
    said = capfd.readouterr()
    assert said.out == "" and said.err == ""


def test_progress_is_told_past_the_quiet(own: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = harness.build(Test(own.name, own.folder, 0, None))
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        print("told", file=sys.stderr)

    harness.ask(built, FakeScorer(), Journal(tmp_path / "run", block=50), tell)
    assert told[0] == (50, told[-1][1]) and told[-1][0] == told[-1][1]
    assert capsys.readouterr().err.count("told") == len(told)


# ---- writing --------------------------------------------------------------------------------------------------------


def test_text_ends_at_the_first_stop() -> None:
    assert cut("one\ntwo. three", ["three", "\n"]) == "one"
    assert cut("one", ["\n"]) == "one" and cut("one", []) == "one"


def test_a_short_answer_is_not_written_to_the_end() -> None:
    scorer = FakeScorer(says={"short": " 4\nmore", "long": " " + "word " * 60 + "\nmore"})
    texts = written(scorer, ["short", "long"], {"until": ["\n"], "max_gen_toks": 256}, 0)
    assert texts == [" 4", " " + "word " * 60]
    assert scorer.asked == 3  # both shortly, one again


def test_a_rolling_text_is_scored_piece_after_piece() -> None:
    text = " ".join(f"word{i}" for i in range(300))
    seen: list[tuple[str, str]] = []

    class Listening(FakeScorer):
        def loglikelihood(self, pairs: Any) -> Any:
            seen.extend(pairs)
            return super().loglikelihood(pairs)

    rolling(Listening(), text)
    assert "".join(piece for _, piece in seen) == text
    assert all(before == text[: text.index(piece)][-8000:] for before, piece in seen)
    assert all(piece.startswith(" ") for _, piece in seen[1:]) and len(seen) > 3


def test_numbers_are_taken_out_of_what_is_written(tmp_path: Path) -> None:
    rows = [{"id": f"m{i}", "prompt": f"What is {i} plus {i}?", "target": str(2 * i)} for i in range(1, 4)]
    (asked,) = prepare_own(write_rows(tmp_path / "sums.jsonl", rows), 0)
    scorer = FakeScorer(says={"1 plus": " 2\n", "2 plus": "  4  \nno", "3 plus": " 7"})
    samples = harness.ask(harness.build(Test(asked.name, asked.folder, 0, None)), scorer, Journal(tmp_path / "run"))
    found = items.other_items(samples)
    assert [item["exact_match"] for item in found] == [1.0, 1.0, 0.0]
    assert found[1]["answer"] == {"answer": ["4"]}
