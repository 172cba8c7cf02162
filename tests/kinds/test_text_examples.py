"""Coded examples are added without training; a trunk's new form leaves the classifier's digest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_toys
import tiny
from text_toys import CODES, codes_of

import hedgerow as hr
from hedgerow.errors import HedgerowError
from hedgerow.kinds import kind
from hedgerow.kinds.text_classifier import KIND
from hedgerow.kinds.text_examples import add_examples
from hedgerow.kinds.text_members import Member
from hedgerow.pack import Source, keep_trunk, open_pack, trunk_cache

NEW = [{"text": "Vermicelli from rice flour", "code": "1075"}, {"text": "Quantum ledger upkeep.", "code": "6202"}]
CALM = "growing of oats"


@pytest.fixture(params=["plain", "trunk", "own vectors", "exact"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "plain":
        return text_toys.text_classifier(tmp_path)
    if request.param == "trunk":
        return text_toys.trunk_classifier(tmp_path)
    if request.param == "own vectors":
        arrays = {"vectors": np.random.default_rng(1).normal(size=(9, 12)), "labels": np.arange(9) % 8}
        members = [Member("trunk-knn", {"k": 3}, arrays)]
        return text_toys.trunk_classifier(tmp_path, members=members, combine={"rule": "mean", "weights": [1.0]})
    exact = Member("exact", tables={"table": {"rice farm": ["0112"], "vermicelli FROM rice flour": ["0112"]}})
    return text_toys.text_classifier(tmp_path, members=[exact, text_toys.tfidf_linear()], combine={"rule": "first"})


def test_a_new_text_gets_its_code_and_the_others_keep_theirs(pack: Any, tmp_path: Path) -> None:
    before = hr.open(pack)
    grown = add_examples(pack, NEW, tmp_path / "grown")
    assert (grown.info.name, grown.info.parents[-1].name) == ("grown", pack.info.name)
    after = hr.open(grown)
    for row in NEW:
        answer = after.predict([row["text"].lower()], nearest=1)[0]
        assert (answer["code"], answer["p"], answer["decision"]) == (row["code"], 1.0, "class")
        assert answer["nearest"][0]["text"] == row["text"]
        assert answer["nearest"][0]["similarity"] == pytest.approx(1, abs=1e-3)
        assert before.predict([row["text"]], nearest=1)[0]["nearest"][0]["text"] != row["text"]
    old, new = before.predict([CALM])[0], after.predict([CALM])[0]
    assert codes_of(old)[0] == codes_of(new)[0]
    if "trunk" not in pack.info.name and pack.info.trunk is None:
        assert old == new  # nothing that is trained was touched
    assert len(after.engine.parts.examples) == len(before.engine.parts.examples) + 2


def test_lineage_licence_and_digest(pack: Any, tmp_path: Path) -> None:
    grown = add_examples(pack, NEW, tmp_path / "grown")
    assert grown.digest != pack.digest and open_pack(pack.path).digest == pack.digest
    start = grown.info.parents[-1]
    assert (start.role, start.name, start.digest) == ("start", "toy", pack.digest)
    assert (grown.info.data[-1].rows, grown.info.shareable) == (2, False)
    open_source = Source(name="index", licence="MIT")
    shared = add_examples(pack, NEW, tmp_path / "shared", source=open_source)
    assert shared.info.shareable and shared.info.data[-1].name == "index"
    twice = add_examples(grown, [{"text": "one more", "code": "0111"}], tmp_path / "twice")
    assert [p.digest for p in twice.info.parents] == [pack.digest, grown.digest]
    assert hr.open(twice).predict(["one more", NEW[0]["text"]], top=1)[0]["code"] == "0111"


def test_a_new_code_for_a_known_text_replaces_the_old_one(pack: Any, tmp_path: Path) -> None:
    changed = [{"text": "Growing of rice in paddies.", "code": "0111"}]
    grown = hr.open(add_examples(pack, changed, tmp_path / "grown"))
    answer = grown.predict(["growing of rice in paddies"], nearest=1)[0]
    assert (answer["code"], answer["nearest"][0]["code"]) == ("0111", "0111")
    assert len(grown.engine.parts.examples) == 24
    later = [{"text": "same", "code": "0111"}, {"text": "SAME.", "code": "0112"}]
    assert hr.open(add_examples(pack, later, tmp_path / "later")).predict(["same"])[0]["code"] == "0112"


def test_neighbours_of_a_new_text_move(tmp_path: Path) -> None:
    """Not only the very text: what lies near it in the trunk's space is drawn to its code."""
    members = [Member("trunk-knn", {"k": 1, "tau": 0.1})]
    pack = text_toys.trunk_classifier(tmp_path, members=members, combine={"rule": "mean", "weights": [1.0]})
    new = [{"text": "wheat barley wheat barley wheat", "code": "6202"}]
    near = "barley wheat barley wheat"
    assert codes_of(hr.open(pack).predict([near])[0])[0] == "0111"
    assert codes_of(hr.open(add_examples(pack, new, tmp_path / "grown")).predict([near])[0])[0] == "6202"


def test_a_thin_pack_stays_thin(tmp_path: Path) -> None:
    thin = text_toys.trunk_classifier(tmp_path, thin=True)
    grown = add_examples(thin, NEW, tmp_path / "grown")
    assert not (grown.path / "trunk").exists() and grown.info.trunk == thin.info.trunk
    assert hr.open(grown).predict([NEW[0]["text"]])[0]["code"] == "1075"


@pytest.mark.parametrize(
    "rows,message",
    [
        ([], "no examples to add"),
        ([*NEW, {"text": "  ", "code": "0111"}], "example 3: the text is empty"),
        ([{"text": 5, "code": "0111"}], "example 1: the text is empty"),
        ([{"text": "x", "code": "0113"}], r"example 1: no class is called '0113' \(did you mean"),
        ([{"text": "x"}], "example 1: no class is called 'None'"),
    ],
)
def test_rows_that_cannot_be_added(rows: list[Any], message: str, tmp_path: Path) -> None:
    pack = text_toys.text_classifier(tmp_path)
    with pytest.raises(HedgerowError, match=message):
        add_examples(pack, rows, tmp_path / "grown")
    assert not (tmp_path / "grown").exists()


# --- forms of the trunk -----------------------------------------------------------------------------------------------
def test_a_new_form_of_the_trunk_keeps_digest_and_evidence(tmp_path: Path) -> None:
    trunk = tiny.encoder(tmp_path)
    members = [text_toys.tfidf_linear(), *text_toys.trunk_members(dim=32)]
    pack = text_toys.trunk_classifier(tmp_path, trunk=trunk, members=members)
    assert KIND.variants(pack) == kind("encoder").variants(trunk) == ("torch",)
    pack.add_evidence("scores.jsonl", {"variant": "torch", "metrics": {}})
    grown = KIND.export(pack, "onnx")
    assert grown.digest == pack.digest and len(grown.scores) == 1
    assert KIND.variants(grown) == ("torch", "onnx")
    for folder in (pack.path / "trunk", trunk_cache(trunk.digest)):
        assert open_pack(folder).variants == ("onnx",)
    assert open_pack(trunk.path).variants == ()  # the trunk that the classifier was made from is not touched
    thin = text_toys.trunk_classifier(tmp_path, "thin", trunk=trunk, members=members, thin=True)
    assert KIND.variants(thin) == ("torch", "onnx")
    texts = ["rice farm", "bread"]
    one, two = (hr.open(grown, variant=form).engine.probabilities(texts) for form in ("torch", "onnx"))
    np.testing.assert_allclose(one, two, atol=2e-5)
    assert KIND.disk_bytes(grown, "onnx") > grown.bytes


def test_a_read_only_cache_does_not_stop_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = tiny.encoder(tmp_path)
    members = text_toys.trunk_members(dim=32)
    pack = text_toys.trunk_classifier(
        tmp_path, trunk=trunk, members=members, combine={"rule": "mean", "weights": [1, 1, 1]}
    )
    cache = keep_trunk(trunk)
    import os

    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != cache and real(path, mode))
    assert KIND.variants(KIND.export(pack, "onnx")) == ("torch", "onnx")
    assert open_pack(cache).variants == ()


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="has no trunk and runs on numpy"):
        KIND.export(text_toys.text_classifier(tmp_path), "onnx")
    with pytest.raises(HedgerowError, match="no other form, and no 'onnx'"):
        KIND.export(text_toys.trunk_classifier(tmp_path), "onnx")
    with pytest.raises(HedgerowError, match="has no form 'torch'"):
        KIND.load(text_toys.trunk_classifier(tmp_path, "x"), "torch", 1)


def test_a_trunk_is_an_encoder_or_a_decoder(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="a trunk is an encoder or a decoder-lm"):
        text_toys.trunk_classifier(tmp_path, trunk=text_toys.text_classifier(tmp_path))


def test_a_decoder_as_trunk(tmp_path: Path) -> None:
    trunk = tiny.decoder_lm(tmp_path)
    members = [text_toys.tfidf_linear(), *text_toys.trunk_members(dim=32)]
    pack = text_toys.trunk_classifier(tmp_path, trunk=trunk, members=members)
    model = hr.open(pack)
    assert model.variant == KIND.variants(pack)[0] == "torch"
    answer = model.predict(["rice farm"])[0]
    assert sorted(codes_of(answer)) == sorted(set(codes_of(answer))) and set(codes_of(answer)) <= set(CODES)
    flops: Any = model.engine.flops("run", {"words": 12}, 2)
    assert flops.count > 2 * model.engine.flops("run", {"words": 4}, 1).count
