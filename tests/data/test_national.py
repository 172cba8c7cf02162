"""A code as a person wrote it: what is repaired, what can be two codes, what is none."""

from __future__ import annotations

import pytest

from hedgerow.data.national import plain, reading

CODES = ("01", "01.1", "01.12", "01.4", "01.41", "08.11", "11", "11.0", "14", "14.1", "14.10", "24.42", "51.10")
PLAIN = {plain(c): c for c in CODES}


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("1.41", "01.41"), ("1.4", "01.4"), ("8.11", "08.11"), ("1-41", "01.41"), ("1 41", "01.41"), ("1", "01"),
        ("0141", "01.41"), ("01 41", "01.41"), (" 24.42 ", "24.42"), ("2442", "24.42"), ("014", "01.4"),
        ("112", "01.12"), ("11", "11"), ("1410", "14.10"), ("14.1", "14.1"),
        ("1.10", ""), ("141.0", ""), ("1410.0", ""), ("141", ""), ("", ""), ("99.99", ""), ("x", ""),
    ],
)  # fmt: skip
def test_the_place_of_the_dot_counts(written: str, known: str) -> None:
    assert reading(written, CODES, PLAIN)[0] == known


def test_what_is_repaired_or_can_be_two_is_said() -> None:
    assert reading("1.41", CODES, PLAIN)[1] == "'1.41' read as '01.41': a leading zero was lost"
    assert reading("141", CODES, PLAIN)[1].startswith("'141' can be '14.1', or '01.41'")
    classes = {plain(c): c for c in ("01.41", "14.10")}  # a table of classes alone: the group is meant all the same
    assert reading("141", ("01.41", "14.10"), classes) == (
        "", "'141' can be what '14.10' belongs to, or '01.41' without its leading zero: write it in full")  # fmt: skip
    assert reading("1.11", ("1.11", "11.1"), {}) == ("1.11", "")  # a scheme may write it so
