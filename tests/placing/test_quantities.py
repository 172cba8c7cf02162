"""Needs and limits as people write them."""

from __future__ import annotations

import pytest

from hedgerow.errors import HedgerowError
from hedgerow.placing.quantities import Constraint, in_words, parse_limits, parse_needs, parse_size, tightest


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("p95<=200ms", 200.0), ("p95 <= 0.2s", 200.0), ("p50<=1min", 60_000.0), ("load<=500us", 0.5),
        ("memory<=300MB", 3e8), ("memory<=300mb", 3e8), ("bytes<=1GiB", 2.0**30), ("cost<=0.002", 0.002),
        ("reply_p95<=1e2ms", 100.0),
    ],
)  # fmt: skip
def test_limits_are_read_in_ms_bytes_and_money(text: str, bound: float) -> None:
    (limit,) = parse_limits([text])
    assert limit.bound == pytest.approx(bound)
    assert not limit.at_least


def test_needs_are_read() -> None:
    value, low, percent, error = parse_needs(["accuracy>=0.55", "accuracy.low>=0.5", "accuracy>=55%", "ece<=0.05"])
    assert value == Constraint("accuracy", True, 0.55, "score")
    assert low == Constraint("accuracy", True, 0.5, "score", low_end=True)
    assert percent.bound == pytest.approx(0.55)
    assert not error.at_least
    assert error.holds(0.04) and not error.holds(0.06)
    assert low.text == "accuracy.low>=0.5"


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_limits, "p95<=200", "'200' has no unit; write for example 200ms"),
        (parse_limits, "p95<=200mss", "unknown unit 'mss' (did you mean 'ms'?)"),
        (parse_limits, "memory<=300Mb/s", "unknown unit 'Mb/s'"),
        (parse_limits, "p955<=200ms", "nothing called 'p955' is measured (did you mean 'p95'?)"),
        (parse_limits, "accuracy<=0.5", "scores belong to --need"),
        (parse_limits, "p95>=200ms", "a limit says at most; write 'p95<=200ms'"),
        (parse_limits, "p95=200ms", "write >= or <= instead of ="),
        (parse_limits, "p95<200ms", "write <= instead of <"),
        (parse_limits, "p95<=-1ms", "the bound is negative"),
        (parse_limits, "cost<=3EUR", "a money has no unit"),
        (parse_limits, "p95", "is not understood; write for example 'p95<=200ms'"),
        (parse_needs, "accuracy>=half", "'half' is no number"),
        (parse_needs, "p95>=0.5", "'p95' is measured, not scored; write --limit"),
        (parse_needs, "ece.low<=0.5", "can only be asked to be at least"),
        (parse_needs, "", "is not understood"),
    ],
)
def test_what_is_not_understood_is_one_line_with_a_hint(parse, text: str, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HedgerowError) as caught:
        parse([text])
    assert says in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_miss_says_by_how_much() -> None:
    (limit,), (need,) = parse_limits(["p95<=200ms"]), parse_needs(["accuracy>=0.6"])
    assert limit.miss(310.0) == "p95 is 310ms, 110ms over"
    assert need.miss(0.55) == "accuracy is 0.55, 0.05 short"


def test_numbers_get_a_unit_of_their_size() -> None:
    assert [in_words(v, "time") for v in (0.04, 12.0, 1500.0, 1.23e6)] == ["0.04ms", "12ms", "1.5s", "20.5min"]
    assert [in_words(v, "bytes") for v in (12, 1200, 3.1e8, 2e9)] == ["12B", "1.2kB", "310MB", "2GB"]


@pytest.mark.parametrize("value", ["8 parsecs", "-1GB", 0, True, None, "GB"])
def test_sizes_refuse_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError):
        parse_size(value)


def test_the_tightest_limit_counts() -> None:
    limits = parse_limits(["p95<=200ms", "reply_p95<=150ms", "p50<=1ms"])
    assert tightest(limits, ("p95", "reply_p95")) == 150.0
    assert tightest(limits, ("memory",)) is None
