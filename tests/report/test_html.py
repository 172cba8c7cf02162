from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.report.html import Html, h, joined


def test_texts_are_escaped_and_markup_of_ours_is_not() -> None:
    assert h("p", "a < b & 'c'", h("b", "d")) == "<p>a &lt; b &amp; &#x27;c&#x27;<b>d</b></p>"
    assert h("p", None, 3, [1.5, "x"]) == "<p>31.5x</p>"


def test_attributes() -> None:
    assert h("a", "x", href='"><script>', class_="k") == '<a href="&quot;&gt;&lt;script&gt;" class="k">x</a>'
    assert h("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert h("td", "x", data_v="1", hidden=True, id=None, open=False) == '<td data-v="1" hidden>x</td>'


@given(st.text())
def test_no_text_opens_a_tag(text: str) -> None:
    assert "<" not in joined(text)
    assert '"' not in joined(text)
    assert joined(Html(text)) == text
