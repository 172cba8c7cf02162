"""Text classifiers as Packs: what is saved is what answers, and the answer says all that it should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import text_toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_toys import CODES, EXAMPLES, TEXTS, codes_of

import hedgerow as hr
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model
from hedgerow.kinds.text_classifier import KIND
from hedgerow.kinds.text_engine import temper
from hedgerow.kinds.text_features import exact_key, normalise
from hedgerow.kinds.text_members import Batch, Member
from hedgerow.pack import open_pack

ASKED = [
    "rice farm",
    "baking of bread and cakes",
    "Computer programming.",
    "textile printing",
    "??",
    "a mix of rice and software",
]
EXACT = Member("exact", tables={"table": {"rice farm": ["0112"], "textile printing": ["1313", "6201"]}})
PRIOR = Member("prior", arrays={"p": np.array([1.0, 2, 3, 4, 5, 6, 7, 8])})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return hr.open(text_toys.text_classifier(tmp_path_factory.mktemp("plain")))


@pytest.fixture
def trunk_model(tmp_path: Path) -> Model:
    return hr.open(text_toys.trunk_classifier(tmp_path))


def wrong(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(HedgerowError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- probabilities ---------------------------------------------------------------------------------------------------
def test_probabilities_are_those_of_scikit_learn_at_the_temperature(model: Model) -> None:
    both, head = text_toys.fitted()
    p = head.predict_proba(both.transform([normalise(t) for t in ASKED])) ** (1 / 0.8)
    np.testing.assert_allclose(model.engine.probabilities(ASKED), p / p.sum(1, keepdims=True), atol=1e-5)


@given(st.lists(st.text(min_size=1, max_size=50).filter(lambda t: normalise(t) != ""), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_has_probabilities_that_sum_to_one(model: Model, texts: list[str]) -> None:
    p = model.engine.probabilities(texts)
    assert p.shape == (len(texts), len(CODES)) and (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    for text, answer in zip(texts, model.predict(texts, top=8)):
        jsonschema.validate(answer, KIND.schema)
        assert answer["text"] == text
        assert [c["p"] for c in answer["candidates"]] == sorted((c["p"] for c in answer["candidates"]), reverse=True)


def naive_mixture(members: list[np.ndarray], hits: list[np.ndarray], combine: dict[str, Any], exact: list[bool]) -> Any:
    out = []
    for row in range(len(members[0])):
        answering = [i for i in range(len(members)) if hits[i][row]]
        first = [i for i in answering if combine["rule"] == "first" or (combine.get("exact_first") and exact[i])]
        if first:
            out.append(members[first[0]][row])
            continue
        weights = {i: combine["weights"][i] for i in answering} if combine["rule"] == "mean" else {}
        total = sum(weights.values())
        k = members[0].shape[1]
        out.append(sum(w * members[i][row] for i, w in weights.items()) / total if total else np.full(k, 1 / k))
    return np.array(out)


COMBINATIONS = [
    {"rule": "mean", "weights": [1.0, 1.0, 1.0]},
    {"rule": "mean", "weights": [0.2, 3.0, 0.5]},
    {"rule": "mean", "weights": [1.0, 0.0, 2.0], "exact_first": True},
    {"rule": "mean", "weights": [0.0, 1.0, 0.0]},
    {"rule": "first"},
]


@pytest.mark.parametrize("combine", COMBINATIONS, ids=json.dumps)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_combination_is_that_of_a_plain_loop(
    tmp_path: Path, combine: dict[str, Any], order: tuple[int, ...], temperature: float
) -> None:
    members = [[text_toys.tfidf_linear(), EXACT, PRIOR][i] for i in order]
    pack = text_toys.text_classifier(
        tmp_path, members=members, combine=combine, calibration={"temperature": temperature}
    )
    engine = hr.open(pack).engine
    batch = Batch([normalise(text) for text in ASKED])
    parts = [member.probabilities(batch)[0] for member in engine.parts.members]
    hits = [p.any(1) for p in parts]
    exact = [m.type == "exact" for m in members]
    assert [bool(h.all()) for h in hits] == [not e for e in exact]
    mixture = naive_mixture(parts, hits, combine, exact)
    expected = np.array([[x ** (1 / temperature) if x else 0 for x in row] for row in mixture.astype(np.float64)])
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(engine.probabilities(ASKED), expected, atol=1e-5)


def test_a_text_that_nobody_answers_is_undecided(tmp_path: Path) -> None:
    model = hr.open(text_toys.text_classifier(tmp_path, members=[EXACT], combine={"rule": "first"}))
    known, unknown = model.predict(["rice farm", "something else"], nearest=0)
    assert (known["decision"], known["code"], known["p"]) == ("class", "0112", 1.0)
    assert codes_of(known) == ["0112"]  # classes without any probability are no candidates
    assert (unknown["decision"], unknown["code"], unknown["p"]) == ("review", None, 0.125)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.1), st.floats(0.2, 5))
def test_temper(weights: list[float], temperature: float) -> None:
    p = np.array([weights], np.float32) / np.float32(sum(weights))
    powers = [float(x) ** (1 / temperature) if x > 0 else 0.0 for x in p[0]]
    np.testing.assert_allclose(temper(p.copy(), temperature)[0], np.array(powers) / sum(powers), atol=1e-4)


# --- one by one, all together, before and after saving ---------------------------------------------------------------
def test_batches_answer_as_single_texts_do(model: Model, trunk_model: Model) -> None:
    inputs = [*ASKED, *TEXTS] * 12  # more than one chunk
    for which in (model, trunk_model):
        together = which.predict(inputs, nearest=3)
        assert [a["text"] for a in together] == inputs
        for answer, text in list(zip(together, inputs))[:: len(inputs) // 20]:
            alone = which.predict([text], nearest=3)[0]
            assert codes_of(alone)[:3] == codes_of(answer)[:3]
            assert alone["decision"] == answer["decision"] and alone["p"] == pytest.approx(answer["p"], abs=2e-6)
            for one, other in zip(alone["nearest"], answer["nearest"]):
                assert one["similarity"] == pytest.approx(other["similarity"], abs=2e-4)


def test_answers_are_the_same_after_opening_again(trunk_model: Model, tmp_path: Path) -> None:
    before = trunk_model.predict(ASKED)
    copy = tmp_path / "elsewhere" / "copy"
    copy.parent.mkdir()
    trunk_model.pack.path.rename(copy)
    again = hr.open(copy)
    assert again.predict(ASKED) == before
    assert again.pack.digest == trunk_model.pack.digest


def test_a_thin_pack_answers_with_the_trunk_of_the_cache(tmp_path: Path) -> None:
    full = text_toys.trunk_classifier(tmp_path, "full")
    thin = text_toys.trunk_classifier(tmp_path, "thin", thin=True)
    assert not (thin.path / "trunk").exists() and thin.digest == full.digest
    assert hr.open(thin).predict(ASKED) == hr.open(full).predict(ASKED)


def test_trunk_vectors_of_examples_are_computed_when_not_given(tmp_path: Path) -> None:
    trunk = text_toys.trunk(tmp_path)
    engine = hr.open(trunk).engine
    vectors = engine.encode([normalise(t) for t in TEXTS])
    one = text_toys.trunk_classifier(tmp_path, "one", trunk=trunk)
    two = text_toys.trunk_classifier(tmp_path, "two", trunk=trunk, example_vectors=vectors)
    assert one.digest == two.digest


# --- the answer ------------------------------------------------------------------------------------------------------
def test_the_answer_is_the_record_that_was_promised(model: Model) -> None:
    answer = model.predict([{"id": 17, "text": "irrigated rice farm"}], nearest=3)[0]
    jsonschema.validate(answer, KIND.schema)
    assert list(answer) == ["id", "text", "decision", "code", "title", "p", "candidates", "nearest"]
    assert (answer["id"], answer["text"]) == ("17", "irrigated rice farm")
    assert (answer["decision"], answer["code"], answer["title"]) == ("class", "0112", "Growing of rice")
    assert [len(answer["candidates"]), len(answer["nearest"])] == [5, 3]
    assert answer["nearest"][0] == {"text": "irrigated rice farm", "code": "0112", "similarity": 1.0}
    assert json.loads(json.dumps(answer)) == answer


def test_options(model: Model) -> None:
    answer = model.predict(["rice"], top=1)[0]
    assert len(answer["candidates"]) == 1 and answer["nearest"] == []
    assert len(model.predict(["rice"], top=1000, nearest=1000)[0]["candidates"]) == 8
    assert model.predict(["rice"], threshold=0.0)[0]["decision"] == "class"
    assert model.predict(["rice"], threshold=1.0)[0]["decision"] == "review"
    low, high = (model.predict(TEXTS + ASKED, precision=p) for p in (0.90, 0.95))
    assert all(a["p"] >= 0.5 for a in low if a["decision"] != "review")
    assert all(a["p"] >= 0.8 for a in high if a["decision"] != "review")
    assert low != high
    assert "thresholds for precision 0.90, 0.95, not 0.5" in wrong(model.predict, ["rice"], precision=0.5)
    for bad in ({"top": 0}, {"top": "many"}, {"nearest": -1}, {"threshold": 1.5}, {"precision": math.nan}):
        assert next(iter(bad)) in wrong(model.predict, ["rice"], **bad)
    assert "did you mean 'nearest'" in wrong(model.predict, ["rice"], nearst=1)


def test_without_calibration_the_wanted_precision_is_the_threshold(tmp_path: Path) -> None:
    model = hr.open(text_toys.text_classifier(tmp_path, calibration=None))
    for precision in (0.3, 0.6):
        answers = model.predict(ASKED, precision=precision)
        assert {a["decision"] for a in answers if max(c["p"] for c in a["candidates"]) >= precision} <= {"class"}
        assert all(a["p"] >= precision for a in answers if a["decision"] != "review")


def test_nearest_examples_by_brute_force(model: Model, trunk_model: Model) -> None:
    both, _ = text_toys.fitted()
    rows = both.transform([normalise(t) for t in TEXTS]).toarray()
    asked = both.transform([normalise(t) for t in ASKED]).toarray()
    h = hr.open(trunk_model.pack.trunk()).engine
    cases = [(model, asked, rows), (trunk_model, h.encode(ASKED), h.encode(TEXTS))]
    for which, queries, stored in cases:
        for answer, query in zip(which.predict(ASKED, nearest=4), queries):
            lengths = np.linalg.norm(stored, axis=1) * max(np.linalg.norm(query), 1e-9)
            cosines = stored @ query / lengths
            best = [float(c) for c in sorted(cosines, reverse=True)[:4] if c > 5e-5]
            assert [n["similarity"] for n in answer["nearest"]] == pytest.approx(best, abs=2e-3)
            for near in answer["nearest"]:
                place = TEXTS.index(near["text"])
                assert near["code"] == EXAMPLES[place]["code"]
                assert cosines[place] == pytest.approx(near["similarity"], abs=2e-3)


def test_cells_and_lines(model: Model) -> None:
    sure, unsure = model.predict(["irrigated rice farm", "??"], nearest=3)
    cells = KIND.cells(sure)
    assert tuple(cells) == KIND.columns
    assert (cells["decision"], cells["level"], cells["code"], cells["nearest_code"]) == (
        "class",
        "class",
        "0112",
        "0112",
    )
    assert cells["candidates"].startswith("0112 0.") and cells["candidates"].count(";") == 4
    assert KIND.line(sure).splitlines()[0].startswith("0112  Growing of rice  (class, p 0.")
    empty = KIND.cells(unsure)
    assert (empty["decision"], empty["level"], empty["code"], empty["nearest_text"]) == ("review", "", "", "")
    assert empty["best_code"] == codes_of(unsure)[0]
    assert KIND.line(unsure).startswith("review: no level is sure enough\n   best: ")


# --- rows and bad input ----------------------------------------------------------------------------------------------
def test_read_takes_a_code_only_with_its_scheme() -> None:
    assert KIND.read({"text": "rice", "code": "0112"}, Path()) == {"text": "rice"}
    assert KIND.read({"text": "rice", "code": "0112", "scheme": " ", "id": "7"}, Path()) == {"text": "rice", "id": "7"}
    full = {"text": "", "code": "01.11", "scheme": "NACE2", "x": "y"}
    assert KIND.read(full, Path()) == {"text": "", "code": "01.11", "scheme": "NACE2"}


@pytest.mark.parametrize(
    "row,message",
    [
        ({"txt": "rice"}, "there is no column 'text'; the columns are txt"),
        ({"text": None}, "a text is needed, got NoneType"),
        ({"text": 3}, "a text is needed, got int"),
        ({"text": " \t "}, "the text is empty"),
        ({"text": "", "code": "01.11"}, "the text is empty"),
        ({"text": "x" * 1_000_000}, "the text has 1,000,000 characters; at most 100,000 are read"),
    ],
)
def test_bad_rows(model: Model, row: dict[str, Any], message: str) -> None:
    assert wrong(KIND.read, row, Path()) == message
    if "text" in row:
        assert message in wrong(model.predict, [row])
        assert wrong(model.predict, ["rice", row]).startswith("input 2: ")


def test_a_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    model = hr.open(text_toys.text_classifier(tmp_path, preprocess={"max_characters": 20}))
    long, short = model.predict(["irrigated rice farm and much more", "irrigated rice farm"])
    assert long["truncated"] is True and "truncated" not in short
    assert long["text"] == "irrigated rice farm " and long["p"] == short["p"]
    assert KIND.cells(long)["note"] == "the text was cut"
    jsonschema.validate(long, KIND.schema)


def test_lone_surrogates_and_odd_spaces_are_read(model: Model, trunk_model: Model) -> None:
    for which in (model, trunk_model):
        assert (
            which.predict(["rice \ud800 farm"])[0]["candidates"]
            == which.predict(["rice\u2003\ufffd farm"])[0]["candidates"]
        )


# --- national codes --------------------------------------------------------------------------------------------------
def test_a_national_code_restricts_the_classes(model: Model) -> None:
    row = {"text": "irrigated rice farm", "code": "0111", "scheme": "NACE Rev. 2"}
    answer, alone = model.predict([row, "irrigated rice farm"], top=8)
    jsonschema.validate(answer, KIND.schema)
    assert answer["via"] == {"scheme": "NACE2", "code": "01.11", "classes": ["0111", "0112"]}
    assert codes_of(answer) == ["0112", "0111"] and "note" not in answer
    free = {c["code"]: c["p"] for c in alone["candidates"]}
    expected = free["0112"] / (free["0111"] + free["0112"])
    assert answer["candidates"][0]["p"] == pytest.approx(expected, abs=1e-4)
    assert KIND.cells(answer)["note"] == "NACE2 01.11 stands for 0111 0112"
    assert model.predict([row], codes=False)[0]["candidates"] == alone["candidates"][:5]


def test_a_code_without_a_text_shares_equally(model: Model) -> None:
    answer = model.predict([{"text": "", "code": "01.11", "scheme": "NACE2"}])[0]
    assert [(c["code"], c["p"]) for c in answer["candidates"]] == [("0111", 0.5), ("0112", 0.5)]
    assert answer["nearest"] == []
    assert model.predict([{"code": "6201", "scheme": "ISIC4"}])[0]["code"] == "6201"
    group = model.predict([{"code": "01.11", "scheme": "NACE2"}], threshold=0.9)[0]
    assert (group["decision"], group["code"], group["p"]) == ("group", "011", 1.0)


def test_an_unknown_code_falls_back_to_the_text_and_says_so(model: Model) -> None:
    row = {"text": "irrigated rice farm", "code": "99.99", "scheme": "NACE2"}
    answer = model.predict([row])[0]
    assert answer["note"] == "NACE2 has no code '99.99'; answered from the text alone"
    assert answer["via"]["classes"] == [] and answer["code"] == "0112"
    jsonschema.validate(answer, KIND.schema)
    assert "did you mean 'NACE2'" in model.predict([{**row, "scheme": "NACE3"}])[0]["note"]
    assert "no text to answer from" in wrong(model.predict, [{**row, "text": ""}])


def test_a_repaired_code_is_used_and_said(model: Model) -> None:
    answer = model.predict([{"text": "irrigated rice farm", "code": "1.11", "scheme": "NACE2"}])[0]
    assert answer["via"] == {"scheme": "NACE2", "code": "01.11", "classes": ["0111", "0112"]}
    assert answer["note"] == "'1.11' read as '01.11': a leading zero was lost"
    jsonschema.validate(answer, KIND.schema)


def test_nobody_pays_for_a_search_that_nobody_reads(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, scores and `weigh` ask with the kind's options: then not even the index is made."""
    from hedgerow.kinds import text_engine

    monkeypatch.setattr(text_engine, "Postings", lambda *_: pytest.fail("an index of the examples was made"))
    fresh = hr.open(model.pack)
    engine: Any = fresh.engine
    assert [a["nearest"] for a in fresh.predict(ASKED)] == [[] for _ in ASKED]
    for phase in engine.phases(["rice"], {"words": 1}):
        phase.run()
    with pytest.raises(pytest.fail.Exception):
        fresh.predict(ASKED, **KIND.explains)


# --- what weigh asks -------------------------------------------------------------------------------------------------
def test_flops_by_hand(model: Model, trunk_model: Model) -> None:
    engine: Any = model.engine
    flops = engine.flops("run", {"words": 12}, 3)
    nnz = np.mean([len(engine._tfidf.rows([KIND.unit.make({"words": 12}, s)]).values) for s in range(16)])
    assert flops.count == pytest.approx(3 * (nnz * (6 + 2 * 8) + 5 * 8 + 2 * 8))
    knn = 2 * 24 * 12 + 24
    heads = (2 * 12 * 8 + 5 * 8) * 2
    trunk: Any = trunk_model.engine
    expected = nnz * (6 + 2 * 8) + 5 * 8 + 2 * 8 + heads + knn
    inner = trunk._trunk.flops("run", {"words": 12}, 2).count
    assert trunk.flops("run", {"words": 12}, 2).count == pytest.approx(2 * expected + inner)


def test_bytes_held(model: Model, trunk_model: Model) -> None:
    f = len(text_toys.tfidf_linear().arrays["idf"])
    assert model.engine.weights_bytes == 4 * (f * 8 + f + 8)
    linear_and_titles, bias, examples, trunk = 4 * 2 * 8 * 12, 4 * 8, 4 * 24 * 12, 4 * 12
    assert trunk_model.engine.weights_bytes > 4 * f * 8 + linear_and_titles + bias + examples + trunk
    assert KIND.disk_bytes(model.pack, "numpy") == model.pack.bytes
    assert KIND.disk_bytes(trunk_model.pack, "numpy") == trunk_model.pack.bytes + trunk_model.pack.trunk().bytes


def test_sample_texts() -> None:
    for size in KIND.unit.sizes:
        for seed in range(20):
            assert len(KIND.unit.make(size, seed).split()) == size["words"]


# --- saving what does not fit ----------------------------------------------------------------------------------------
def test_a_failed_save_leaves_the_older_pack_alone(tmp_path: Path) -> None:
    pack = text_toys.text_classifier(tmp_path)
    for changes, message in [
        ({"combine": {"rule": "mean", "weights": [1.0, 2.0]}}, "1 members need as many weights"),
        ({"combine": {"rule": "first", "weights": [1.0]}}, "takes no weights"),
        ({"combine": {"rule": "mean", "weights": [-1.0]}}, "weights >= 0"),
        ({"members": [text_toys.trunk_members()[0]]}, "this Pack has no trunk"),
        ({"members": [Member("tfidf-liner")]}, "did you mean 'tfidf-linear'"),
        ({"examples": [{"text": "x", "code": "9999"}]}, "example 1: no class is called '9999'"),
        ({"examples": [{"text": "", "code": "0111"}]}, "text"),
        ({"calibration": {"temperature": 0}}, "temperature"),
        ({"calibration": {"thresholds": {"high": 0.5}}}, "thresholds are precision -> threshold"),
        ({"calibration": {"thresholds": {"0.90": 1.5}}}, "both within 0..1"),
        ({"crosswalk": {"NACE2": {"01": ["0113"]}}}, "no class is called '0113'"),
        ({"preprocess": {"unicode": "NFKD"}}, "unicode"),
    ]:
        assert message in wrong(text_toys.text_classifier, tmp_path, **changes), changes
    again = open_pack(pack.path)
    assert again.digest == pack.digest
    assert [p.name for p in tmp_path.iterdir() if p.name != "hedgerow-cache"] == ["toy"]


def test_exact_keys_of_texts_are_what_the_table_is_asked_with(tmp_path: Path) -> None:
    table = Member("exact", tables={"table": {"Growing of ＲＩＣＥ": ["0112"]}})
    model = hr.open(text_toys.text_classifier(tmp_path, members=[table], combine={"rule": "first"}))
    assert exact_key("growing of rice.") == exact_key("Growing of ＲＩＣＥ")
    assert model.predict(["GROWING  of rice."])[0]["code"] == "0112"
