"""Seeds, the bench of rules, and the recommender built from invented exchanges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hedgerow.data.lca import LcaRow
from hedgerow.data.lca_waste import ByProduct
from hedgerow.records import Coding, Exchange
from hedgerow.systems.isic import waste_seeds
from hedgerow.systems.isic.waste_experiment import cell, claims, counts
from hedgerow.systems.isic.waste_harness import LEAVE, RULES, Bench, Setting, questions
from hedgerow.systems.isic.waste_task import WasteTask, first_right, part_of, scores


@pytest.fixture(autouse=True)
def _data(data_cache: Path) -> None:
    """The classes of ISIC come from the cache."""


def product(
    donor: str, waste: str, link: str = "", change: str = "updated", place: str = "DE", label: str = "2420"
) -> ByProduct:
    return ByProduct(donor, label, place, waste, link, change)


def test_seeds_count_each_filter_and_join_treatments() -> None:
    """Invented rows: two links, one of them to a treatment of the very waste, and one join."""
    activities = [
        LcaRow("treatment of red mud, landfill", "3821", "red mud", "DE"),
        LcaRow("brick making", "2392", "brick", "DE"),
        LcaRow("alumina works", "2420", "alumina", "DE"),
    ]
    rows = [
        product("alumina works", "red mud"),
        product("alumina works", "red mud", place="FR"),  # the same elsewhere
        product("alumina works", "red mud", "brick making"),
        product("mud pond", "red mud", "treatment of red mud, landfill", label="3821b"),
        product("alumina works", "electricity, high voltage"),  # no waste
        product("alumina works", "old sand", change="deleted"),
        product("alumina works", ""),
        product("alumina works", "grit", label="24"),  # no four-digit class
        product("alumina works", "fines", "unknown works"),  # the taker has no class
    ]
    found, counted = waste_seeds.from_rows(rows, activities, "closed")
    assert [(c.before, c.after) for c in counted[:5]] == [(9, 8), (8, 7), (7, 6), (6, 5), (5, 4)]
    links = {(x.donor_text, x.treatment_text, x.use): waste_seeds.donor_specific(x) for x, _, _ in found}
    assert links == {
        ("alumina works", "brick making", waste_seeds.LINKED): True,
        ("mud pond", "treatment of red mud, landfill", waste_seeds.LINKED): False,
        ("alumina works", "treatment of red mud, landfill", waste_seeds.JOINED): False,
    }
    assert all(x.kind == "lca_link" and not x.shareable for x, _, _ in found)
    assert {r.isic for _, _, r in found} == {(("2392", 1.0),), (("3821", 1.0),)}


@pytest.mark.parametrize(("name", "waste"), [("red mud", True), ("copper", False), ("copper cake", True),
                                             ("copper scrap, sorted, pressed", True), ("heat, central", False),
                                             ("nickel, 99.5%", False), ("nickel smelter slag", True)])  # fmt: skip
def test_the_reviewed_list(name: str, waste: bool) -> None:
    assert (waste_seeds.why_no_waste(name) == "") is waste


def row(donor: str, isic: str, waste: str, receiver: str, **more: str) -> waste_seeds.Row:
    said = {"kind": "user", "source": "made", "licence": "CC0-1.0", "donor_text": donor, "waste_text": waste, **more}
    given = [Coding(isic=((c, 1.0),), how="given") for c in (isic, receiver)]
    return Exchange.model_validate({**said, "donor_codes": (isic,), "donor_scheme": "ISIC4"}), given[0], given[1]


ROWS = [
    row("dairy one", "1050", "whey", "0145", country="DK"),
    row("dairy two", "1050", "whey", "0145", country="DE"),
    row("dairy two", "1050", "whey permeate", "3520", country="DE"),
    row("power station", "3510", "fly ash", "2394", country="DK"),
    row("steelworks", "2410", "slag", "2394", country="DE"),
    row("steelworks", "2410", "slag", "4210", country="DE"),
]
PREDICTED = {r[0].donor_text: np.eye(419)[0] for r in ROWS}


def test_a_question_is_a_donor_with_a_waste() -> None:
    asked = questions(ROWS)
    assert len(asked) == 5 and next(q for q in asked if q.waste == "slag").gold == {"2394", "4210"}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("rule", RULES)
def test_what_is_left_out_is_left_out_of_every_rule(rule: str, leave: str) -> None:
    """A receiver that only the left-out records have is never named, and each class is named once."""
    bench = Bench(ROWS, PREDICTED)
    for q in questions(ROWS):
        ranked = bench.rank(q, rule, Setting(), leave)
        kept = bench.kept(q, leave)
        able = {c for keep, r in zip(kept, bench.rows) if keep for c, _ in r[2].isic}
        assert set(ranked) == able and len(ranked) == len(able)


def test_rules_by_hand() -> None:
    bench = Bench(ROWS, PREDICTED)
    whey = questions(ROWS)[0]
    assert bench.rank(whey, "popularity", Setting(), "donor")[0] == "2394"  # two records against one
    assert bench.rank(whey, "popularity given waste", Setting(), "donor")[0] == "0145"
    assert bench.rank(whey, "codes only", Setting(), "waste")[0] == "3520"  # the only other dairy record
    assert bench.rank(whey, "waste text only", Setting(), "waste")[0] == "3520"
    assert bench.rank(whey, "ours", Setting(a=0.9), "waste")[0] == "3520"
    first, again = (bench.rank(whey, "random", Setting(seed=1), "donor") for _ in range(2))
    assert first == again


def test_ranks_and_scores() -> None:
    assert first_right(["3821", "0145", "2394"], frozenset({"2394"}), False) == 3
    assert first_right(["3821", "0145", "2394"], frozenset({"2394"}), True) == 2
    assert first_right([], frozenset({"2394"}), True) == np.inf
    found = scores([["1", "2"], ["2", "1"]], [frozenset({"1"}), frozenset({"1"})], ["a", "b"])
    assert found["hit1"]["value"] == 0.5 and found["hit5"]["value"] == 1 and found["mrr"]["value"] == 0.75
    only = scores([["3821"], ["2394"]], [frozenset({"3821"}), frozenset({"2394"})], ["a", "b"])
    assert only["hit1_recovery"]["n"] == 1


def test_few_records_are_said_to_be_few() -> None:
    bench = Bench(ROWS, PREDICTED)
    test = questions(ROWS)
    ranked = {rule: [bench.rank(q, rule, Setting(), "waste") for q in test] for rule in RULES}
    found = {rule: scores(lists, [q.gold for q in test], [q.donor for q in test]) for rule, lists in ranked.items()}
    assert claims(ranked, test, found)["few"] is True and counts(bench, test, [])["donors"] == 4
    result, items = cell(ROWS, "made", "waste", 0, PREDICTED)
    assert set(result["rules"]) == set(RULES) and all("donor" not in str(i["id"]) for i in items)


def test_splits_share_no_waste() -> None:
    task = WasteTask(ROWS * 1 + [row(f"d{n}", "1050", f"waste {n}", "0145") for n in range(40)], 3)
    parts = {name: {e.input["waste_text"] for e in found} for name, found in task.splits.items()}
    assert all(parts.values()) and not parts["train"] & parts["test"] and not parts["dev"] & parts["test"]
    assert not {r[0].waste_text for r in task.train} & parts["test"]
    assert part_of("whey", 0) == part_of("whey", 0) and task.digest == WasteTask(task.rows, 3).digest
