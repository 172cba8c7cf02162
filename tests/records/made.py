"""Records for tests: invented firms, invented wastes."""

from __future__ import annotations

from hedgerow.records import Coding, Exchange

GOOD = {"kind": "user", "source": "invented", "licence": "CC0-1.0", "shareable": True}


def exchange(donor: str = "dairy", waste: str = "whey", receiver: str = "pig farm", **more: object) -> Exchange:
    return Exchange.model_validate(
        {**GOOD, "donor_text": donor, "waste_text": waste, "receiver_text": receiver, **more}
    )


def given(*codes: str) -> Coding:
    return Coding(isic=tuple((c, 1 / len(codes)) for c in codes), how="given")


NONE = Coding()
ROWS = [
    (exchange("dairy", "whey", "pig farm"), given("1050"), given("0145")),
    (exchange("alumina refinery", "red mud", "cement works", ewc="01 03 07*"), given("2420"), given("2394")),
    (exchange("coal power station", "fly ash", "cement works", country="DK", quantity=12.5, unit="t"),
     given("3510"), given("2394")),
    (exchange("sawmill", "sawdust", ""), given("1610"), NONE),
]  # fmt: skip
