"""Whole runs on a tiny decoder: the harness's own model gets the same numbers; evidence; the random control."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from suite_fakes import choice_rows, write_rows

from hedgerow import kinds, metrics
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model
from hedgerow.pack import open_pack
from hedgerow.weighing import sandbox
from hedgerow.weighing.suite import gains, group_means, harness, items, prepare_own, run_suite, wanted
from hedgerow.weighing.suite.control import random_weights
from hedgerow.weighing.suite.harness import Test
from hedgerow.weighing.suite.journal import Journal
from hedgerow.weighing.suite.sets import GROUPS


def tiny_kinds() -> Any:
    """``tests/kinds/tiny.py``, which lies in another folder of tests."""
    path = Path(__file__).parents[2] / "kinds" / "tiny.py"
    spec = importlib.util.spec_from_file_location("suite_tiny", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny() -> Any:
    return tiny_kinds()


@pytest.fixture
def model(tiny: Any, tmp_path: Path) -> Model:
    return kinds.open(tiny.decoder_lm(tmp_path))


def theirs(tiny: Any, pack_path: Path, folder: Path, name: str, shots: int) -> dict[str, Any]:
    """The harness's own command on the same folder, with its own model class on the same weights."""
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pack_path / "tokenizer.json"), bos_token="<start>",
                                        eos_token="<end>", pad_token="<pad>")  # fmt: skip
    net = kinds.open(pack_path).engine.net  # type: ignore[attr-defined]
    own = HFLM(pretrained=net, tokenizer=tokenizer, batch_size=4, device="cpu", max_length=512)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = lm_eval.simple_evaluate(own, tasks=[name], num_fewshot=shots, task_manager=manager, bootstrap_iters=0)
    assert found is not None
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("shots", [0, 2])
def test_the_harness_itself_gets_the_same_numbers_item_by_item(
    tiny: Any, model: Model, tmp_path: Path, shots: int
) -> None:
    (asked,) = prepare_own(write_rows(tmp_path / "trees.jsonl", choice_rows(60)), shots)
    (line,) = run_suite(model, [asked], root=tmp_path / "runs", control=False).lines
    found = theirs(tiny, model.pack.path, asked.folder, asked.name, shots)
    samples = found["samples"]["trees"]
    assert line["items"]["hits"]["accuracy"] == "".join(str(int(s["acc"])) for s in samples)
    assert line["items"]["hits"]["accuracy_per_char"] == "".join(str(int(s["acc_norm"])) for s in samples)
    assert line["metrics"]["accuracy"]["value"] == pytest.approx(found["results"]["trees"]["acc,none"], abs=1e-12)
    (run,) = (tmp_path / "runs").iterdir()
    ours = [json.loads(text)["logprob"] for text in (run / "items.jsonl").read_text().splitlines()]
    for mine, sample in zip(ours, samples, strict=True):
        np.testing.assert_allclose(mine, [float(r[0]) for r in sample["filtered_resps"]], atol=2e-4)


def test_texts_and_rolling_likelihoods_are_the_harnesss_own(tiny: Any, model: Model, tmp_path: Path) -> None:
    rows = [{"id": f"m{i}", "prompt": f"count to {i}:", "target": "x"} for i in range(6)]
    (asked,) = prepare_own(write_rows(tmp_path / "sums.jsonl", rows), 0)
    samples = harness.ask(
        harness.build(Test(asked.name, asked.folder, 0, None)),
        model.engine,  # type: ignore[arg-type]
        Journal(tmp_path / "run"),
    )
    found = theirs(tiny, model.pack.path, asked.folder, asked.name, 0)["samples"]["sums"]
    assert [s["resps"] for s in samples] == [s["resps"] for s in found]

    folder = tmp_path / "roll"
    folder.mkdir()
    write_rows(folder / "rows.jsonl", [{"page": f"a hedge of {i} oaks and some hazel"} for i in range(5)])
    (folder / "roll.yaml").write_text(
        f"task: roll\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\n"
        "test_split: test\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: page\nmetric_list:\n"
        "  - metric: byte_perplexity\n"
    )
    built = harness.build(Test("roll", folder, 0, None))
    mine = harness.ask(built, model.engine, Journal(tmp_path / "rolled"))  # type: ignore[arg-type]
    own = theirs(tiny, model.pack.path, folder, "roll", 0)["samples"]["roll"]
    assert len(mine) == 5
    np.testing.assert_allclose([m["resps"][0][0] for m in mine], [o["resps"][0][0] for o in own], atol=2e-4)


def test_a_finished_test_is_one_line_of_evidence_and_is_not_asked_twice(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = prepare_own(write_rows(tmp_path / "trees.jsonl", choice_rows(30)), 0)
    first = run_suite(model, tests, root=tmp_path / "runs")
    (line,) = first.lines
    assert line["task"]["name"] == "suite/trees" and line["task"]["n"] == 30 and len(line["task"]["digest"]) == 64
    assert set(line["metrics"]) == {"accuracy", "accuracy_per_char", "accuracy_per_token"}
    for score in line["metrics"].values():
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1 and score["n"] == 30
    assert line["beside"]["chance"] == pytest.approx(np.mean([1 / (2 + i % 3) for i in range(30)]))
    assert line["beside"]["majority"] is None  # choices differ from row to row
    assert set(line["beside"]["random_weights"]["metrics"]) == set(line["metrics"])
    assert [row["task"]["digest"] for row in open_pack(model.pack.path).scores] == [line["task"]["digest"]]
    monkeypatch.setattr(harness, "ask", None)  # asking once more would fail
    again = run_suite(model, tests, root=tmp_path / "runs")
    assert again.lines[0]["metrics"] == line["metrics"]
    assert len(open_pack(model.pack.path).scores) == 1


def test_a_random_model_of_the_same_shape(model: Model, tmp_path: Path) -> None:
    twin = random_weights(model.pack)
    ours, theirs_ = model.pack.arrays(), twin.arrays()
    assert {n: (a.shape, a.dtype) for n, a in ours.items()} == {n: (a.shape, a.dtype) for n, a in theirs_.items()}
    drawn = np.concatenate([a.ravel().astype(float) for a in theirs_.values() if a.ndim == 2])
    assert abs(drawn.mean()) < 1e-3 and drawn.std() == pytest.approx(0.02, rel=0.05)
    assert all((a == 1).all() for n, a in theirs_.items() if a.ndim == 1 and not n.endswith("bias"))
    assert twin.digest != model.pack.digest and random_weights(model.pack).digest == twin.digest
    assert "random weights" in twin.info.name


def test_a_form_that_writes_no_text_is_refused_in_one_line(tiny: Any, tmp_path: Path) -> None:
    encoder = kinds.open(tiny.encoder(tmp_path))
    tests = prepare_own(write_rows(tmp_path / "trees.jsonl", choice_rows(5)), 0)
    with pytest.raises(HedgerowError, match="neither scores nor writes text"):
        run_suite(encoder, tests, root=tmp_path / "runs")


PROGRAMS = [
    {"id": "one", "prompt": "def f(x):\n", "tests": "assert f(1) == 2"},
    {"id": "two", "prompt": "def g(x):\n", "tests": "assert g(1) == 3"},
]


def test_without_a_sandbox_coding_is_refused_and_nothing_is_asked(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "refused", lambda: "coding is refused: no sandbox here")
    monkeypatch.setattr(harness, "build", None)
    tests = prepare_own(write_rows(tmp_path / "code.jsonl", PROGRAMS), 0)
    with pytest.raises(HedgerowError, match="coding is refused"):
        run_suite(model, tests, root=tmp_path / "runs")


def test_what_is_refused_does_not_keep_the_rest_from_being_asked(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "refused", lambda: "coding is refused: no sandbox here")
    tests = [
        *prepare_own(write_rows(tmp_path / "code.jsonl", PROGRAMS), 0),
        *prepare_own(write_rows(tmp_path / "trees.jsonl", choice_rows(5)), 0),
    ]
    found = run_suite(model, tests, root=tmp_path / "runs", control=False)
    assert [line["task"]["name"] for line in found.lines] == ["suite/trees"]
    assert found.left_out == [("code, 0 shots", "coding is refused: no sandbox here")]


@pytest.mark.service
def test_programs_are_judged_in_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite_fakes import FakeScorer

    from hedgerow.weighing.suite.running import _judge

    (asked,) = prepare_own(write_rows(tmp_path / "code.jsonl", PROGRAMS), 0)
    run_it = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda program: run_it(program, sandbox.Limits(seconds=1.0)))
    scorer = FakeScorer(says={"def f": "    return x + 1\n\nprint(1)", "def g": "    while True: pass\n"})
    built = harness.build(Test(asked.name, asked.folder, 0, None))
    samples = harness.ask(built, scorer, Journal(tmp_path / "run"))
    run = type("Run", (), {"folder": tmp_path / "run"})()
    found = items.code_items(samples, _judge(asked, run))
    assert [(i["pass_at_1"], i["how"]) for i in found] == [(1.0, ["passed"]), (0.0, ["time"])]
    kept = (tmp_path / "run" / "programs.jsonl").read_text()
    assert items.code_items(samples, _judge(asked, run)) == found
    assert (tmp_path / "run" / "programs.jsonl").read_text() == kept


# ---- numbers over items ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "c", "k"), [(1, 0, 1), (1, 1, 1), (10, 3, 1), (10, 3, 5), (20, 1, 10), (5, 5, 5), (6, 2, 5)]
)
def test_pass_at_k_is_the_share_of_draws_with_a_pass(n: int, c: int, k: int) -> None:
    from itertools import combinations

    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert items.pass_at_k(n, c, k) == pytest.approx(sum(any(d) for d in draws) / len(draws))


def test_majority_counts_only_where_all_rows_have_the_same_choices() -> None:
    yes = [
        {"id": str(i), "group": str(i), "choices": ["no", "yes"], "gold": int(i % 4 > 0), "accuracy": 1.0}
        for i in range(8)
    ]
    assert items.beside(yes) == {"chance": 0.5, "majority": 0.75}
    yes[0]["choices"] = ["no", "yes", "perhaps"]
    assert items.beside(yes)["majority"] is None
    written = [{"id": str(i), "group": "a", "target": str(i % 2 + i % 3), "exact_match": 0.0} for i in range(6)]
    assert items.beside(written)["chance"] == 0.0


def test_packed_outcomes_give_the_paired_difference_back() -> None:
    random = np.random.default_rng(0)
    one = [{"id": str(i), "group": str(i // 2), "accuracy": float(random.random() < 0.7)} for i in range(200)]
    two = [{**item, "accuracy": float(random.random() < 0.4)} for item in one]
    found = items.paired(items.packed(one), items.packed(two), "accuracy")
    hits = [[item["accuracy"] for item in rows] for rows in (one, two)]
    straight = metrics.paired_bootstrap(*hits, [item["group"] for item in one])
    assert found is not None and (found["value"], found["low"], found["high"]) == tuple(straight)
    assert found["shown"] and not items.paired(items.packed(one), items.packed(one), "accuracy")["shown"]  # type: ignore[index]
    assert items.paired(items.packed(one), items.packed(two[:-1]), "accuracy") is None
    assert items.paired(items.packed(one), items.packed(two), "exact_match") is None
    assert len(json.dumps(items.packed(one))) < 2000


def made_line(group: str, name: str, value: float, shots: int = 0, hits: str = "0101") -> dict[str, Any]:
    score = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 4}
    return {
        "task": {"name": f"suite/{name}", "digest": f"{name}{shots}", "options": {"limit": None}, "n": 4},
        "metrics": {"accuracy": score},
        "suite": {"group": group, "shots": shots, "headline": "accuracy", "ids": name},
        "items": {"hits": {"accuracy": hits}, "groups": None},
    }


def test_a_groups_mean_exists_only_when_all_of_it_ran() -> None:
    lines = [made_line("mathematics", "gsm8k", 0.2), made_line("commonsense", "piqa", 0.6)]
    assert group_means(lines) == []
    lines.append(made_line("mathematics", "asdiv", 0.4))
    (mean,) = group_means(lines)
    assert mean["value"] == pytest.approx(0.3) and mean["n"] == 8 and mean["sets"] == 2
    assert mean["half"] == pytest.approx(0.1 * 2**0.5 / 2)
    lines[-1]["task"]["options"] = {"limit": 5}
    assert group_means(lines) == []


def test_what_examples_change_is_paired_against_none() -> None:
    lines = [made_line("in-context", "piqa", 0.5, hits="0101"), made_line("in-context", "piqa", 1.0, 5, hits="1111")]
    (gain,) = gains(lines)
    assert (gain["shots"], gain["difference"]["value"]) == (5, 0.5)
    lines[1]["suite"]["ids"] = "other rows"
    assert gains(lines) == []


def test_names_of_groups_and_sets() -> None:
    assert [name for _, name, _ in wanted("commonsense", None)] == list(GROUPS["commonsense"])
    assert wanted("math,gsm8k", 5) == [("mathematics", "gsm8k", 5), ("mathematics", "asdiv", 5)]
    assert {shots for _, _, shots in wanted("icl", None)} == {0, 1, 5}
    assert {shots for _, _, shots in wanted("in-context", 1)} == {1}
    with pytest.raises(HedgerowError, match="did you mean 'mathematics'"):
        wanted("mathematic", None)
    with pytest.raises(HedgerowError, match="names no group"):
        wanted(" , ", None)
