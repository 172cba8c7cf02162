"""National codes as input: spellings, 1:n, unknown ones."""

from __future__ import annotations

import numpy as np
import pytest
import text_toys

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.text_codes import Crosswalk, restrict

TREE = Tree(text_toys.LABELS)
WALK = Crosswalk(text_toys.CROSSWALK, TREE, "crosswalk.json")


@pytest.mark.parametrize("scheme", ["NACE2", "nace2", "NACE Rev. 2", "NACE rev2", "Nace-2"])
@pytest.mark.parametrize("code", ["01.11", "0111", "01 11", "01-11"])
def test_scheme_and_code_in_any_spelling(scheme: str, code: str) -> None:
    found = WALK.translate(scheme, code)
    assert (found.scheme, found.code, found.labels, found.note) == ("NACE2", "01.11", (0, 1), "")


def test_the_classes_themselves_are_a_scheme() -> None:
    assert WALK.translate("ISIC4", "0112").labels == (1,)
    assert WALK.translate("ISIC Rev. 4", "1071").labels == (3,)
    assert WALK.schemes == ("ISIC Rev.4", "NACE2", "SSIC2020")


def test_unknown_scheme_and_code_say_so() -> None:
    assert WALK.translate("NACE3", "01.11").note == "no scheme is called 'NACE3' (did you mean 'NACE2'?)"
    assert WALK.translate("NACE2", "01.12").note == "NACE2 has no code '01.12' (did you mean '01.11'?)"
    assert WALK.translate("NACE2", "ZZ").note == "NACE2 has no code 'ZZ'"
    assert WALK.translate("NACE2", "ZZ").labels == ()
    empty = Crosswalk({}, Tree(text_toys.LABELS.model_copy(update={"scheme": ""})), "x")
    assert "holds no crosswalk" in empty.translate("NACE2", "01.11").note


def test_two_codes_of_one_plain_spelling_need_their_own() -> None:
    walk = Crosswalk({"S": {"1.11": ["0111"], "11.1": ["0112"]}}, TREE, "x")
    assert walk.translate("S", "111").labels == ()
    assert walk.translate("S", "11.1").labels == (1,)


def test_a_lost_leading_zero_is_put_back_and_said() -> None:
    found = WALK.translate("NACE2", "1.11")
    assert (found.code, found.labels) == ("01.11", (0, 1)) and "leading zero was lost" in found.note
    walk = Crosswalk({"S": {"01.41": ["0111"], "14.10": ["0112"], "14.1": ["0112"]}}, TREE, "x")
    assert walk.translate("S", "1.41").labels == (0,)  # and never 14.1
    assert walk.translate("S", "141").labels == () and "write it in full" in walk.translate("S", "141").note


def test_images_are_the_way_back() -> None:
    for scheme, codes in text_toys.CROSSWALK.items():
        for label, code in enumerate(TREE.codes):
            assert WALK.images(scheme, label) == tuple(sorted(n for n, classes in codes.items() if code in classes))
    assert WALK.images("isic rev4", 1) == ("0112",)
    with pytest.raises(HedgerowError, match=r"no scheme is called 'NACE3' \(did you mean 'NACE2'\?\)"):
        WALK.images("NACE3", 0)


def test_restrict() -> None:
    p = np.array([0.1, 0.3, 0.6, 0, 0, 0, 0, 0], np.float32)
    np.testing.assert_allclose(restrict(p, (0, 1), True)[:3], [0.25, 0.75, 0])
    np.testing.assert_allclose(restrict(p, (0, 1), False)[:3], [0.5, 0.5, 0])
    np.testing.assert_allclose(restrict(p, (4, 5), True)[4:6], [0.5, 0.5])  # the text gives both nothing


def test_a_wrong_code_is_found_when_it_is_asked_for() -> None:
    walk = Crosswalk({"S": {"1": ["9999"], "2": ["0111"]}}, TREE, "crosswalk.json")
    assert walk.translate("S", "2").labels == (0,)
    with pytest.raises(HedgerowError, match=r"crosswalk.json: S 1: no class is called '9999'"):
        walk.translate("S", "1")


@pytest.mark.parametrize(
    "table,message",
    [
        ([], "is not scheme -> code -> classes"),
        ({"S": ["01"]}, "'S' is not code -> classes"),
        ({"S": {"1": "0111"}}, "S 1: a list of at least one class"),
        ({"S": {"1": []}}, "S 1: a list of at least one class"),
        ({"S": {"1": ["9999"]}}, "S 1: no class is called '9999'"),
    ],
)
def test_tables_that_are_none(table: object, message: str) -> None:
    with pytest.raises(HedgerowError, match=message):
        Crosswalk(table, TREE, "crosswalk.json").check()
