"""The tree of labels: sums by brute force, and decisions that only climb when more certainty is asked."""

from __future__ import annotations

import numpy as np
import pytest
import text_toys
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import LEVELS, Label, LabelsFile, Tree, tree_of

TREE = Tree(text_toys.LABELS)
DEPTH = {level: i for i, level in enumerate([*LEVELS, "review"])}
shares = st.lists(st.floats(0.001, 1), min_size=8, max_size=8).map(lambda w: np.array([w], np.float32) / np.sum(w))


def by_hand(p: np.ndarray, level: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for label, share in zip(TREE.labels, p):
        code = label.code if level == "class" else getattr(label, level)
        sums[code] = sums.get(code, 0.0) + float(share)
    return sums


@given(shares)
def test_sums_are_those_of_a_plain_loop(p: np.ndarray) -> None:
    sums = TREE.sums(p)
    assert list(sums) == list(LEVELS)
    for level, values in sums.items():
        found = dict(zip(TREE.nodes[level], values[0].tolist()))
        assert found == pytest.approx(by_hand(p[0], level), abs=1e-5)
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)


@given(shares, st.floats(0, 1), st.floats(0, 1))
def test_more_certainty_never_goes_deeper(p: np.ndarray, one: float, two: float) -> None:
    low, high = sorted((one, two))
    shallow, deep = TREE.decide(p, high)[0], TREE.decide(p, low)[0]
    assert DEPTH[shallow.level] >= DEPTH[deep.level]


@given(shares, st.floats(0, 1))
def test_a_decision_is_the_deepest_level_that_is_sure_enough(p: np.ndarray, threshold: float) -> None:
    node = TREE.decide(p, threshold)[0]
    for level in LEVELS:
        best = float(TREE.sums(p)[level].max())
        if best >= threshold:
            assert (node.level, node.p) == (level, pytest.approx(best, abs=1e-6))
            assert by_hand(p[0], level)[str(node.code)] == pytest.approx(best, abs=1e-5)
            return
    assert (node.level, node.code, node.title) == ("review", None, None)
    assert node.p == pytest.approx(float(p.max()))


def test_levels_of_one_text() -> None:
    p = np.array([[0.4, 0.35, 0.05, 0.1, 0.05, 0.02, 0.02, 0.01]], np.float32)
    decided = [(TREE.decide(p, t)[0].level, TREE.decide(p, t)[0].code) for t in (0.3, 0.7, 0.78, 0.81)]
    assert decided == [("class", "0111"), ("group", "011"), ("division", "01"), ("review", None)]
    assert TREE.decide(p, 0.78)[0].title == "Crops"
    assert TREE.decide(p, 0.7)[0].title == ""  # no title is stored for the group


def test_titles_and_places() -> None:
    assert TREE.title("class", "0112") == "Growing of rice"
    assert TREE.title("section", "C") == "Manufacturing"
    assert TREE.find("1071", "x") == 3
    with pytest.raises(HedgerowError, match=r"^row 4: no class is called '107l' \(did you mean '1071'\?\)$"):
        TREE.find("107l", "row 4")


def test_unknown_code_of_a_large_tree_is_not_answered_with_a_list() -> None:
    tree = tree_of([Label(code=f"{i:04}", title="") for i in range(100)])
    with pytest.raises(HedgerowError, match=r"the Pack has 100 classes"):
        tree.find("quite another", "x")


def test_labels_out_of_order_and_without_upper_levels() -> None:
    labels = [
        Label(code="b", title="B", group="g2"),
        Label(code="a", title="A"),
        Label(code="c", title="C", group="g1"),
    ]
    tree = tree_of(labels)
    assert tree.nodes == {"class": ("b", "a", "c"), "group": ("g1", "g2")}
    p = np.array([[0.2, 0.5, 0.3]], np.float32)
    np.testing.assert_allclose(tree.sums(p)["group"], [[0.3, 0.2]])  # 'a' has no group and is not counted there
    assert [n.level for t in (0.5, 0.51) for n in tree.decide(p, t)] == ["class", "review"]


@pytest.mark.parametrize(
    "change,message",
    [
        ({"labels": [*text_toys.LABELS.labels, text_toys.LABELS.labels[0]]}, "class '0111' is listed twice"),
        (
            {"labels": [*text_toys.LABELS.labels, Label(code="0113", title="", group="011", division="02")]},
            "group '011' lies in two divisions, 01 and 02",
        ),
        ({"titles": {"sections": {}}}, "no level is called 'sections'"),
    ],
)
def test_trees_that_are_none(change: dict, message: str) -> None:
    file = LabelsFile.model_validate(text_toys.LABELS.model_dump() | change)
    with pytest.raises(HedgerowError, match=message):
        Tree(file)
