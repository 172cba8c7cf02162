"""The page of exchanges: drawn from its JSON, every text escaped, closed texts left out."""

from __future__ import annotations

import json
from typing import Any

from hedgerow.report import exchange

EVIL = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2">'


def record(donor: str = "0111", receiver: str = "3821", text: str = "straw", **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": "a", "donor": {"text": text, "isic": [donor] if donor else []},
        "waste": {"text": text, "ewc": "01 03 07*", "ewc_stat": "", "hazardous": None},
        "treatment": {"text": "", "dr_code": ""}, "receiver": {"text": text, "isic": [receiver] if receiver else []},
        "kind": "user", "source": "made", "licence": "CC0-1.0", "shareable": True, "status": "", "country": "",
        "use": "", "citation": "",
    }  # fmt: skip
    return {**base, **more}


def answer(text: str = "straw") -> dict[str, Any]:
    shown = {"id": "a", "kind": "lca_link", "source": text, "text": None}
    taker = {
        "code": "0111",
        "title": text,
        "score": 0.5,
        "level": text,
        "recovery": False,
        "count": 1,
        "records": [shown],
    }
    return {"donor": text, "waste": text, "classes": [], "how": "unknown", "receivers": [taker], "note": text}


def test_flows_are_counted_by_division() -> None:
    told = exchange.story(
        [record(), record(), record("0112", "0220"), record("", "0220"), record("0111", "")], {"01": "Crops"}
    )
    assert told["network"] == [{"from": "01", "to": "02", "records": 1}, {"from": "01", "to": "38", "records": 2}]
    assert told["total"] == 5 and told["counts"][0]["records"] == 5 and told["titles"]["01"] == "Crops"


def test_every_text_is_escaped() -> None:
    told = exchange.story([record(text=EVIL, source=EVIL, status=EVIL)], {"01": EVIL, "38": EVIL}, [answer(EVIL)])
    page = exchange.page(told)
    assert "<img" not in page and page.count("<script") == 1 and "&lt;script&gt;window.hacked=1" in page


def test_texts_that_may_not_be_handed_on_are_not_in_the_page() -> None:
    closed = record(text="secret straw", kind="lca_link", shareable=False, use="secret bedding")
    told = exchange.story([closed, record(text="open straw"), record(text="my straw", shareable=False)], {})
    assert "secret" not in json.dumps(told)  # --json says no more than the page
    page = exchange.page(told)
    assert "secret" not in page and "open straw" in page and "my straw" in page and "not to be handed on" in page


def test_many_divisions_share_a_row_and_no_flow_is_lost() -> None:
    records = [record(f"{a:02d}11", f"{b:02d}11") for a in range(1, 40) for b in (1, 38)]
    told = exchange.story(records, {})
    for width in ("wide", "narrow"):
        assert "<svg" in exchange.matrix(told, width)
    assert sum(f["records"] for f in told["network"]) == len(records)
    assert "other" in exchange._frequent(told["network"], "from", 5)


def test_an_empty_store_has_a_page() -> None:
    assert "No record has both" in exchange.page(exchange.story([], {}))
