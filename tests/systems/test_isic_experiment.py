"""Cells of the grid and what they come to; and whether what is committed under results/ agrees with itself."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isic_tiny import encoder_folder

from hedgerow import run
from hedgerow.errors import HedgerowError
from hedgerow.systems.isic import (
    cells,
    errors,
    facts,
    features,
    finetune,
    grid,
    linear,
    models,
    parts,
    peers,
    slices,
    summary,
)
from hedgerow.systems.isic.folds import coded_for, fold_of, label_tree, rows_of
from hedgerow.systems.isic.splits import Split
from hedgerow.systems.isic.task import IsicTask, make_task
from hedgerow.task import Example

RESULTS = Path(__file__).parents[2] / "results"


def nothing(trunk: str, texts: object) -> np.ndarray:
    raise AssertionError("no trunk is needed")


def test_a_cell_holds_scores_costs_and_outcomes_per_text(data_cache: Path) -> None:
    task = make_task("toy")
    fold = fold_of(task.split, nothing)
    model = models.single(linear.tfidf(fold, 0, words=300, characters=300), fold)
    found, items = grid.evaluate(model, task, fold)
    n = len(task.splits["test"])
    assert {len(items["top1"]), len(items["top5"]), len(items["confidence"]) // 2} == {n}
    assert found["accuracy"]["value"] == pytest.approx(cells.bits(items["top1"]).mean())
    assert found["top5"]["value"] == pytest.approx(cells.bits(items["top5"]).mean())
    assert 0 <= found["answered_95"]["value"] <= found["answered_90"]["value"] + 1e-9 <= 1 + 1e-9
    sides = facts.per_item(task)
    assert len(sides["group"]) == n
    assert not any(isinstance(v, str) and any(c not in "01" for c in v) for v in sides.values())  # no text leaves


def test_the_decision_of_a_cell_is_that_of_the_tree(data_cache: Path) -> None:
    fold = fold_of(make_task("toy").split, nothing)
    p = np.zeros((1, len(fold.tree)), np.float32)
    p[0, [fold.tree.index["0111"], fold.tree.index["0112"]]] = 0.5, 0.4
    (answer,) = grid.answers(p, models.ranked(p, 5), fold, 0.8)
    assert (answer["decision"], answer["code"]) == ("group", "011")
    assert answer["candidates"][0] == {"code": "0111", "p": pytest.approx(0.5)}


def test_names_of_the_plan_are_those_of_the_peers(data_cache: Path) -> None:
    fold = fold_of(make_task("toy").split, nothing)
    assert set(peers.peer_names("texts")) == set(peers.cheap(fold, 0))
    some = parts.Fold(fold.tree, fold.train, fold.dev, fold.train, nothing)
    assert set(peers.peer_names("grouped")) == set(peers.cheap(some, 0))


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


def cell(root: Path, split: str, model: str, top1: str, seed: int = 0, confidence: str = "", **more: Any) -> None:
    value = cells.bits(top1).mean()
    found = {m: score(value) for m in ("accuracy", "top5", "accuracy_single", "ece", "answered_90", "answered_95")}
    items = {"top1": top1, "top5": top1, "confidence": confidence or "50" * len(top1)}
    found |= {"fit_cpu_seconds": 1.0} | more
    run.save_result(root, "isic", "peers", {"split": split, "model": model}, seed, found, items, time.time())


def sides(root: Path, split: str, seed: int = 0, schemes: str = "KSIC10", sections: str = "ACCC") -> None:
    """A split of four texts in three groups, the second and third of one; and what is known of each."""
    config, names = {"split": split}, sorted(set(sections))
    run.save_result(root, "isic", "splits", config, seed, {"digest": "x"}, {"group": [0, 1, 1, 2]}, time.time())
    items = {"schemes": schemes.split(), "scheme": [list(range(len(schemes.split())))] * 4, "sections": names,
             "section": [names.index(s) for s in sections]}  # fmt: skip
    run.save_result(root, "isic", "facts", config, seed, {"digest": "x"}, items, time.time())


def ecoinvent(root: Path, **models: str) -> None:
    """What `experiment facts` leaves of a split whose labels may not be kept."""
    run.save_result(root, "isic", "splits", {"split": "grouped"}, 0, {}, {"group": [0, 0, 1, 2]}, time.time())
    found = {model: {"A": score(cells.bits(hits).mean())} for model, hits in models.items()}
    run.save_result(root, "isic", "sections", {"split": "grouped"}, 0, found, None, time.time())


def test_goals_take_one_model_and_the_difference_is_paired(tmp_path: Path) -> None:
    cell(tmp_path, "grouped", "mix", "1100")
    cell(tmp_path, "grouped", "lm-head", "1110")
    cell(tmp_path, "grouped", "encoder", "1111")
    for scheme, good in zip(("KSIC10", "SSIC2020", "JSIC13", "NAICS2017"), ("1111", "1000", "1110", "1100")):
        cell(tmp_path, f"system:{scheme}", "mix", good)
        cell(tmp_path, f"system:{scheme}", "tfidf", "1100")
    cell(tmp_path, "system:KSIC10", "encoder", "1111")  # not on all four, so no model for the mean
    ecoinvent(tmp_path, **{"mix": "1100", "lm-head": "1110", "encoder": "1111"})
    for scheme in ("KSIC10", "SSIC2020", "JSIC13", "NAICS2017"):
        sides(tmp_path, f"system:{scheme}", schemes=scheme)
    run.save_result(
        tmp_path, "isic", "errors", {"split": "grouped", "model": "mix"}, 0, {"parameters": 7}, None, time.time()
    )
    summary.summarise(tmp_path)
    found = summaries(tmp_path)
    assert found["grouped_top1"]["model"] == "encoder"
    assert found["held_out"]["model"] == "mix"
    assert found["held_out"]["reached"]["value"] == pytest.approx((1 + 0.25 + 0.75 + 0.5) / 4)
    assert found["held_out"]["reached"]["high"] - found["held_out"]["reached"]["value"] == pytest.approx(0.02 / 2)
    assert (found["lm"]["lm"], found["lm"]["cheap"]) == ("lm-head", "mix")
    assert found["lm"]["difference"]["value"] == pytest.approx(0.25)
    assert found["lm"]["cheap_parameters"] == 7 and "lm_parameters" not in found["lm"]  # nobody counted it
    assert "rows" not in found


def summaries(root: Path) -> dict[str, Any]:
    """By their goal, or what they are about and of which split."""
    return {" ".join(r.config[k] for k in ("goal", "what", "split") if k in r.config): r.metrics
            for r in run.load_results(root, "isic", "summary")}  # fmt: skip


def test_a_text_counts_in_each_of_its_schemes_and_seeds_are_averaged(tmp_path: Path) -> None:
    cell(tmp_path, "texts", "mix", "1100")
    cell(tmp_path, "texts", "mix", "1111", seed=1)
    cell(tmp_path, "texts", "tfidf", "1111")  # better, but one seed only
    sides(tmp_path, "texts", schemes="KSIC10 NACE2")
    sides(tmp_path, "texts", 1, schemes="KSIC10", sections="AAAA")
    summary.summarise(tmp_path)
    found = summaries(tmp_path)
    assert found["scheme"]["models"] == {"texts_cheap": "mix", "texts_n": ""}
    assert found["scheme"]["KSIC10"]["texts_n"] == 4 and "texts_lm" not in found["scheme"]["KSIC10"]  # not run
    assert found["scheme"]["KSIC10"]["texts_cheap"]["value"] == pytest.approx((0.5 + 1) / 2)
    assert found["scheme"]["NACE2"]["texts_cheap"]["value"] == pytest.approx(0.5)  # of the seed that has it
    assert found["section"]["A"]["texts_cheap"] == {"value": 1, "low": 1, "high": 1, "n": (1 + 4) / 2}
    assert found["section"]["C"]["texts_cheap"]["value"] == pytest.approx(1 / 3)


def test_models_are_compared_over_the_seeds_that_they_share(tmp_path: Path) -> None:
    for seed, good in enumerate(("1000", "1000", "1000", "1111", "1111")):  # the last draws are easy ones
        cell(tmp_path, "grouped", "lm-head", good, seed)
    for seed in range(3):
        cell(tmp_path, "grouped", "lora", "1100", seed)
    cell(tmp_path, "grouped", "smollm2-head", "1111")  # one seed is not enough
    models_there = cells.on(cells.load(tmp_path, "peers"), "grouped")
    assert cells.best(models_there, "lm") == "lora"
    assert cells.best(models_there, "cheap") is None
    for scheme in ("a", "b"):
        cell(tmp_path, scheme, "mix", "1100")
        cell(tmp_path, scheme, "tfidf", "1000")
    cell(tmp_path, "a", "majority", "1111")  # not on both
    assert cells.on_all(cells.load(tmp_path, "peers"), ("a", "b")) == "mix"


def test_sections_of_four_schemes_are_one_test_set(tmp_path: Path) -> None:
    schemes = ("KSIC10", "SSIC2020", "JSIC13", "NAICS2017")
    for scheme, good in zip(schemes, ("1111", "1000", "1110", "1100")):
        cell(tmp_path, f"system:{scheme}", "lm-head", good)
        sides(tmp_path, f"system:{scheme}", schemes=scheme)
    summary.summarise(tmp_path)
    found = summaries(tmp_path)
    assert found["section"]["A"]["held_lm"]["value"] == 1 and found["section"]["A"]["held_lm"]["n"] == 4
    assert found["section"]["C"]["held_lm"]["value"] == pytest.approx((3 + 0 + 2 + 1) / 12)
    assert found["scheme"]["JSIC13"]["held_lm"]["value"] == pytest.approx(0.75)


def test_cells_that_nobody_cut_by_section_are_one_line(tmp_path: Path) -> None:
    cell(tmp_path, "grouped", "mix", "1100")
    ecoinvent(tmp_path, tfidf="1100")
    with pytest.raises(HedgerowError, match="experiment facts"):
        summary.summarise(tmp_path)
    cell(tmp_path, "texts", "mix", "1100")
    ecoinvent(tmp_path, mix="1100")
    with pytest.raises(HedgerowError, match="no facts of split texts seed 0"):
        summary.summarise(tmp_path)


def test_the_curve_is_that_of_all_thresholds_and_the_points_are_those_of_dev(tmp_path: Path) -> None:
    right = "1" * 30 + "10" * 5
    kept = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 10}
    cell(tmp_path, "texts", "tfidf", right, confidence="90" * 30 + "40" * 10,
         answered_90={"value": 0.25, "n": 40}, precision_90=kept, answered_95={"value": 0, "n": 40})  # fmt: skip
    lines = slices.coverage(cells.on(cells.load(tmp_path, "peers"), "texts"))
    assert set(lines) == {"cheap", "tfidf"}  # the one cheap model is TF-IDF; no other side has a cell
    line = lines["tfidf"]
    assert (line["coverage"], line["accuracy"]) == ([0.75, 1.0], [1.0, 0.875])
    assert (line["answered_90"], line["right_90"]) == (0.25, pytest.approx(0.9))
    assert line["answered_95"] == 0 and "right_95" not in line
    assert (line["possible_90"], line["possible_95"]) == (0.75, 0.75)


# ---- facts and errors -----------------------------------------------------------------------------------------------
def coded(text: str, codes: set[str], systems: str, licence: str = "MIT") -> Example:
    return Example(text, text, frozenset(codes), text, {"systems": systems, "licence": licence, "language": "en"})


def test_facts_of_texts_that_may_be_kept_and_none_of_others() -> None:
    test = coded("rice", {"0112"}, "ISIC4 KSIC10"), coded("bread and rice", {"1071", "0112"}, "KSIC10")
    task = IsicTask(Split("texts", 0, "isic", (), (), test), {})
    items = facts.sides(task)
    assert facts.values(items, "scheme") == [("ISIC4", "KSIC10"), ("KSIC10",)]
    assert facts.values(items, "section") == [("A",), ("A+C",)]
    assert facts.ours(task)
    theirs = IsicTask(Split("transfer", 0, "isic", (), (), (*test, example("electricity", "3510"))), {})
    assert not facts.ours(theirs)


def test_no_label_of_ecoinvents_is_committed() -> None:
    """Sections are kept of texts under MIT alone; of the other splits there are scores over all texts of one."""
    theirs = {"rows", "names", "grouped", "grouped_nomarket", "transfer", "stress"}
    assert {r.config["split"] for r in run.load_results(RESULTS, "isic", "facts")}.isdisjoint(theirs)
    for r in run.load_results(RESULTS, "isic", "sections"):
        assert r.config["split"] in theirs and r.items is None
    for r in run.load_results(RESULTS, "isic", "splits"):
        if r.config["split"] in theirs:
            assert set(r.items) == {"group", "single", "language"}


def test_facts_are_filled_once_and_a_changed_split_is_refused(tmp_path: Path, data_cache: Path) -> None:
    task = make_task("toy", {"seed": 0})
    facts.save(tmp_path, task, 0)
    cell(tmp_path, "toy", "mix", "1" * len(task.splits["test"]))
    (path,) = facts.fill(tmp_path)  # invented texts have no licence of others, so scores alone
    assert path.parent.name == "sections"
    assert run.load_results(tmp_path, "isic", "sections")[0].metrics["mix"]["A"]["value"] == 1
    assert list(facts.fill(tmp_path)) == []
    path.unlink()
    run.save_result(tmp_path, "isic", "splits", {"split": "toy"}, 0, {"digest": "y"}, {"group": []}, time.time())
    with pytest.raises(HedgerowError, match="other texts now"):
        list(facts.fill(tmp_path))


def test_an_error_is_the_neighbours_or_the_heads() -> None:
    gold = np.eye(4, dtype=bool)[[0, 1, 2, 3]]
    found, items = errors.compare(np.array([0, 3, 3, 0]), np.array([0, 3, 2, 1]), gold, ["a", "b", "c", "d"])
    assert (found["errors"], found["texts"]) == (3, 4)
    assert found["retrieval"]["value"] == pytest.approx(1 / 3)  # the second: both say 3
    assert found["head"]["value"] == pytest.approx(2 / 3)
    assert found["right_near"]["value"] == pytest.approx(1 / 3)  # the third: its neighbour was right
    assert found["agree_when_right"]["value"] == 1
    assert items == {"top1": "1000", "as_nearest": "1100", "nearest_right": "1010"}


def test_parameters_are_the_fitted_ones_and_the_trunks(tmp_path: Path, data_cache: Path) -> None:
    fold = fold_of(make_task("toy").split, nothing)
    words = linear.tfidf(fold, 0, words=300, characters=300)
    arrays = words.member.arrays
    alone = models.Model((words,), (1.0,))
    assert errors.parameters(alone, {}) == arrays["coef"].size + arrays["intercept"].size
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    here = replace(fold, vectors=features.remembered({"t": lambda texts: np.ones((len(texts), 32), np.float32)}))
    mixed = models.Model((words, parts.titles(here, "t"), parts.knn(here, "t")), (1.0, 1.0, 1.0))
    assert errors.parameters(mixed, {"t": trunk}) == errors.parameters(alone, {}) + errors.weights(trunk)
    assert errors.weights(trunk) > 10_000


def test_a_cell_of_another_fine_tuning_is_refused(tmp_path: Path) -> None:
    here = object.__new__(grid.Grid)
    here.root = tmp_path
    config = {"split": "grouped", "model": "encoder+dev"}
    asked = finetune.FineTune(epochs=3)
    assert not here.has("peers", config, 0, asked)
    cell(tmp_path, "grouped", "encoder+dev", "1100", tuned={"finetune": asked.model_dump()})
    assert here.has("peers", config, 0, asked) and here.has("peers", config, 0)
    with pytest.raises(HedgerowError, match=r"was trained with epochs=3\.0, not 2"):
        here.has("peers", config, 0, finetune.FineTune())
    cell(tmp_path, "grouped", "encoder+dev", "1100", tuned={})  # from before cells said it: the defaults
    assert here.has("peers", config, 0, finetune.FineTune())


# ---- what is committed ----------------------------------------------------------------------------------------------
def test_committed_cells_agree_with_their_outcomes() -> None:
    """The published top-1 and top-5 are the means of the outcomes beside them, on as many texts as the split has."""
    splits = {(r.config["split"], r.seed): r for r in run.load_results(RESULTS, "isic", "splits")}
    found = run.load_results(RESULTS, "isic", "peers")
    assert len(found) > 0
    for r in found:
        side = splits[r.config["split"], r.seed]
        for name, items in (("accuracy", "top1"), ("top5", "top5")):
            hits = cells.bits(r.items[items])
            assert len(hits) == side.metrics["test"] == len(side.items["group"])
            assert r.metrics[name]["value"] == pytest.approx(hits.mean(), abs=1e-9), r.config
            assert r.metrics[name]["low"] <= r.metrics[name]["value"] <= r.metrics[name]["high"]


def test_no_split_but_rows_leaks_and_rows_says_so() -> None:
    for r in run.load_results(RESULTS, "isic", "splits"):
        assert (r.metrics["leak"] > 0.5) if r.config["split"] == "rows" else (r.metrics["leak"] == 0)
    for r in run.load_results(RESULTS, "isic", "peers"):
        if r.config["split"] == "rows":
            assert r.metrics["leak"] > 0.5
            assert r.metrics["paper"] == grid.PAPER


def test_the_committed_summary_follows_from_the_cells(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(RESULTS / "isic", tmp_path / "isic", ignore=shutil.ignore_patterns("summary"))
    summary.summarise(tmp_path)
    again = {r.config_digest: r.metrics for r in run.load_results(tmp_path, "isic", "summary")}
    assert again == {r.config_digest: r.metrics for r in run.load_results(RESULTS, "isic", "summary")}
