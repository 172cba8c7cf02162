"""What people read of plans, explanations and outcomes: drawn from their JSON and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from hedgerow.placing.quantities import in_words, parse_limits

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_DASH = "–"
_ASSUMED = "assumed"


def as_text(parts: Sequence[RenderableType], width: int = 120) -> str:
    """Tables as plain text, for ``print`` and for pipes."""
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, highlight=False, color_system=None, markup=False, emoji=False)
    for part in parts:
        console.print(part)
    return out.getvalue().rstrip()


def _table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def ms(value: float | None) -> str:
    """A time for a table."""
    return _DASH if value is None else in_words(value, "time")


def amount(value: float | None) -> str:
    """Bytes for a table."""
    return _DASH if value is None else in_words(value, "bytes")


def money(value: float | None, currency: str = "") -> str:
    """A price for a table."""
    return _DASH if value is None else f"{value:.3g} {currency}".strip() if value else "0"


def interval(line: Mapping[str, Any] | None) -> str:
    """``0.61`` with ``[0.58, 0.64]`` below."""
    if not line:
        return _DASH
    low, high = line.get("low"), line.get("high")
    return f"{line['value']:.3f}" + (f"\n[{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _form(option: Mapping[str, Any]) -> str:
    return f"{option['name']}/{option['variant']}" if option["variant"] else str(option["name"])


# --- plan ------------------------------------------------------------------------------------------------------------
def plan_tables(plan: Mapping[str, Any]) -> list[RenderableType]:
    """Which form runs on which device, what keeps a better one away, what its neighbours would cost; assumptions."""
    parts: list[RenderableType] = []
    for menu in plan["menus"]:
        parts += [_chosen_table(menu, plan), _neighbours_table(menu, plan["fleet"]["currency"])]
    parts.append(_expected(plan))
    parts += _beyond_limit(plan, plan["expected"]["latency_p95_ms"], "as planned")
    return [*parts, *assumption_lines(plan["assumptions"])]


def _chosen_table(menu: Mapping[str, Any], plan: Mapping[str, Any]) -> Table:
    asked = [*menu["needs"], *menu["limits"]]
    title = f"{menu['work']}: the best form on each device" + (f" with {', '.join(asked)}" if asked else "")
    metric, currency = menu["metric"] or "score", plan["fleet"]["currency"]
    numbers = (metric, "p50", "p95", "network", "memory", currency, "requests")
    table = _table(title, "device", "tier", "form", *numbers, "rests on", numbers=numbers)
    jobs: dict[tuple[str, str], int] = {}
    for share in plan["shares"]:
        jobs[share["device"], share["form"]] = share["jobs"]
    for device in menu["devices"]:
        if device["chosen"] is None:
            table.add_row(device["device"], device["tier"], "nothing may run here")
            continue
        o = device["options"][device["chosen"]]
        score = interval(o["score"]) + (" *" if o["score_note"] else "")
        times = [ms(o[key]) for key in ("p50_ms", "p95_ms", "net_ms")]
        count = str(jobs.get((device["device"], _form(o)), 0))
        table.add_row(
            device["device"], device["tier"], _form(o).replace("/", "\n"), score, *times, amount(o["memory_bytes"]),
            money(o["cost"]), count, _rests(o),
        )  # fmt: skip
    table.caption = "p50, p95: one request on the idle device; network: there and back from the farthest home"
    table.caption_justify = "left"
    return table


def _rests(option: Mapping[str, Any]) -> str:
    words = option["source"]
    return f"{words} *" if option["score_note"] and words == "measured" else str(words)


def _neighbours_table(menu: Mapping[str, Any], currency: str) -> Table:
    table = _table("What stands in the way of a better form, and what the neighbours would cost",
                   "device", "binding constraint", "next better", "next cheaper")  # fmt: skip
    for device in menu["devices"]:
        options = device["options"]
        better, cheaper = device["next_better"], device["next_cheaper"]
        table.add_row(
            device["device"],
            device["binding"],
            _neighbour(options[better], currency) if better is not None else _DASH,
            _neighbour(options[cheaper], currency) if cheaper is not None else _DASH,
        )
    return table


def _neighbour(o: Mapping[str, Any], currency: str) -> str:
    score = f"{o['score']['value']:.3f}, " if o["score"] else ""
    price = f", {money(o['cost'], currency)}" if o["cost"] else ""
    return f"{_form(o)}: {score}p95 {ms(o['p95_ms'])}, {amount(o['memory_bytes'])}{price}"


def _expected(plan: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    e = plan["expected"]
    line = (
        f"{plan['requests']} requests under {plan['policy']}, if all is as believed and nothing fails: "
        f"latency mean {ms(e['latency_mean_ms'])}, p50 {ms(e['latency_p50_ms'])}, p95 {ms(e['latency_p95_ms'])}; "
        f"all answered after {ms(e['makespan_s'] * 1e3)}"
    )
    if e["value"] is not None:
        metric = next((menu["metric"] for menu in plan["menus"] if menu["metric"]), "score")  # plain programs have none
        line += f"; mean {metric} {e['value']:.3f}"
    if e["cost"]:
        line += f"; cost {money(e['cost'], plan['fleet']['currency'])}"
    return Text(line)


def _beyond_limit(plan: Mapping[str, Any], p95_ms: float | None, when: str) -> list[RenderableType]:
    """One line where requests under load take longer than a limit that the forms keep one request at a time."""
    from rich.text import Text

    if p95_ms is None or len(plan["menus"]) != 1:  # of an application a limit concerns each job, not the request
        return []
    limits = [x for x in parse_limits(plan["menus"][0]["limits"]) if x.name in ("p95", "reply_p95")]
    missed = [x.text for x in limits if not x.holds(p95_ms)]
    if not missed:
        return []
    line = f"{' and '.join(dict.fromkeys(missed))} concerns one request on an idle device; under this load, {when}, "
    return [Text(line + f"p95 is {ms(p95_ms)}, with waiting and transfers", style="yellow")]


def assumption_lines(lines: Sequence[str]) -> list[RenderableType]:
    """Everything that nobody measured; nothing where all was."""
    from rich.text import Text

    if not lines:
        return []
    return [Text(""), Text("Assumed, not measured:", style="yellow"), *(Text(f"  {line}") for line in lines)]


# --- explanation -----------------------------------------------------------------------------------------------------
def explanation_tables(explanation: Mapping[str, Any]) -> list[RenderableType]:
    """One table a job: every candidate with each term of its score, or why it was refused."""
    from rich.text import Text

    parts: list[RenderableType] = []
    for request in explanation["requests"]:
        for job in request["jobs"]:
            terms = list(job["candidates"][0]["terms_ms"]) if job["candidates"] else []
            tied = f", {job['tied']} alike" if job["tied"] > 1 else ""
            title = f"{request['request']} · {job['job']} · from {request['home']} · {job['rule']}{tied}"
            shares = list(job["candidates"][0]["shares"]) if job["candidates"] else []
            scored = any(c["score"] is not None for c in job["candidates"])
            heads = (*terms, *shares, "score" if scored else "total")
            table = _table(title, "", "device", "form", *heads, "", numbers=heads)
            for c in sorted(job["candidates"], key=_candidate_order):
                numbers = [ms(c["terms_ms"][t]) for t in terms]
                numbers += [_DASH if c["shares"][s] is None else f"{c['shares'][s]:.3g}" for s in shares]
                total = (_DASH if c["score"] is None else f"{c['score']:.4g}") if scored else ms(c["total_ms"])
                words = c["refused"] or (_ASSUMED if c["assumed"] else "")
                table.add_row("→" if c["chosen"] else "", c["device"], c["form"], *numbers, total, words)
            parts.append(table)
            parts += [Text(f"  {d['device']}: {d['why']}") for d in job["not_eligible"]]
    return parts


def _candidate_order(candidate: Mapping[str, Any]) -> tuple[bool, bool, float]:
    total = candidate["total_ms"] if candidate["score"] is None else candidate["score"]
    return not candidate["chosen"], total is None, total or 0.0


# --- outcome ---------------------------------------------------------------------------------------------------------
_SHOWN = (
    "latency_mean_ms", "latency_p50_ms", "latency_p95_ms", "unfinished", "in_time", "value", "cost", "energy_j",
    "wasted_s",
)  # fmt: skip
_HEADS = {
    "latency_mean_ms": "latency mean", "latency_p50_ms": "p50", "latency_p95_ms": "p95", "unfinished": "unfinished",
    "in_time": "in time", "value": "mean score", "cost": "cost", "wasted_s": "wasted", "energy_j": "energy (J)",
}  # fmt: skip


def outcome_tables(outcome: Mapping[str, Any], plan: Mapping[str, Any] | None = None) -> list[RenderableType]:
    """Scenarios with intervals, differences to the first, and who was busy; assumptions.

    ``plan``: the one that stands above it, whose assumptions are not said again; a limit that its requests miss under
    the simulated load is named.
    """
    first, count = outcome["seeds"]
    shown = [m for m in _SHOWN if any(r["metrics"][m] for r in outcome["rows"])]
    heads = {m: outcome["metric"] if m == "value" and outcome["metric"] else _HEADS[m] for m in shown}
    title = f"{outcome['requests']} requests, mean over {count} seeds from {first} [95 % interval]"
    parts: list[RenderableType] = [_measures_table(title, outcome["rows"], heads)]
    if outcome["differences"]:
        against = outcome["differences"][0]["against"]
        title = f"Difference to {against}, seed by seed"
        parts.append(_measures_table(title, outcome["differences"], heads, signed=True))
    parts.append(_busy_table(outcome["rows"]))
    if plan is not None:
        simulated = outcome["rows"][0]["metrics"]["latency_p95_ms"]
        parts += _beyond_limit(plan, simulated and simulated["value"], "simulated")
    said = plan["assumptions"] if plan is not None else ()
    return [*parts, *assumption_lines([line for line in outcome["assumptions"] if line not in said])]


def _measures_table(
    title: str, rows: Sequence[Mapping[str, Any]], heads: Mapping[str, str], signed: bool = False
) -> Table:
    """One line a measure, one column a scenario."""
    labels = [row["label"] for row in rows]
    table = _table(title, "", *labels, numbers=labels)
    for name, head in heads.items():
        table.add_row(head, *(_measure(name, row["metrics"][name], signed) for row in rows))
    return table


def _measure(name: str, line: Mapping[str, Any] | None, signed: bool = False) -> str:
    if line is None:
        return _DASH
    words = [_number(name, line[end], signed) for end in ("value", "low", "high")]
    return words[0] if words[1] == words[2] == words[0] else f"{words[0]} [{words[1]}, {words[2]}]"


def _number(name: str, value: float, signed: bool) -> str:
    sign = "-" if value < 0 else "+" if signed and value > 0 else ""
    value = abs(value)
    if name.endswith("_ms"):
        return sign + in_words(value, "time")
    if name.endswith("_s"):
        return sign + in_words(value * 1e3, "time")
    if name in ("unfinished", "in_time"):
        return f"{sign}{100 * value:.1f}%"
    return f"{sign}{value:.3f}" if name == "value" else f"{sign}{value:.3g}"


def _busy_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    labels = [row["label"] for row in rows]
    table = _table("Share of each device's slots in use, and requests done there", "device", "tier", *labels)
    names = list(dict.fromkeys((d["device"], d["tier"]) for row in rows for d in row["devices"]))
    for name, tier in names:
        cells = []
        for row in rows:
            found = next((d for d in row["devices"] if d["device"] == name), None)
            cells.append(_DASH if found is None else _busy(found))
        table.add_row(name, tier, *cells)
    return table


def _busy(device: Mapping[str, Any]) -> str:
    done = ", ".join(f"{count:.0f} {form}" for form, count in device["jobs"].items())
    return f"{100 * device['utilisation']:.0f}%" + (f" ({done})" if done else "")
