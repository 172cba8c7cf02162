"""The recommender's arithmetic by hand, its filters, its snapshot against a live store, and what it may print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

import hedgerow as hr
from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Label, tree_of
from hedgerow.kinds.recommender_engine import Model, Options, Recommender, evidence, question
from hedgerow.kinds.recommender_index import WasteIndex, Wording, fit_tfidf, prepared
from hedgerow.kinds.recommender_match import Donors, Nearness, donor_match, link_scores, rank
from hedgerow.kinds.recommender_source import Filter, Snapshot, Table, distance_km, recovers
from hedgerow.records import Coding, Exchange, open_store
from hedgerow.records.store import Link
from hedgerow.schema import check

BETAS = (1.0, 0.6, 0.3, 0.1, 0.02)
CODES = [("0111", "A"), ("0112", "A"), ("0121", "A"), ("1071", "C"), ("3821", "E")]
TREE = tree_of([Label(code=c, title=c, group=c[:3], division=c[:2], section=s) for c, s in CODES])
ROW = {"hazardous": None, "permit": None, "quantity": None, "unit": "", "latitude": None, "longitude": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEROW_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = hr.open(tiny.recommender(tmp_path_factory.mktemp("pack")).path)
        found.engine  # noqa: B018 - loaded while its cache is there
    return found


# --- arithmetic -------------------------------------------------------------------------------------------------------
def test_nearness_is_the_deepest_common_level() -> None:
    g = Nearness(TREE, BETAS).g
    assert g[0].tolist() == [1.0, 0.6, 0.3, 0.02, 0.02]  # itself, group 011, division 01, other sections
    assert np.array_equal(g, g.T)


def test_donor_match_is_the_double_sum() -> None:
    """G = sum_j p_j sum_c share_c g(c_j, c), by loops."""
    near = Nearness(TREE, BETAS)
    p = np.array([0.6, 0.0, 0.2, 0.2, 0.0])
    donors = np.array([[1, 0, 0, 0, 0], [0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 0]], np.float32)
    sparse = Donors(*np.nonzero(donors), donors[np.nonzero(donors)], 3)
    found, levels = donor_match(p, sparse, near)
    by_hand = [sum(p[j] / p.sum() * d[c] * near.g[j, c] for j in range(5) for c in range(5)) for d in donors[:2]]
    assert np.allclose(found[:2], by_hand) and found[2] == BETAS[-1]
    assert levels.tolist() == [0, 1, 5]  # same class; same group is what gives most; unknown
    nobody, none = donor_match(np.zeros(5), sparse, near)
    assert set(nobody) == {BETAS[-1]} and set(none) == {5}


def links(*rows: tuple[int, str, str, int, int]) -> Any:
    return Table(TREE).make(Link(w, d, r, route, size, i) for i, (w, d, r, route, size) in enumerate(rows))


def test_scores_and_ranking_by_hand() -> None:
    found = links(
        (0, "0111:1", "1071:1", 0, 1), (1, "0121:1", "0112:1", 0, 5), (0, "0121:1", "3821:1", 0, 9),
        (1, "", "0121:0.5 0111:0.25", 0, 1), (1, "0121:1", "1071:1", -1, 2),
    )  # fmt: skip
    near = Nearness(TREE, BETAS)
    g, _ = donor_match(np.array([1.0, 0, 0, 0, 0]), found.donors, near)
    w = np.array([0.64, 0.0001])
    s = link_scores(found, g, w, 0.5)
    assert np.allclose(
        s, [0.8, np.sqrt(0.3e-4), np.sqrt(0.3 * 0.64), np.sqrt(2e-6), np.sqrt(2e-6) / 2, np.sqrt(0.3e-4)]
    )
    last = rank(found, s, len(TREE))
    assert [TREE.codes[i] for i in last.receivers] == ["1071", "0112", "0121", "0111", "3821"]
    assert last.recovery.tolist() == [True, True, True, True, False] and last.sizes.tolist() == [3, 5, 1, 1, 9]
    assert [TREE.codes[i] for i in rank(found, s, len(TREE), "mixed").receivers][:2] == ["1071", "3821"]
    assert "3821" not in [TREE.codes[i] for i in rank(found, s, len(TREE), "never").receivers]
    assert last.links[0].tolist() == [0, 5]  # recovery before disposal, then by score


def test_equal_scores_are_ordered_by_records_then_class() -> None:
    found = links((0, "", "0112:1", 0, 1), (0, "", "0111:1", 0, 1), (0, "", "0121:1", 0, 3))
    ranked = rank(found, np.ones(3), len(TREE))
    assert [TREE.codes[i] for i in ranked.receivers] == ["0121", "0111", "0112"]


def test_what_keeps_a_material_in_use() -> None:
    assert recovers(1, "3821") and not recovers(-1, "1071") and recovers(0, "3830") and not recovers(0, "3821")


# --- wastes -----------------------------------------------------------------------------------------------------------
def test_tfidf_equals_scikit_learns() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [prepared(t) for t in ("Red mud (bauxite residue)", "fly ash", "Fly ash and slag", "whey")]
    ours = fit_tfidf(texts).rows(texts).dense()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, norm=None)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, norm=None)
    theirs = np.hstack([v.fit_transform(texts).toarray() for v in (words, characters)])
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert ours.shape == theirs.shape and np.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-6)


def test_similar_wastes() -> None:
    index = WasteIndex([Wording("red mud", "010309"), Wording("Redmud from bauxite"), Wording("whey", "", "09.2")])
    w = index.similar(Wording("RED MUD"), None, 0.2)
    assert w[0] == pytest.approx(1) and w[0] > w[1] > 0 and w[2] == 0
    assert index.similar(Wording("xyz", "010309"), None, 0.2).tolist() == pytest.approx([0.2, 0, 0])
    assert index.similar(Wording("xyz", "", "09.2"), None, 0.2).tolist() == pytest.approx([0, 0, 0.2])
    both = WasteIndex([Wording("a"), Wording("b")], np.eye(2, dtype=np.float32))
    assert both.similar(Wording("zz"), np.array([0.6, 0.8]), 0.0).tolist() == pytest.approx([0.6, 0.8])


# --- filters ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "row", "fits"),
    [
        (Filter(hazardous=False), {}, False),
        (Filter(hazardous=False), {"hazardous": False}, True),
        (Filter(hazardous=True), {"hazardous": False}, False),
        (Filter(permit=True), {}, False),
        (Filter(permit=True), {"permit": True}, True),
        (Filter(quantity=5, unit="t"), {}, False),
        (Filter(quantity=5, unit="t"), {"quantity": 6.0, "unit": "T"}, True),
        (Filter(quantity=5, unit="t"), {"quantity": 6.0, "unit": "m3"}, False),
        (Filter(quantity=5, unit="t"), {"quantity": 4.0, "unit": "t"}, False),
        (Filter(within_km=50, latitude=48.2, longitude=16.4), {}, False),
        (Filter(within_km=80, latitude=48.2, longitude=16.4), {"latitude": 48.15, "longitude": 17.1}, True),
        (Filter(within_km=40, latitude=48.2, longitude=16.4), {"latitude": 48.15, "longitude": 17.1}, False),
        (Filter(), {}, True),
    ],
)
def test_unknown_never_fits(wanted: Filter, row: dict[str, Any], fits: bool) -> None:
    assert wanted.fits({**ROW, **row}) is fits


def test_distance() -> None:
    assert distance_km(0, 0, 0, 180) == pytest.approx(np.pi * 6371) and distance_km(48, 16, 48, 16) == 0
    assert distance_km(48.2082, 16.3738, 48.1486, 17.1077) == pytest.approx(55, abs=2)  # Vienna to Bratislava


# --- questions and answers --------------------------------------------------------------------------------------------
def test_a_question_in_one_text_and_as_a_row(model: Any) -> None:
    one = model.predict(["rice mill :: husks of rice"])[0]
    row = model.predict([{"donor_text": "rice mill", "waste_text": "husks of rice"}])[0]
    assert one["receivers"] == row["receivers"] and one["receivers"][0]["code"] == "0111"
    given = model.predict([{"donor_text": "", "waste_text": "stale bread", "donor_isic": "1071"}])[0]
    assert given["how"] == "given" and given["receivers"][0]["level"] == "same class"
    coded = {"donor_text": "", "waste_text": "x", "donor_scheme": "NACE2", "donor_code": "01.1"}
    national = model.predict([coded])[0]
    assert national["how"] == "concordance" and {c["code"] for c in national["classes"]} == {"0111", "0112"}
    alone = model.predict([":: stale bread"])[0]
    assert alone["how"] == "unknown" and "nothing is known" in alone["note"]
    assert alone["receivers"][0]["score"] == pytest.approx(1.0, abs=1e-3)  # the waste alone decides
    for bad, words in (("no waste", "donor :: waste"), ("x ::", "empty"), ({"donor_text": "x"}, "::")):
        with pytest.raises(HedgerowError, match=words):
            model.predict([bad])
    with pytest.raises(HedgerowError, match="no class is called '9999'"):
        model.predict([{"donor_text": "", "waste_text": "x", "donor_isic": "9999"}])
    assert question(" a :: b :: c ", "x") == {"donor_text": "a", "waste_text": "b :: c"}


def test_options_are_checked(model: Any) -> None:
    for wrong, words in (
        ({"quantity": 3.0}, "needs its unit"), ({"disposal": "first"}, "disposal"), ({"within_km": 5.0}, "latitude"),
        ({"records": "nowhere.sqlite"}, "does not exist"), ({"records": "ftp://x"}, "neither"),
    ):  # fmt: skip
        with pytest.raises(HedgerowError, match=words):
            model.predict(["a :: b"], **wrong)
    nobody = model.predict(["rice mill :: husks of rice"], hazard="no")[0]
    assert nobody["receivers"] == [] and "lacks a field does not meet" in nobody["note"]
    assert model.kind.line(nobody) and model.kind.cells(nobody)["best_code"] == ""
    with pytest.raises(HedgerowError, match="fall"):
        check(Model, {**model.engine.model.model_dump(), "betas": [0.5, 0.6, 0.3, 0.1, 0.02]}, "model")
    assert Options().disposal == "last"


def test_texts_are_printed_only_where_the_licence_allows() -> None:
    record = {"id": "a", "source": "s", "licence": "l", "country": "", "year": None, "status": "",
              "donor": {"text": "D", "isic": []}, "waste": {"text": "W"}, "treatment": {"text": ""},
              "receiver": {"text": "R", "isic": []}}  # fmt: skip
    closed = {**record, "kind": "lca_link", "shareable": False}
    assert evidence(closed, False)["text"] is None and evidence(closed, True)["text"] == "D → W → R"
    assert (
        evidence({**closed, "shareable": True}, False)["text"] and evidence({**closed, "kind": "user"}, False)["text"]
    )


# --- live -------------------------------------------------------------------------------------------------------------
def exchange(donor: str, waste: str, **more: Any) -> Exchange:
    said = {"kind": "user", "source": "made", "licence": "CC0-1.0", "shareable": True}
    return Exchange.model_validate({**said, "donor_text": donor, "waste_text": waste, **more})


def coding(code: str) -> Coding:
    return Coding(isic=((code, 1.0),), how="given")


def test_live_records_answer_as_the_snapshot_and_take_in_what_is_added(model: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'live.sqlite'}"
    kept = model.engine.snapshot.kept
    rows = [(k.exchange, _coded(k.donor), _coded(k.receiver)) for k in kept]
    with open_store(url) as store:
        store.add(rows, name="a", digest="a")
        asked = ["rice mill :: husks of rice", "bakery :: bread", ":: coloured water"]
        engine = model.engine  # by words alone: a live store has no vectors
        plain = Recommender(engine.model, engine.classifier, None, Snapshot(kept, engine.tree), "plain")
        snapshot = plain.predict(asked, model.kind.options)
        live = plain.predict(asked, {**model.kind.options, "records": url})
        for a, b in zip(snapshot, live):
            assert [r["code"] for r in b["receivers"]] == [r["code"] for r in a["receivers"]]
            assert b["receivers"][0]["records"] == a["receivers"][0]["records"]
            assert "live records" in b["note"] and "up to record 5" in b["note"]  # no digest of a Pack covers them
            assert "live" not in a.get("note", "")
        store.add([(exchange("farm", "feathers"), coding("0111"), coding("6201"))], name="b", digest="b")
    after = model.predict(["farm :: feathers"], records=url)[0]
    assert after["receivers"][0]["code"] == "6201"


def _coded(text: str) -> Coding:
    from hedgerow.records.exchange import isic_shares

    return Coding(isic=isic_shares(text), how="given") if text else Coding()


def test_the_search_of_a_live_store_stops_only_when_nothing_better_is_left(tmp_path: Path, model: Any) -> None:
    """300 wastes, looked at 2 at a time: the same ten receivers as the full scan, for many questions."""
    url = f"sqlite:///{tmp_path / 'many.sqlite'}"
    rng = np.random.default_rng(0)
    words = ["ash", "slag", "mud", "whey", "bread", "husk", "water", "dust", "lime", "peel"]
    codes = model.engine.tree.codes
    rows = []
    for n in range(300):
        waste = " ".join(rng.choice(words, 3))
        rows.append(
            (exchange("d", waste, source_id=str(n)), coding(str(rng.choice(codes))), coding(str(rng.choice(codes))))
        )
    with open_store(url) as store:
        store.add(rows, name="a", digest="a")
    engine = model.engine
    small = engine.model.model_copy(update={"wastes": 2, "most": 100_000})
    narrow = Recommender(small, engine.classifier, None, engine.snapshot, "narrow")
    whole = Recommender(small.model_copy(update={"wastes": 100_000}), engine.classifier, None, engine.snapshot, "whole")
    for waste in ("ash slag", "whey bread husk", "mud"):
        asked = [{"donor_text": "", "waste_text": waste, "donor_isic": "0112"}]
        a = narrow.predict(asked, {**model.kind.options, "records": url, "top": 2})[0]["receivers"]
        b = whole.predict(asked, {**model.kind.options, "records": url, "top": 2})[0]["receivers"]
        assert [(r["code"], r["score"]) for r in a] == [(r["code"], r["score"]) for r in b]


def test_what_comes_in_while_a_live_store_is_read_counts_once(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between asking how far the store has got and reading it, another program adds a waste and a record."""
    from hedgerow.kinds.recommender_source import open_live
    from hedgerow.records import Store

    url, tree = f"sqlite:///{tmp_path / 'race.sqlite'}", model.engine.tree
    with open_store(url) as store:
        store.add([(exchange("farm", "feathers"), coding("0111"), coding("6201"))], name="a", digest="a")
        before = store.state()
        store.add([(exchange("mill", "husks"), coding("0112"), coding("0111"))], name="b", digest="b")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "state", lambda self: before)
        live = open_live(url, tree)
    live.refresh()
    assert live.links(None, Filter()).size.tolist() == [1, 1] and len(live.index) == 2


def test_a_place_is_on_the_map_and_a_class_is_named_once(model: Any) -> None:
    row = {"donor_text": "mill", "waste_text": "husks", "donor_isic": "0112; 0112"}
    assert [(c["code"], c["p"]) for c in model.predict([row])[0]["classes"]] == [("0112", 1.0)]
    for wrong in ({"latitude": "nan"}, {"latitude": 91}, {"longitude": -181}):
        with pytest.raises(HedgerowError, match="degrees"):
            model.predict([{**row, **wrong}])


def test_a_pack_of_records_that_may_not_be_handed_on_may_not_either(tmp_path: Path) -> None:
    from hedgerow.kinds.recommender import save_recommender
    from hedgerow.kinds.recommender_source import Kept

    open_one = exchange("rice mill", "husks")
    closed = exchange("mill", "bran", shareable=False)
    trunk = tiny.text_classifier(tmp_path)
    for name, rows, may in (("a", [open_one], True), ("b", [open_one, closed], False)):
        kept = [Kept(digest=x.digest, exchange=x, donor="0112:1", receiver="0111:1") for x in rows]
        pack = save_recommender(tmp_path / name, tiny.info(name, "recommender"), trunk, kept)
        assert pack.info.shareable is may
