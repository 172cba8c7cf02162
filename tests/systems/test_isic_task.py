"""The Task: which answers score what, by hand; and that equal Tasks have equal digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hedgerow.errors import HedgerowError
from hedgerow.systems.isic.splits import Split
from hedgerow.systems.isic.task import IsicTask, ancestors, make_task, own_task
from hedgerow.task import Example, Task

EXAMPLES = (
    Example("1", "rice", frozenset({"0112"}), "g1", {"system": "KSIC10"}),
    Example("2", "cereals", frozenset({"0111", "0112"}), "g1", {"system": "KSIC10"}),
    Example("3", "milk", frozenset({"0141"}), "g2", {"system": "JSIC13"}),
    Example("4", "bread", frozenset({"1071"}), "g3", {"system": "JSIC13"}),
)


def answer(codes: list[str], p: float, decision: str = "class", code: str | None = None) -> dict[str, Any]:
    candidates = [{"code": c, "title": "", "p": p if i == 0 else 0.01} for i, c in enumerate(codes)]
    return {"decision": decision, "code": codes[0] if code is None else code, "candidates": candidates}


ANSWERS = [
    answer(["0112", "0111"], 0.9),
    answer(["0111", "0112"], 0.8),
    answer(["0112", "0145", "0146", "0149", "0150", "0141"], 0.6, "division", "01"),
    answer(["4711", "1071"], 0.3, "review", ""),
]


@pytest.fixture
def task() -> IsicTask:
    return IsicTask(Split("s", 0, "isic", EXAMPLES[:1], (), EXAMPLES), {})


@pytest.mark.usefixtures("data_cache")
class TestScore:
    def test_by_hand(self, task: IsicTask) -> None:
        score = task.score(EXAMPLES, ANSWERS)
        value = {name: round(s["value"], 6) for name, s in score.items()}
        assert value["accuracy"] == 0.5 and value["top5"] == 0.75 and value["division"] == 0.75
        assert value["accuracy_single"] == round(1 / 3, 6) and value["accuracy_multi"] == 1
        assert score["accuracy_single"]["n"] == 3 and score["top5_multi"]["n"] == 1
        # gold 0112, 0111, 0141, 1071 against 0112, 0111, 0112, 4711: F1 1, 1, 0, 0 (0112 was also said for milk: 2/3)
        assert value["macro_f1"] == round((2 / 3 + 1 + 0 + 0) / 4, 6)
        # ancestor sets of four nodes: 4 + 4 shared, milk shares 01 and A, bread shares nothing with 4711
        assert value["hierarchical_f1"] == round(2 * (4 + 4 + 2 + 0) / (8 * 4), 6)
        # every row is a bin of its own: |1-.9| + |1-.8| + |0-.6| + |0-.3|
        assert value["ece"] == round((0.1 + 0.2 + 0.6 + 0.3) / 4, 6)
        assert value["coverage_90"] == value["coverage_95"] == 0.5
        # decided: class, class, division (right), review left out; depth 4 + 4 + 2 + 0
        assert value["decided_accuracy"] == 1 and score["decided_accuracy"]["n"] == 3 and value["depth"] == 2.5
        assert all(s["low"] <= s["value"] <= s["high"] for s in score.values())

    def test_a_wrong_decision_counts_at_its_level(self, task: IsicTask) -> None:
        wrong = [answer(["0112"], 0.5, "section", "C"), answer(["0112"], 0.5, "group", "011")]
        score = task.score(EXAMPLES[:2], wrong)
        assert score["decided_accuracy"]["value"] == 0.5 and score["depth"]["value"] == 2

    def test_a_row_without_an_answer_is_wrong_not_lost(self, task: IsicTask) -> None:
        score = task.score(EXAMPLES[:2], [ANSWERS[0], {"error": "too long"}])
        assert score["accuracy"]["value"] == 0.5 and score["accuracy"]["n"] == 2

    def test_one_group_has_no_width_and_the_same_value(self, task: IsicTask) -> None:
        whole = task.score(EXAMPLES, ANSWERS)["accuracy"]["value"]
        by = task.by("system", EXAMPLES, ANSWERS)
        assert by["KSIC10"]["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 2}
        assert sum(s["accuracy"]["value"] * s["accuracy"]["n"] for s in by.values()) / 4 == whole
        assert set(task.by("section", EXAMPLES, ANSWERS)) == {"A", "C"}

    def test_faults_are_one_line(self, task: IsicTask) -> None:
        with pytest.raises(HedgerowError, match="3 answers for 4 examples"):
            task.score(EXAMPLES, ANSWERS[:3])
        with pytest.raises(HedgerowError, match="nothing to score"):
            task.score([], [])

    def test_scores_are_json(self, task: IsicTask) -> None:
        json.dumps(task.score(EXAMPLES, ANSWERS), allow_nan=False)


def test_ancestors(data_cache: Path) -> None:
    assert ancestors("0112") == {"0112", "011", "01", "A"}
    assert ancestors("3510a") == {"3510a", "3510", "351", "35", "D"}
    assert ancestors("20") == {"20", "C"} and ancestors("") == frozenset()


def test_a_task_can_be_made_again_from_its_score_line(data_cache: Path) -> None:
    task: Task = make_task("toy")
    again = make_task(task.name.removeprefix("isic/"), json.loads(json.dumps(task.options)))
    assert again.digest == task.digest and again.options == task.options and task.name == "isic/toy"
    assert task.ask(task.splits["test"][0]) == task.splits["test"][0].input
    assert make_task("toy", {"seed": 1}).digest != task.digest


def test_the_digest_covers_ids_inputs_and_golds() -> None:
    def digest(**changes: Any) -> str:
        fields = {"id": "1", "input": "rice", "gold": frozenset({"0112"}), "group": "g", "meta": {}} | changes
        return IsicTask(Split("s", 0, "isic", (), (), (Example(**fields),)), {}).digest

    different = {digest(), digest(id="2"), digest(input="ric"), digest(gold=frozenset({"0111"}))}
    assert len(different) == 4
    assert digest() == digest(group="h") == digest(meta={"a": "b"})
    example = Example("1", "rice", frozenset({"0112"}), "g")
    assert IsicTask(Split("s", 0, "isic", (example,), (), ()), {}).digest not in different


def test_bad_options_are_one_line() -> None:
    with pytest.raises(HedgerowError, match=r"unknown key 'sed'.*did you mean 'seed'"):
        make_task("toy", {"sed": 1})


def test_the_users_own_rows_are_all_test(tmp_path: Path, data_cache: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,code,scheme\nrice,01.12,NACE2\nbread,1071,\nlost,,\n")
    task = own_task(path)
    assert task.name == "isic/own" and [e.gold for e in task.splits["test"]] == [{"0112"}, {"1071"}]
    assert not task.splits["train"] and len(task.labels) == 419
    path.write_text("text\nrice\n")
    with pytest.raises(HedgerowError, match="no usable row with a code"):
        own_task(path)
