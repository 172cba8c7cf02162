"""The sections of the page, in the order in which an engineer asks: what is it, what does it cost, where does it run
and why, what if a device goes, is that better than doing nothing clever, and what of all this was only assumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hedgerow.report import plots, sections_place
from hedgerow.report.html import Child, Html, h
from hedgerow.report.parts import DASH, Json, colours, figure, named, percent, table, tag
from hedgerow.weighing.show import count, milliseconds, size

Section = tuple[str, str, Html]
_MEASURES = ("latency_p95_ms", "latency_mean_ms", "value", "wasted_s")


def all_sections(tour: Json) -> list[Section]:
    """(id, title, content) of every section."""
    others = [r["label"] for r in tour["outcome"]["rows"][1:] if r["policy"] != tour["plan"]["policy"]]
    return [
        ("built", "What was built", _built(tour)),
        ("cost", "What it costs", _cost(tour)),
        ("where", "Where it runs, and why", sections_place.where(tour)),
        ("unplug", f"Unplug the {tour['unplugged']}", sections_place.unplug(tour)),
        ("policies", f"Against {' and '.join(others)}", sections_place.policies(tour)),
        ("assumed", "What is assumed", _assumed(tour)),
        ("origin", "Where it comes from", _origin(tour)),
    ]


def facts(tour: Json) -> Html:
    """Four numbers that answer the title."""
    points = [p for g in tour["compared"]["groups"][:1] for p in g["points"]]
    shown: list[tuple[str, str, str]] = []
    if points:
        best, cheap = max(points, key=lambda p: p["y"]), min(points, key=lambda p: p["x"])
        a = f"{best['name']} {best['variant']}: {milliseconds(best['x'])} a text, {size(best['disk_bytes'])}"
        b = f"a text with {cheap['name']} {cheap['variant']}: {percent({'value': cheap['y']})} right"
        b += f", {size(cheap['disk_bytes'])}"
        shown += [("most accurate", percent({"value": best["y"]}), a), ("cheapest", milliseconds(cheap["x"]), b)]
    plan, outcome = tour["plan"], tour["outcome"]
    used = {s["form"].rpartition("/")[0] for s in plan["shares"] if s["jobs"]}
    busy = {s["device"] for s in plan["shares"] if s["jobs"]}
    what = f"{len(used)} model{'s' if len(used) != 1 else ''}"
    shown.append(("at work together", what, f"on {len(busy)} of {len(plan['fleet']['devices'])} devices"))
    gone = next((r for r in outcome["rows"] if r["label"].endswith(f" without {tour['unplugged']}")), None)
    waits = [r["metrics"]["latency_p95_ms"] for r in (outcome["rows"][0], gone) if r]
    if len(waits) == 2 and all(waits):
        b = f"p95 wait instead of {milliseconds(waits[0]['value'])}, mean of {outcome['seeds'][1]} simulated runs"
        shown.append((f"without the {tour['unplugged']}", milliseconds(waits[1]["value"]), b))
    return h("dl", [h("div", h("dt", t), h("dd", big, h("small", small))) for t, big, small in shown], class_="facts")


# --- sections --------------------------------------------------------------------------------------------------------
def _built(tour: Json) -> Html:
    cards = []
    for p in tour["packs"]:
        points = [q for g in tour["compared"]["groups"][:1] for q in g["points"] if q["pack"] == p["digest"]]
        best = max(points, key=lambda q: q["y"], default=None)
        made = (
            f"reused from an earlier run, checked in {p['seconds']:.1f} s"
            if p["reused"]
            else f"built in {p['seconds']:.0f} s"
        )
        smallest, largest = min(p["bytes"].values()), max(p["bytes"].values())
        sizes = size(smallest) if smallest == largest else f"{size(smallest)} to {size(largest)}"
        score = (
            percent({"value": best["y"], "low": best.get("y_low"), "high": best.get("y_high")})
            if best
            else "not scored"
        )
        cards.append(
            h(
                "div",
                h("h3", p["name"]),
                h("p", p["summary"], class_="soft"),
                h("p", score, class_="big"),
                h("p", f"{', '.join(p['bytes'])} · {sizes} · {made}", class_="soft"),
                class_="card",
                style=f"--tone:{colours(tour)[p['name']]}",
            )
        )
    task = next((g["task"] for g in tour["compared"]["groups"] if g["task"]), None)
    about = None
    if task:
        words = (
            f"Scores are right first answers on the {task['split']} split of {task['name']}: {task['n']} texts that no "
        )
        about = h("p", words + "model saw, with 95 % intervals over groups of related texts.", class_="lead")
    return Html(h("div", about, h("div", cards, class_="cards"), _examples(tour)))


def _examples(tour: Json) -> Html | None:
    if not tour["examples"]:
        return None
    shown = []
    for e in tour["examples"]:
        answers = [
            h("li", h("span", named(a["pack"], tour), class_="who"), h("span", _answered(a))) for a in e["answers"]
        ]
        shown.append(h("div", h("p", h("q", e["text"])), h("ul", answers), class_="example"))
    lead = (
        "Texts written for this page. The percentage is the model's own, calibrated confidence. Where it is too low "
        "for a class, the answer is the group, division or section above it; where it is too low for that too, it is "
        "left to a person."
    )
    return h("div", h("h3", "What they answer"), h("p", lead, class_="lead"), shown)


def _answered(a: Json) -> list[Child]:
    def told(said: Json) -> list[Child]:
        return [h("code", said["code"]), f" {said['title']} ", h("span", f"{100 * said['p']:.0f} %", class_="soft")]

    if a["decision"] == "review":
        return [h("span", "for a person to decide; first guess ", class_="soft"), told(a["guess"])]
    return told(a) if a["decision"] == "class" else [h("span", f"{a['decision']} ", class_="soft"), told(a)]


def _cost(tour: Json) -> Html:
    compared = tour["compared"]
    x, y = compared["x"]["name"], compared["y"]["name"]
    parts: list[Child] = []
    for number, group in enumerate(compared["groups"]):
        parts.append(figure(
            "Up is better, left is cheaper. Bars are 95 % intervals, the shaded area is proportional to the bytes on "
            "disk, and the dotted line joins the forms that no other beats in both. One text at a time, one thread.",
            lambda w, g=group, n=number: plots.tradeoff(g, x, y, w, f"tradeoff{n}"),
        ))  # fmt: skip
    if compared["note"]:
        parts.append(h("p", compared["note"], class_="lead"))
    parts.append(_cost_table(tour))
    if all(f["energy_j"] is None for f in tour["forms"]):
        words = "Energy: this machine has no counter that can be read, so none is given, and none is estimated."
        parts.append(h("p", words, class_="lead"))
    noisy = sum(1 for f in tour["forms"] if f["noisy"])
    if noisy:
        words = (
            f"{noisy} of {len(tour['forms'])} rows are marked noisy: other work ran on this machine at the time, or "
            "the slowest calls took more than one and a half times the median."
        )
        parts.append(h("p", words, class_="lead"))
    for left in compared["left_out"]:
        parts.append(h("p", f"Not in the picture: {left['name']}, {left['variant']}: {left['why']}.", class_="soft"))
    return h("div", parts)


def _cost_table(tour: Json) -> Html:
    def number(value: float | None, show: Callable[[float | None], str]) -> tuple[str, float]:
        return show(value), value or 0.0

    forms, flagged = tour["forms"], any(f["noisy"] or f["score_assumed"] for f in tour["forms"])
    empty = {8: all(f["flops"] is None for f in forms), 9: all(f["energy_j"] is None for f in forms), 10: not flagged}
    rows: list[list[Any]] = []
    for f in forms:
        score = f["score"]
        flags: list[Child] = [
            tag("noisy") if f["noisy"] else None,
            tag("score assumed") if f["score_assumed"] else None,
        ]
        small = h("div", f"p95 {milliseconds(f['p95_ms'])}", class_="soft")
        bounds = percent(score).partition(" [")
        rows.append([
            named(f["name"], tour), f["variant"],
            ([bounds[0], h("div", bounds[1].strip() + bounds[2], class_="soft")], score["value"] if score else 0.0),
            ([milliseconds(f["ms"]), small], f["ms"]), number(f["per_s"], count), number(f["load_ms"], milliseconds),
            number(f["peak_bytes"], size), number(f["disk_bytes"], size), number(f["flops"], count),
            number(f["energy_j"], lambda j: DASH if j is None else f"{j:.3g} J"), flags,
        ])  # fmt: skip
    unit = forms[0]["unit"] if forms else "unit"
    names = ["right first", f"one {unit}", f"{unit}s/s", "load", "memory", "disk", "FLOPs", "energy"]
    heads = [("model", False), ("form", False), *((name, True) for name in names), ("", False)]
    keep = [i for i in range(len(heads)) if not empty.get(i)]
    return table([heads[i] for i in keep], [[row[i] for i in keep] for row in rows], sortable=True)


def _assumed(tour: Json) -> Html:
    lead = (
        "Scores and costs were measured on this machine. Nobody weighed these models on the devices of the example "
        "fleet: their speeds, links, prices and failures are stated in its file, and whatever is said above about "
        "placing rests on these statements."
    )
    return h("div", h("p", lead, class_="lead"), h("ul", [h("li", line) for line in tour["assumed"]], class_="plain"))


def _origin(tour: Json) -> Html:
    sources: dict[tuple[str, str], Json] = {}
    users: dict[tuple[str, str], list[str]] = {}
    for p in tour["packs"]:
        for s in p["data"]:
            key = (s["name"], s["version"])
            sources[key] = s
            users.setdefault(key, []).append(p["name"])
    rows = [
        [s["name"], s["version"], s["licence"], s["attribution"], DASH if s["rows"] is None else f"{s['rows']:,}",
         ", ".join(users[key])]
        for key, s in sources.items()
    ]  # fmt: skip
    heads = [(name, name == "rows") for name in ("data", "version", "licence", "attribution", "rows", "used by")]
    lines = [
        [named(p["name"], tour), h("code", p["digest"][:16]), _parents(p), p["preset"],
         DASH if p["seed"] is None else str(p["seed"]), "yes" if p["shareable"] else "no"]
        for p in tour["packs"]
    ]  # fmt: skip
    names = ("model", "digest", "made from", "preset", "seed", "may be passed on")
    lineage = [(name, False) for name in names]
    d = tour["device"]
    here = f"{d['cpu']}, {d['cores']} cores, {d['memory_bytes'] / 2**30:.1f} GiB, {d['system']} {d['machine']}, "
    here += "fingerprint "
    return h(
        "div", h("h3", "Data"), table(heads, rows), h("h3", "Lineage"), table(lineage, lines),
        h("h3", "Machine"), h("p", here, h("code", d["fingerprint"]), f"; {', '.join(d['features'])}"),
    )  # fmt: skip


def _parents(pack: Json) -> Child:
    made = [f"{x['role']} {x['name']}{', ' + x['licence'] if x['licence'] else ''}" for x in pack["parents"]]
    return "; ".join(made) or "nothing: trained from its data alone"
