"""The sections about placing: where each model runs and why, what an unplugged device changes, the other policies."""

from __future__ import annotations

from hedgerow.report import plots
from hedgerow.report.html import Child, Html, h
from hedgerow.report.look import digits
from hedgerow.report.parts import (
    DASH,
    Json,
    colours,
    figure,
    folded,
    form_named,
    percent,
    table,
    tag,
)
from hedgerow.weighing.show import milliseconds, size

SHOWN = ("latency_p95_ms", "latency_mean_ms", "value", "wasted_s")


# --- where and why ---------------------------------------------------------------------------------------------------
def where(tour: Json) -> Html:
    """Who takes how many requests, what each device runs, what keeps a better form away, and one request explained."""
    plan = tour["plan"]
    menu = plan["menus"][0]
    asked = " and ".join([*menu["needs"], *menu["limits"]]) or "nothing in particular"
    homes = " and ".join(plan["fleet"]["home"])
    lead = (
        f"{plan['requests']} requests of {tour['batch']} texts each arise at once on {homes}. Asked for: {asked}. Each "
        f"device runs the best-scoring form that meets this there; {plan['policy']} then decides who answers what."
    )
    picture = figure(_expected(plan), lambda w: plots.placement(plan, colours(tour), w))
    cards = [_device(device, tour) for device in menu["devices"]]
    return h("div", h("p", lead, class_="lead"), picture, h("div", cards, class_="cards"), _explained(tour))


def _expected(plan: Json) -> str:
    e = plan["expected"]
    words = (
        f"If all were as believed and nothing failed, the last answer would be home after {digits(e['makespan_s'])} s "
        f"and half of the requests would wait at most {digits(e['latency_p50_ms'] / 1e3)} s"
    )
    right = f"; {100 * e['value']:.1f} % of first answers would be right" if e["value"] is not None else ""
    return words + right + "."


def _device(device: Json, tour: Json) -> Html:
    chosen = device["options"][device["chosen"]] if device["chosen"] is not None else None
    jobs = sum(s["jobs"] for s in tour["plan"]["shares"] if s["device"] == device["device"])
    name = h(
        "h3",
        device["device"],
        h("span", f" {device['tier']}" if device["tier"] != device["device"] else "", class_="soft"),
    )
    if chosen is None:
        return h("div", name, h("p", device["binding"]), class_="card")
    parts: list[Child] = [
        name,
        h("p", form_named(f"{chosen['name']}/{chosen['variant']}", tour), class_="big"),
        h("p", f"{percent(chosen['score'])} right · a request takes {milliseconds(chosen['p50_ms'])}, p95 "
          f"{milliseconds(chosen['p95_ms'])} · {size(chosen['memory_bytes'])} ", tag(chosen["source"])),
        h("p", f"{jobs} request{'s' if jobs != 1 else ''}" if jobs else "no request: others are done sooner"),
    ]  # fmt: skip
    if device["next_better"] is not None:
        parts.append(h("p", h("b", "A better one stays away: "), device["binding"], ".", class_="soft"))
    else:
        parts.append(h("p", h("b", "A better one: "), "none that is known.", class_="soft"))
    cheaper = device["next_cheaper"]
    if cheaper is not None:
        o = device["options"][cheaper]
        words = f"{o['name']} {o['variant']}, p95 {milliseconds(o['p95_ms'])}, {size(o['memory_bytes'])}"
        score = f", {percent({'value': o['score']['value']})} right" if o["score"] else ""
        parts.append(h("p", h("b", "The next cheaper: "), words, score, ".", class_="soft"))
    return h("div", parts, class_="card", style=f"--tone:{colours(tour).get(chosen['name'], '')}")


def _explained(tour: Json) -> Html | None:
    parts: list[Child] = []
    for request in tour["explanation"]["requests"]:
        for job in request["jobs"]:
            terms = list(job["candidates"][0]["terms_ms"]) if job["candidates"] else []
            order = sorted(
                job["candidates"], key=lambda c: (not c["chosen"], c["total_ms"] is None, c["total_ms"] or 0)
            )
            rows = [
                [
                    h("span", c["device"], " ", tag("chosen") if c["chosen"] else None),
                    form_named(c["form"], tour),
                    *(DASH if c["terms_ms"][t] is None else milliseconds(c["terms_ms"][t]) for t in terms),
                    DASH if c["total_ms"] is None else h("b", milliseconds(c["total_ms"])),
                ]
                for c in order
                if not c["refused"]
            ]
            heads = [("device", False), ("form", False), *((t, True) for t in terms), ("answer after", True)]
            words = f"It arose on {request['home']}, and was decided by {job['rule']}"
            words += f"; {job['tied']} candidates were alike, and chance chose." if job["tied"] > 1 else "."
            parts += [h("h3", f"Why {request['request']} went where it went"), h("p", words), table(heads, rows)]
            away = [(c["device"], c["refused"]) for c in order if c["refused"]]
            away += [(d["device"], d["why"]) for d in job["not_eligible"]]
            parts += [h("p", f"Not {device}: {why}.", class_="soft") for device, why in away]
    return h("div", parts) if parts else None


# --- unplugged -------------------------------------------------------------------------------------------------------
def unplug(tour: Json) -> Html:
    """The plan with and without the device, and a run in which it goes while it works."""
    pulled, gone = tour["pulled"], tour["unplugged"]
    devices = [d["name"] for d in tour["plan"]["fleet"]["devices"]]
    lines = [(_words(r["label"], gone), pulled["timelines"][r["label"]]) for r in pulled["rows"]]
    caption = (
        "One simulated run each, same luck, one lane a core. Full colour: answering; pale: loading the model. Hatched: "
        "the device is away; a cross: it died there; red: work that died with it, which is then done again elsewhere."
    )
    picture = figure(caption, lambda w: plots.timeline(lines, devices, colours(tour), w))
    return h("div", _what_changes(tour), picture, h("h3", "Who takes over, by plan"), _moved(tour, devices))


def _words(label: str, gone: str) -> str:
    policy, _, rest = label.partition(", ")
    return f"{rest[:1].upper()}{rest[1:]}" if rest else f"{policy}, the {gone} stays"


def _what_changes(tour: Json) -> Html:
    said = []
    for outcome in (tour["outcome"], tour["pulled"]):
        for d in outcome["differences"]:
            if d["label"] != d["against"] and d["label"].startswith(d["against"]):
                words = d["label"].removeprefix(d["against"]).lstrip(", ")
                words += " from the start" if words.startswith("without") else ""
                said.append(h("li", h("b", words), f": {_effects(d)}"))
    lead = f"Against the same {tour['outcome']['seeds'][1]} simulated runs with the {tour['unplugged']}:"
    return h("div", h("p", lead, class_="lead"), h("ul", said, class_="plain"))


def _moved(tour: Json, devices: list[str]) -> Html:
    gone = tour["unplugged"]
    before = {s["device"]: s for s in tour["plan"]["shares"]}
    after = {s["device"]: s for s in tour["later"]["shares"]}

    def told(share: Json | None) -> list[Child]:
        if share is None:
            return [h("span", "unplugged", class_="soft"), DASH]
        return [form_named(share["form"], tour) if share["form"] else DASH, str(share["jobs"])]

    rows = [[name, *told(before[name]), *told(after.get(name))] for name in devices]
    heads = [
        ("device", False),
        (f"with the {gone}", False),
        ("requests", True),
        ("without it", False),
        ("requests", True),
    ]
    return table(heads, rows)


# --- policies --------------------------------------------------------------------------------------------------------
def policies(tour: Json) -> Html:
    """All scenarios with intervals, then pair by pair in words, whichever way it falls."""
    outcome = tour["outcome"]
    caption = (
        f"Mean over {outcome['seeds'][1]} seeds with its 95 % interval. In each seed all policies meet the same "
        "arrivals, failures, luck and errors of belief. Waits are those of answered requests; the share that stays "
        "unanswered is among the numbers."
    )
    picture = figure(caption, lambda w: plots.policies(outcome, SHOWN, w))
    said = [h("li", h("b", d["label"]), f" against {d['against']}: {_effects(d)}") for d in outcome["differences"]]
    shown = [m for m in (*SHOWN, "latency_p50_ms", "unfinished", "in_time", "makespan_s", "lost", "cost")
             if any(r["metrics"].get(m) for r in outcome["rows"])]  # fmt: skip
    rows = [
        [
            r["label"],
            *((_measure(m, r["metrics"].get(m)), (r["metrics"].get(m) or {"value": 0})["value"]) for m in shown),
        ]
        for r in outcome["rows"]
    ]
    heads = [("", False), *((plots.heading(m), True) for m in shown)]
    numbers = folded("All numbers", table(heads, rows, sortable=True))
    return h("div", picture, h("ul", said, class_="plain"), numbers)


def _measure(name: str, line: Json | None) -> str:
    if not line:
        return DASH
    scale = plots.SCALES.get(name, (1.0, ""))[0]
    value, low, high = (digits(line[k] * scale) for k in ("value", "low", "high"))
    return value if value == low == high else f"{value} [{low}, {high}]"


def _effects(difference: Json) -> str:
    """What a scenario changes, with intervals, and what its seeds cannot tell from nothing."""
    said = []
    for name, words, scale, unit in (
        ("latency_p95_ms", "p95 wait", 1e-3, "s"),
        ("value", "right answers", 100.0, "points"),
        ("unfinished", "unanswered", 100.0, "points"),
    ):
        line = difference["metrics"].get(name)
        if line is None or (name == "unfinished" and line["value"] == 0):
            continue
        value, low, high = (digits(line[k] * scale, signed=True) for k in ("value", "low", "high"))
        sure = "" if line["low"] > 0 or line["high"] < 0 else ", which these seeds cannot tell from nothing"
        said.append(f"{words} {value} {unit} [{low}, {high}]{sure}")
    return "; ".join(said) + "." if said else "nothing that both have a number for."
