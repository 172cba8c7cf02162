"""A stranger's text classifier whose digests were made again behind a change: each misfit is one line that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_toys

import hedgerow as hr
from hedgerow import files
from hedgerow import pack as packs
from hedgerow.errors import HedgerowError
from hedgerow.kinds.text_store import VECTORS

Change = Callable[[Any], Any]


def remade(path: Path) -> None:
    packs.write_manifest(path, files.read_toml(path / "pack.toml").get("trunk"))


def refusal(path: Path) -> str:
    remade(path)
    with pytest.raises(HedgerowError) as caught:
        hr.open(path).predict(["rice", {"text": "", "code": "01.11", "scheme": "NACE2"}])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(*keys: Any, value: Any) -> Change:
    """A change that sets one inner value."""

    def change(whole: Any) -> Any:
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return whole

    return change


LABEL = {"code": "0113", "title": "x", "group": "011", "division": "01", "section": "A"}
FILES: list[tuple[str, Change, str]] = [
    ("labels.json", lambda x: {**x, "labels": [*x["labels"], LABEL]}, "coef has shape [8, "),
    ("labels.json", lambda x: {**x, "labels": x["labels"][:-1]}, "no class is called '6202'"),
    ("labels.json", put("labels", 1, "code", value="0111"), "the class '0111' is listed twice"),
    ("labels.json", put("labels", 1, "section", value="B"), "lies in two sections, A and B"),
    ("labels.json", put("labels", 1, "code", value=112), "labels.1.code"),
    ("labels.json", put("labels", value=[]), "labels"),
    ("labels.json", put("labels", 0, "run", value="rm"), "unknown key 'labels.0.run'"),
    ("preprocess.json", put("max_characters", value=10**9), "max_characters"),
    ("preprocess.json", put("unicode", value="NFKD"), "unicode"),
    ("examples.json", put(3, "code", value="0113"), "example 4: no class is called '0113'"),
    ("examples.json", put(3, "text", value=None), "example 4: text"),
    ("examples.json", lambda x: x[:-1], f"{VECTORS} has shape [24, 12]"),
    ("examples.json", lambda x: {"0": x[0]}, "is not a list of examples"),
    ("crosswalk.json", put("NACE2", "01.11", value=["0111", "0199"]), "no class is called '0199'"),
    ("crosswalk.json", lambda x: {}, "holds no code"),
    ("member-0-word.json", lambda x: x[:-1], "idf has shape"),
    ("member-0-word.json", lambda x: [*x[:-1], x[0]], "holds a term twice"),
    ("member-0-char.json", lambda x: [*x[:-1], 7], "is not a list of terms"),
    ("model.json", put("members", 1, "type", value="trunk-liner"), "did you mean 'trunk-linear'"),
    ("model.json", put("members", 0, "settings", "norm", value="l1"), "norm"),
    ("model.json", put("members", 0, "settings", "blocks", 0, "ngrams", value=[1, 10**6]), "ngrams"),
    ("model.json", put("members", 0, "settings", "blocks", 0, "name", value="../../x"), "name"),
    ("model.json", put("members", 0, "tables", value=["word"]), "'char' is missing"),
    ("model.json", put("members", 0, "tables", value=["word", "../../x"]), "holds no member-0-../../x.json"),
    ("model.json", put("members", 0, "arrays", value=["idf", "coef", "intercept", "more"]), "holds no '0.more'"),
    ("model.json", put("members", 0, "arrays", value=["coef", "intercept"]), "'idf' is missing"),
    ("model.json", put("members", 2, "settings", "k", value=0), "k"),
    ("model.json", put("members", 3, "settings", "scale", value="NaN"), "scale"),
    ("model.json", put("combine", "weights", value=[1, 1]), "4 members need as many weights"),
    ("model.json", put("combine", "weights", value=[0, 0, 0, 0]), "not all 0"),
    ("model.json", put("combine", "rule", value="product"), "rule"),
    ("model.json", put("calibration", "temperature", value=-1), "temperature"),
    ("model.json", put("calibration", "thresholds", value={"0.90": 7}), "both within 0..1"),
    ("model.json", put("crosswalk", value=False), "crosswalk.json, which model.json does not speak of"),
]  # fmt: skip


@pytest.fixture
def pack(tmp_path: Path) -> packs.Pack:
    return text_toys.trunk_classifier(tmp_path)


@pytest.mark.parametrize("file,change,message", FILES, ids=[f"{f}: {m}" for f, _, m in FILES])
def test_files_that_do_not_fit(pack: packs.Pack, file: str, change: Change, message: str) -> None:
    path = pack.path / file
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert message in refusal(pack.path)


def test_a_tower_of_brackets(pack: packs.Pack) -> None:
    (pack.path / "member-0-word.json").write_text("[" * 200_000)
    assert "is not readable JSON" in refusal(pack.path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(pack: packs.Pack, number: str) -> None:
    path = pack.path / "model.json"
    path.write_text(path.read_text().replace('"temperature": 0.8', f'"temperature": {number}'))
    assert "temperature" in refusal(pack.path)


def test_vectors_of_another_width_than_the_trunk(pack: packs.Pack) -> None:
    arrays = pack.arrays()
    for name, new, message in [
        (VECTORS, np.zeros((24, 5), np.float16), f"{VECTORS} has shape [24, 5]"),
        ("1.W", np.zeros((8, 5)), "mean has shape [12]"),
        ("3.vectors", np.zeros((8, 5)), "vectors has 5 columns, the trunk gives 12"),
        (VECTORS, np.zeros((23, 12), np.float16), f"{VECTORS} has shape [23, 12]"),
    ]:
        packs.write_arrays(pack.path / "weights.safetensors", {**arrays, name: new})
        assert message in refusal(pack.path)


def test_another_trunk_of_the_right_width(pack: packs.Pack, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(pack.path / "trunk")
    packs.copy_pack(text_toys.trunk(tmp_path, seed=1), pack.path / "trunk")
    assert "is not the trunk" in refusal(pack.path)


def test_nothing_in_a_pack_is_formatted_or_run(pack: packs.Pack) -> None:
    path = pack.path / "labels.json"
    whole = json.loads(path.read_text())
    whole["labels"][0]["title"] = "{0.__class__} %s $(id) <script>"
    path.write_text(json.dumps(whole))
    remade(pack.path)
    model = hr.open(pack.path)
    answers = model.predict(["growing of wheat"], top=8)
    titles = {c["code"]: c["title"] for c in answers[0]["candidates"]}
    assert titles["0111"] == "{0.__class__} %s $(id) <script>"
    model.kind.line(answers[0])
