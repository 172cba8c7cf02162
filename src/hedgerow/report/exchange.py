"""One page of waste exchanges: who gives to whom, every record to browse, and recommendations with their evidence.

Drawn from the JSON that :func:`story` gathers. One file, nothing fetched, every text escaped. A text whose licence does
not let it be handed on is not in the page at all, but for the reader's own list (kind ``user``), which is theirs to
read: a page of such a list is not for handing on.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.report.html import Child, Html, h
from hedgerow.report.look import AMBER, GREEN, INK, Width, drawing, plain, svg
from hedgerow.report.page import SORT
from hedgerow.report.parts import figure, folded, table, tag

Json = Mapping[str, Any]
MOST = 3000  # records that a page lists; more make it slow on a phone
NAMED = 14  # divisions with a row or column of their own in the picture; the rest share 'other'
KIND_WORDS = {
    "lca_link": "model linkage, no deal",
    "reported_exchange": "reported exchange",
    "user": "own list",
}
# Shows only the records that hold every word asked for.
_FIND = """
const find = document.getElementById("find"), said = document.getElementById("shown");
const body = document.querySelector("#records tbody");
find?.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase(), fits = words.every(w => text.includes(w));
    row.hidden = !fits; shown += fits;
  }
  said.textContent = shown + " of " + body.rows.length + " records shown";
});
"""
_CSS = (
    "#find { font: inherit; width: 100%; max-width: 28rem; padding: .45rem .7rem; border: 1px solid var(--rule); "
    "border-radius: 8px; }"
)


def story(
    records: Iterable[Json], titles: Mapping[str, str], answers: Sequence[Json] = (), *, where: str = ""
) -> dict[str, Any]:
    """What the page says, as JSON: ``{where, counts, network, records, answers}``.

    ``records`` are nested as :meth:`hedgerow.records.Store.records` gives them, ``titles`` those of ISIC's divisions,
    ``answers`` a recommender's. Only the first :data:`MOST` records are listed, all are counted.
    """
    kinds: Counter[tuple[str, str, str]] = Counter()
    flows: Counter[tuple[str, str]] = Counter()
    listed: list[Json] = []
    total = 0
    for r in records:
        total += 1
        kinds[r["kind"], r["source"], r["licence"]] += 1
        for a in {c[:2] for c in r["donor"]["isic"]}:
            for b in {c[:2] for c in r["receiver"]["isic"]}:
                flows[a, b] += 1
        if len(listed) < MOST:
            listed.append(_shown(r))
    return {
        "where": where,
        "total": total,
        "counts": [{"kind": k, "source": s, "licence": li, "records": n} for (k, s, li), n in kinds.most_common()],
        "network": [{"from": a, "to": b, "records": n} for (a, b), n in sorted(flows.items())],
        "titles": {code: titles.get(code, "") for pair in flows for code in pair},
        "records": listed,
        "answers": list(answers),
    }


def _shown(r: Json) -> dict[str, Any]:
    """A record as the page lists it; without its texts where they may not be handed on."""
    texts = r["shareable"] or r["kind"] == "user"
    taker = r["receiver"]["text"] or r["treatment"]["text"]
    return {
        "donor": r["donor"]["text"] if texts else None,
        "donor_isic": r["donor"]["isic"],
        "waste": r["waste"]["text"] if texts else None,
        "ewc": r["waste"]["ewc"],
        "receiver": taker if texts else None,
        "receiver_isic": r["receiver"]["isic"],
        "use": r["use"] if texts else None,
        **{key: r[key] for key in ("kind", "source", "status", "country", "citation", "id")},
    }


def write(told: Json, path: Path) -> None:
    """The page at ``path``, whole or not at all."""
    files.write_text(path, page(told))


def page(told: Json) -> str:
    """The whole document; its content policy forbids every fetch, and every script but ours by its digest."""
    script = SORT + _FIND
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    closed = "default-src 'none'; base-uri 'none'; form-action 'none'"
    policy = f"{closed}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", **{"http-equiv": "Content-Security-Policy"}, content=policy),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="referrer", content="no-referrer"),
        h("title", "hedgerow: waste exchanges"),
        h("style", Html(css + _CSS)),
    )
    parts = [("network", "Who gives to whom", _network(told)), ("records", "The records", _records(told))]
    if told["answers"]:
        parts.insert(1, ("takers", "Recommended takers, with evidence", _answers(told)))
    sections = [h("section", h("div", h("h2", t), body, class_="column"), id=name) for name, t, body in parts]
    body = h("body", _header(told, parts), h("main", sections), h("script", Html(script)))
    return f"<!doctype html>\n{h('html', head, body, lang='en')}\n"


def _header(told: Json, parts: Sequence[tuple[str, str, Html]]) -> Html:
    facts = [
        h("div", h("dt", KIND_WORDS.get(c["kind"], c["kind"])),
          h("dd", f"{c['records']:,}", h("small", f"{c['source']} · {c['licence']}")))
        for c in told["counts"][:6]
    ]  # fmt: skip
    links = [h("li", h("a", title, href=f"#{name}")) for name, title, _ in parts]
    lead = f"{told['total']:,} exchanges of waste between industries of ISIC Rev.4."
    column = h(
        "div",
        h("div", "hedgerow", class_="mark"),
        h("h1", "Who took such a waste before?"),
        h("p", lead, class_="lead"),
        h("dl", facts, class_="facts"),
        h("nav", h("ul", links), aria_label="sections"),
        class_="column",
    )
    return h("header", column)


# --- who gives to whom ------------------------------------------------------------------------------------------------
def _network(told: Json) -> Html:
    flows = told["network"]
    if not flows:
        return h("p", "No record has both a donor's and a receiver's class.")
    names = told["titles"]
    rows = sorted(flows, key=lambda f: (-f["records"], f["from"], f["to"]))
    heads = (("giver", False), ("taker", False), ("records", True))
    listed = [
        (f"{f['from']} {names.get(f['from'], '')}", f"{f['to']} {names.get(f['to'], '')}",
         (f"{f['records']:,}", f["records"]))
        for f in rows[:40]
    ]  # fmt: skip
    caption = (
        "Each dot is a pair of ISIC divisions, its area the number of records. Amber: to division 38, which collects, "
        "treats and disposes of waste, but also recovers materials."
    )
    pairs = folded(f"The {len(listed)} strongest pairs as a table", table(heads, listed, sortable=True))
    return h("div", figure(caption, lambda width: matrix(told, width)), pairs)


def matrix(told: Json, width: Width) -> str:
    """Givers down, takers across, one dot a pair of divisions; those beyond the most frequent share 'other'."""
    flows = told["network"]
    most = NAMED if width == "wide" else NAMED // 2
    givers, takers = (_frequent(flows, side, most) for side in ("from", "to"))
    counted: Counter[tuple[str, str]] = Counter()
    for f in flows:
        a, b = (f[s] if f[s] in known else "other" for s, known in (("from", givers), ("to", takers)))
        counted[a, b] += f["records"]
    largest = max(counted.values())
    with drawing(width, 1.6 + 0.34 * len(givers)) as (drawn, axes):
        for (a, b), n in counted.items():
            colour = AMBER if b == "38" else GREEN
            axes.scatter(takers.index(b), givers.index(a), s=18 + 330 * n / largest, color=colour, alpha=0.75, lw=0)
            if n >= largest / 6 and width == "wide":
                axes.annotate(f"{n:,}", (takers.index(b), givers.index(a)), (11, 0), textcoords="offset points",
                              va="center", fontsize=7.5, color=INK)  # fmt: skip
        axes.set_xticks(range(len(takers)), takers)
        long = 34 if width == "wide" else 12
        labels = [g if g == "other" else f"{g} {plain(_short(told['titles'].get(g, '')), long)}" for g in givers]
        axes.set_yticks(range(len(givers)), labels)
        axes.set_xlim(-0.7, len(takers) - 0.3)
        axes.set_ylim(len(givers) - 0.4, -0.6)
        axes.set_xlabel("division of the taker")
        return svg(drawn, f"network-{width}", f"{len(flows)} pairs of divisions, givers down and takers across")


def _short(title: str) -> str:
    return title.removeprefix("Manufacture of ")


def _frequent(flows: Sequence[Json], side: str, most: int) -> list[str]:
    counts: Counter[str] = Counter()
    for f in flows:
        counts[f[side]] += f["records"]
    named = sorted(code for code, _ in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:most])
    return [*named, "other"] if len(counts) > most else named


# --- recommendations and records --------------------------------------------------------------------------------------
def _answers(told: Json) -> Html:
    return h("div", [_answer(a) for a in told["answers"]])


def _answer(answer: Json) -> Html:
    donor = answer["classes"][0] if answer["classes"] else None
    who = f"{donor['code']} {donor['title']} ({answer['how']})" if donor else "nothing is known of the donor"
    cards = []
    for r in answer["receivers"][:6]:
        said: list[Child] = [_evidence(e) for e in r["records"]]
        cards.append(h(
            "div", h("h3", f"{r['code']} {r['title']}"),
            h("p", h("span", f"{r['score']:.2f}", class_="big"), f"  {r['level']}, {r['count']} of the records ",
              "" if r["recovery"] else tag("disposal")),
            h("ul", said), class_="card",
        ))  # fmt: skip
    note = h("p", answer["note"], class_="lead") if answer.get("note") else None
    title = h("h3", f"{answer['donor'] or 'any donor'} :: {answer['waste']}")
    return h("article", title, h("p", f"donor: {who}", class_="lead"), note, h("div", cards, class_="cards"))


def _evidence(record: Json) -> Html:
    text = record["text"] or "its text may not be handed on"
    return h("li", f"{text} ", h("small", f"{KIND_WORDS.get(record['kind'], record['kind'])}, {record['source']}"))


def _records(told: Json) -> Html:
    heads = (("giver", False), ("ISIC", False), ("waste", False), ("EWC", False), ("taker", False), ("ISIC", False),
             ("kind", False), ("status", False), ("country", False), ("source", False))  # fmt: skip
    closed = "(not to be handed on)"
    rows = [
        (r["donor"] if r["donor"] is not None else closed, " ".join(r["donor_isic"]),
         r["waste"] if r["waste"] is not None else closed, r["ewc"],
         r["receiver"] if r["receiver"] is not None else closed, " ".join(r["receiver_isic"]),
         KIND_WORDS.get(r["kind"], r["kind"]), r["status"], r["country"], r["source"])
        for r in told["records"]
    ]  # fmt: skip
    more = f"The first {len(rows):,} of {told['total']:,} are listed." if told["total"] > len(rows) else ""
    return h(
        "div",
        h("p", "A linkage of a life-cycle model is no deal between two firms. ", more),
        h("input", type="search", id="find", placeholder="words, codes, countries …", aria_label="find records"),
        h("p", f"{len(rows)} of {len(rows)} records shown", id="shown", class_="lead", aria_live="polite"),
        table(heads, rows, sortable=True),
    )
