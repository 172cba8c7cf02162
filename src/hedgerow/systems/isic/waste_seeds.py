"""Records out of ecoinvent's change report: by-product links, and by-products joined with their treatments.

They are linkages of a model, not deals (kind 'lca_link'), and ecoinvent's own words: read at run time, not shareable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources

from hedgerow.data import fetch, lca, lca_waste
from hedgerow.records import Coding, Exchange

Row = tuple[Exchange, Coding, Coding]
LINKED, JOINED = "explicit activity link", "joined by the name of the treatment"


@dataclass(frozen=True)
class Counted:
    """Rows before and after one filter."""

    what: str
    before: int
    after: int


@cache
def coproduct_rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    """(pattern, why) of by-products that are no wastes."""
    import tomllib

    text = resources("hedgerow.systems.isic").joinpath("waste_rules.toml").read_text("utf-8")
    return tuple((re.compile(rule["pattern"]), rule["why"]) for rule in tomllib.loads(text)["coproduct"])


def why_no_waste(product: str) -> str:
    """The reason why a by-product is no waste; '' when it is one.

    >>> why_no_waste("electricity, high voltage"), why_no_waste("red mud")
    ('energy that is sold', '')
    """
    lower = product.casefold()
    return next((why for pattern, why in coproduct_rules() if pattern.search(lower)), "")


def seeds() -> tuple[list[Row], list[Counted]]:
    """Records with their codings, and the counts before and after each filter; fetches the workbook when needed."""
    return from_rows(lca_waste.by_products(), lca.lca_rows(), fetch.source("ecoinvent-names").licence)


def from_rows(
    products: Sequence[lca_waste.ByProduct], activities: Iterable[lca.LcaRow], licence: str
) -> tuple[list[Row], list[Counted]]:
    """:func:`seeds` of given rows. The receiver of a link is the linked activity; 'treatment of X' joins waste X."""
    classes = _classes(activities)
    counts: list[Counted] = []
    rows = list(products)

    def keep(what: str, stays: Iterable[bool]) -> None:
        nonlocal rows
        before, rows = len(rows), [r for r, s in zip(rows, stays) if s]
        counts.append(Counted(what, before, len(rows)))

    keep("deleted in the newer release", [r.change != "deleted" for r in rows])
    keep("without a name", [bool(r.product) for r in rows])
    keep("donor without a class of ISIC Rev.4", [bool(lca.to_isic(r.label)) for r in rows])
    keep("co-product, by the rule list", [not why_no_waste(r.product) for r in rows])
    distinct = {(r.donor, r.product, r.link): lca.to_isic(r.label) for r in rows}
    counts.append(Counted("the same in another place", len(rows), len(distinct)))
    linked = [k for k in distinct if k[2]]
    known = [k for k in linked if classes.get(k[2])]
    counts.append(Counted("explicit links whose taker has no class", len(linked), len(known)))
    found = [_record(d, p, link, distinct[d, p, link], classes[link], LINKED, licence) for d, p, link in known]
    treated = _treatments(classes)
    pairs = {(d, p): isic for (d, p, _), isic in distinct.items()}
    joined = [(d, p, t) for d, p in pairs for t in treated.get(p, ()) if (d, p, t) not in distinct]
    have = {p for _, p in pairs if p in treated}
    counts.append(Counted("wastes for which a treatment is named", len({p for _, p in pairs}), len(have)))
    found += [_record(d, p, t, pairs[d, p], classes[t], JOINED, licence) for d, p, t in joined]
    counts.append(Counted("records: explicit links, and all with joined treatments", len(known), len(found)))
    return found, counts


def _classes(activities: Iterable[lca.LcaRow]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for row in activities:
        code = lca.to_isic(row.label)
        if code:
            found.setdefault(row.name, set()).add(code)
    return {name: tuple(sorted(codes)) for name, codes in found.items()}


def _treatments(classes: Mapping[str, object]) -> dict[str, list[str]]:
    """waste -> activities 'treatment of WASTE', with or without a comma and more behind it."""
    found: dict[str, list[str]] = {}
    for name in sorted(classes):
        for head in ("treatment of ", "treatment, "):
            if name.startswith(head):
                parts = name.removeprefix(head).split(", ")
                for n in range(1, len(parts) + 1):
                    found.setdefault(", ".join(parts[:n]), []).append(name)
    return found


def _record(
    donor: str, product: str, link: str, donor_isic: str, receiver: tuple[str, ...], how: str, licence: str
) -> Row:
    exchange = Exchange(
        kind="lca_link", source="ecoinvent-names", licence=licence, source_id=how, donor_text=donor,
        donor_scheme="ISIC4", donor_codes=(donor_isic,), waste_text=product, treatment_text=link, receiver_text=link,
        receiver_scheme="ISIC4", receiver_codes=receiver, use=how,
    )  # fmt: skip
    return exchange, _given((donor_isic,)), _given(receiver)


def _given(codes: tuple[str, ...]) -> Coding:
    return Coding(isic=tuple((code, 1 / len(codes)) for code in codes), how="given")


def donor_specific(exchange: Exchange) -> bool:
    """Whether the taker may depend on the donor: not joined over 'treatment of WASTE', nor linked to such a one.

    A linkage to a treatment of that very waste, or out of the waste's market, says nothing about the donor.
    """
    if exchange.kind != "lca_link":
        return True
    of_waste = exchange.treatment_text.startswith(
        (f"treatment of {exchange.waste_text}", f"treatment, {exchange.waste_text}")
    )
    market = exchange.donor_text.startswith(("market for ", "market group for "))
    return exchange.use == LINKED and not of_waste and not market
