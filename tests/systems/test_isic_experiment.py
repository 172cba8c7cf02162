"""Cells of the grid and what they come to; and whether what is committed under results/ agrees with itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow import run
from hedgerow.systems.isic import experiment, models, summary
from hedgerow.systems.isic.folds import coded_for, fold_of, label_tree, rows_of
from hedgerow.systems.isic.splits import Split
from hedgerow.systems.isic.task import make_task
from hedgerow.task import Example

RESULTS = Path(__file__).parents[2] / "results"


def nothing(trunk: str, texts: object) -> np.ndarray:
    raise AssertionError("no trunk is needed")


def test_a_cell_holds_scores_costs_and_outcomes_per_text(data_cache: Path) -> None:
    task = make_task("toy")
    fold = fold_of(task.split, nothing)
    model = models.single(models.tfidf(fold, 0, words=300, characters=300), fold)
    found, items = experiment.evaluate(model, task, fold)
    n = len(task.splits["test"])
    assert {len(items["top1"]), len(items["top5"]), len(items["confidence"]) // 2} == {n}
    assert found["accuracy"]["value"] == pytest.approx(summary.bits(items["top1"]).mean())
    assert found["top5"]["value"] == pytest.approx(summary.bits(items["top5"]).mean())
    assert 0 <= found["answered_95"]["value"] <= found["answered_90"]["value"] + 1e-9 <= 1 + 1e-9
    sides = experiment.per_item(task)
    assert len(sides["group"]) == n
    assert not any(isinstance(v, str) and any(c not in "01" for c in v) for v in sides.values())  # no text leaves


def test_the_decision_of_a_cell_is_that_of_the_tree(data_cache: Path) -> None:
    fold = fold_of(make_task("toy").split, nothing)
    p = np.zeros((1, len(fold.tree)), np.float32)
    p[0, [fold.tree.index["0111"], fold.tree.index["0112"]]] = 0.5, 0.4
    (answer,) = experiment.answers(p, models.ranked(p, 5), fold, 0.8)
    assert (answer["decision"], answer["code"]) == ("group", "011")
    assert answer["candidates"][0] == {"code": "0111", "p": pytest.approx(0.5)}


def test_names_of_the_plan_are_those_of_the_peers(data_cache: Path) -> None:
    fold = fold_of(make_task("toy").split, nothing)
    assert set(experiment.peer_names("texts")) == set(experiment.cheap(fold, 0))
    some = models.Fold(fold.tree, fold.train, fold.dev, fold.train, nothing)
    assert set(experiment.peer_names("grouped")) == set(experiment.cheap(some, 0))


def example(text: str, code: str) -> Example:
    return Example(text, text, frozenset({code}), text)


def test_coded_texts_for_ecoinvent_leave_out_what_stands_in_test(data_cache: Path) -> None:
    split = Split(
        "grouped", 0, "strings",
        (example("electricity production", "3510a"), example("sawing", "1610"), example("chemicals", "20")),
        (example("growing of rice!", "0112"),), (example("Growing of vines", "0121"),),
    )  # fmt: skip
    tree = label_tree(split)
    found = coded_for(split, tree)
    texts = {t.lower().rstrip(".") for t in found.texts}
    assert "growing of rice" not in texts
    assert len(found) > 50
    assert {tree.codes[c] for c in found.classes} == {"3510a", "1610", "0112", "0121"}  # '20' is no class


def test_coded_texts_stand_beside_ecoinvents_unless_told_not_to(data_cache: Path) -> None:
    names = example("electricity production", "3510a"), example("sawing of wood", "1610")
    split = Split("rows", 0, "strings", names, (), ())
    assert len(fold_of(split, nothing).extra) > 10
    assert len(fold_of(split, nothing, coded=False).extra) == 0
    assert len(fold_of(make_task("toy").split, nothing).extra) == 0


def test_upper_levels_of_ecoinvents_labels() -> None:
    from hedgerow.systems.isic.folds import label

    assert (label("3510a", "").group, label("3510a", "").division, label("3510a", "").section) == ("351", "35", "D")
    assert (label("20", "").group, label("20", "").division) == ("", "20")


def test_answers_outside_the_label_space_are_dropped(data_cache: Path) -> None:
    tree = fold_of(make_task("toy").split, nothing).tree
    rows = rows_of([Example("x", "x", frozenset({"0112", "9999"}), "g")], tree)
    assert rows.gold.sum() == 1


# ---- the summary ----------------------------------------------------------------------------------------------------
def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 4}


def cell(root: Path, split: str, model: str, top1: str, seed: int = 0, **more: Any) -> None:
    value = summary.bits(top1).mean()
    found = {m: score(value) for m in ("accuracy", "top5", "accuracy_single", "ece")} | {"fit_cpu_seconds": 1.0} | more
    items = {"top1": top1, "top5": top1}
    run.save_result(root, "isic", "peers", {"split": split, "model": model}, seed, found, items, time.time())


def test_goals_take_one_model_and_the_difference_is_paired(tmp_path: Path) -> None:
    cell(tmp_path, "grouped", "mix", "1100")
    cell(tmp_path, "grouped", "lm-head", "1110")
    cell(tmp_path, "grouped", "encoder", "1111")
    for scheme, good in zip(("KSIC10", "SSIC2020", "JSIC13", "NAICS2017"), ("1111", "1000", "1110", "1100")):
        cell(tmp_path, f"system:{scheme}", "mix", good)
        cell(tmp_path, f"system:{scheme}", "tfidf", "1100")
    cell(tmp_path, "system:KSIC10", "encoder", "1111")  # not on all four, so no model for the mean
    groups = {"group": [0, 0, 1, 2]}
    run.save_result(tmp_path, "isic", "splits", {"split": "grouped"}, 0, {}, groups, time.time())
    summary.summarise(tmp_path)
    found = {next(iter(r.config.values())): r.metrics for r in run.load_results(tmp_path, "isic", "summary")}
    assert found["grouped_top1"]["model"] == "encoder"
    assert found["held_out"]["model"] == "mix"
    assert found["held_out"]["reached"]["value"] == pytest.approx((1 + 0.25 + 0.75 + 0.5) / 4)
    assert found["held_out"]["reached"]["high"] - found["held_out"]["reached"]["value"] == pytest.approx(0.02 / 2)
    assert (found["lm"]["lm"], found["lm"]["cheap"]) == ("lm-head", "mix")
    assert found["lm"]["difference"]["value"] == pytest.approx(0.25)
    assert "rows" not in found


# ---- what is committed ----------------------------------------------------------------------------------------------
def test_committed_cells_agree_with_their_outcomes() -> None:
    """The published top-1 and top-5 are the means of the outcomes beside them, on as many texts as the split has."""
    splits = {(r.config["split"], r.seed): r for r in run.load_results(RESULTS, "isic", "splits")}
    cells = run.load_results(RESULTS, "isic", "peers")
    assert len(cells) > 0
    for r in cells:
        side = splits[r.config["split"], r.seed]
        for name, items in (("accuracy", "top1"), ("top5", "top5")):
            hits = summary.bits(r.items[items])
            assert len(hits) == side.metrics["test"] == len(side.items["group"])
            assert r.metrics[name]["value"] == pytest.approx(hits.mean(), abs=1e-9), r.config
            assert r.metrics[name]["low"] <= r.metrics[name]["value"] <= r.metrics[name]["high"]


def test_no_split_but_rows_leaks_and_rows_says_so() -> None:
    for r in run.load_results(RESULTS, "isic", "splits"):
        assert (r.metrics["leak"] > 0.5) if r.config["split"] == "rows" else (r.metrics["leak"] == 0)
    for r in run.load_results(RESULTS, "isic", "peers"):
        if r.config["split"] == "rows":
            assert r.metrics["leak"] > 0.5
            assert r.metrics["paper"] == experiment.PAPER


def test_the_committed_summary_follows_from_the_cells(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(RESULTS / "isic", tmp_path / "isic", ignore=shutil.ignore_patterns("summary"))
    summary.summarise(tmp_path)
    again = {r.config_digest: r.metrics for r in run.load_results(tmp_path, "isic", "summary")}
    assert again == {r.config_digest: r.metrics for r in run.load_results(RESULTS, "isic", "summary")}
