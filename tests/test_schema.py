"""Records from outside: the first fault in one line, with file, key, value, and the nearest spelling."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from hedgerow.errors import HedgerowError
from hedgerow.pack import Info
from hedgerow.schema import Record, check


class Inner(Record):
    weight: float = Field(ge=0)
    unit: str = "kg"


class Outer(Record):
    name: str
    many: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}
    maybe: Inner | None = None
    kind: Literal["a", "b"] = "a"


def said(data: Any, model: type[Record] = Outer) -> str:
    with pytest.raises(HedgerowError) as caught:
        check(model, data, "here.toml")
    text = str(caught.value)
    assert text.startswith("here.toml: ") and "\n" not in text and len(text) < 400
    return text


def test_what_is_right_comes_back() -> None:
    record = check(Outer, {"name": "x", "many": [{"weight": 1}], "by_name": {"k": {"weight": 2, "unit": "g"}}}, "here")
    assert record.many[0].weight == 1.0 and record.by_name["k"].unit == "g"
    with pytest.raises(ValidationError):
        record.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ("'name' is missing",)),
        ({"name": "x", "kindd": "a"}, ("unknown key 'kindd'", "did you mean 'kind'")),
        (
            {"name": "x", "many": [{"weight": 1}, {"weigth": 1, "weight": 2}]},
            ("many.1.weigth", "did you mean 'weight'"),
        ),
        ({"name": "x", "by_name": {"k": {"weight": 1, "units": "g"}}}, ("by_name.k.units", "did you mean 'unit'")),
        ({"name": "x", "maybe": {"weight": 1, "unti": "g"}}, ("maybe.unti", "did you mean 'unit'")),
        ({"name": "x", "many": [{"weight": -1}]}, ("many.0.weight", "greater than or equal to 0", "(got -1)")),
        ({"name": "x", "many": [{"weight": float("nan")}]}, ("many.0.weight", "finite")),
        ({"name": 3}, ("name", "valid string", "(got 3)")),
        ({"name": "x", "kind": "c"}, ("kind", "'a' or 'b'", "(got 'c')")),
        ([], ("here.toml",)),
        (None, ("here.toml",)),
        ("text", ("here.toml",)),
    ],
)
def test_each_fault_is_one_line(data: Any, words: tuple[str, ...]) -> None:
    text = said(data)
    assert all(word in text for word in words), text


def test_a_long_value_is_cut() -> None:
    assert "…" in said({"name": ["x" * 10_000]})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
        max_leaves=8,
    )
)
def test_nothing_but_one_line_comes_out(data: Any) -> None:
    for model in (Outer, Info):
        try:
            check(model, data, "here")
        except HedgerowError as e:
            assert "\n" not in str(e)
