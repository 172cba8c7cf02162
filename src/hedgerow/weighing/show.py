"""Rich tables of what ``weigh`` and ``compare`` found; they hold nothing that the JSON does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from hedgerow.cost import Cost
from hedgerow.weighing import paired

# Columns of the table of costs that every row has; energy and operations are shown where any row has them.
_DASH = "–"


def milliseconds(value: float | None) -> str:
    """'0.0412 ms', '8.21 ms', '1.53 s': three digits that mean something."""
    if value is None:
        return _DASH
    return f"{value / 1e3:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def size(value: float | None) -> str:
    """Bytes in decimal units: '830 B', '512 kB', '91.2 MB'."""
    if value is None:
        return _DASH
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}" if value / scale < 1000 else f"{value / scale:.0f} {unit}"
    return f"{value:.0f} B"


def count(value: float | None) -> str:
    """Operations or rates in engineering prefixes: '1.21 G'."""
    if value is None:
        return _DASH
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.3g}"


def interval(score: Mapping[str, Any]) -> str:
    """'0.612 [0.588, 0.637]'; without an interval the value alone."""
    low, high = score.get("low"), score.get("high")
    return f"{score['value']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def costs_table(costs: Sequence[Cost], names: Mapping[str, str]) -> Table:
    """One line a row; ``names``: digest -> name of the Pack. Noisy, assumed and predicted rows carry the word."""
    devices = {c.device.name for c in costs}
    table = Table(title=f"Costs on {', '.join(sorted(devices))}" if devices else "Costs", title_justify="left")
    energy, flops = any(c.energy_j is not None for c in costs), any(c.flops is not None for c in costs)
    for head in ("Pack", "form", "phase", "size"):
        table.add_column(head)
    for head in ("batch", "p50", "p95", "per second", "peak", "on disk"):
        table.add_column(head, justify="right")
    if flops:
        table.add_column("FLOPs", justify="right")
    if energy:
        table.add_column("energy", justify="right")
    table.add_column("")
    before = ("", "")
    for c in costs:
        this = (names.get(c.pack, c.pack[:12]), c.variant)
        if before[0] and this != before:
            table.add_section()
        rate = _DASH if c.phase in ("load", "ttft") else f"{count(c.units / c.p50_ms * 1e3)} {c.unit}s"
        row = [
            *(this if this != before else ("", "")),
            c.phase,
            " ".join(f"{v} {k}" for k, v in c.size.items()),
            "" if c.phase == "load" else str(c.batch),
            milliseconds(c.p50_ms),
            milliseconds(c.p95_ms) if c.repeats > 1 else _DASH,
            rate,
            size(c.peak_bytes),
            size(c.disk_bytes),
        ]
        row += [count(c.flops)] if flops else []
        row += [_DASH if c.energy_j is None else f"{c.energy_j:.3g} J"] if energy else []
        words = (["noisy"] if c.noisy else []) + ([c.source] if c.source != "measured" else [])
        table.add_row(*row, Text(" ".join(words), style="yellow"))
        before = this
    return table


def parts_table(name: str, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Time of a decoder by part and phase, beside the share of operations that the formula gives to each."""
    table = Table(title=f"{name}: time by operator, torch, 50 tokens", title_justify="left")
    for head in ("phase", "part"):
        table.add_column(head)
    for head in ("time", "of the time", "FLOPs", "of the FLOPs"):
        table.add_column(head, justify="right")
    for phase, parts in found.items():
        total = sum(p["flops"] for p in parts.values()) or 1.0
        for part, p in parts.items():
            shares = f"{100 * p['share']:.0f} %", count(p["flops"]), f"{100 * p['flops'] / total:.0f} %"
            table.add_row(phase if part == "attention" else "", part, milliseconds(p["ms"]), *shares)
    return table


def memory_table(costs: Sequence[Cost], names: Mapping[str, str]) -> Table:
    """Memory of decoders by part, as each source says; one line a (form, context, source), of the largest batch.

    resident: what the process grew by since before loading; it counts only what was touched, and what is mapped.
    """
    table = Table(
        title="Memory", title_justify="left", caption="resident counts what was touched, buffers what was reserved",
        caption_justify="left",
    )  # fmt: skip
    for head in ("Pack", "form", "context", "source"):
        table.add_column(head)
    for head in ("weights", "KV cache", "compute", "other", "all", "off"):
        table.add_column(head, justify="right")
    last = {(c.pack, c.variant, str(c.options.get("context", ""))): c for c in costs if c.memory}
    for (pack, form, context), c in last.items():
        told = c.memory.get("printed") or c.memory.get("formula")
        cells = [names.get(pack, pack[:12]), form, f"{context} x {c.batch}"]
        for source, m in c.memory.items():
            off = _DASH
            if source == "formula" and told is not None and m.total and told.total:
                off = f"{100 * (m.total / told.total - 1):+.1f} %"
            table.add_row(*cells, source, *(size(v) for v in (m.weights, m.kv, m.compute, m.other, m.total)), off)
            cells = ["", "", ""]
    return table


def scores_table(lines: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Table:
    """Score lines, newest last, one column a metric that any line has."""
    metrics = list(dict.fromkeys(m for line in lines for m in line["metrics"]))
    table = Table(title="Scores", title_justify="left")
    for head in ("Pack", "form", "Task", "split", "n", *metrics, "against the base form"):
        table.add_column(head)
    for line in lines:
        cells = [interval(line["metrics"][m]) if m in line["metrics"] else _DASH for m in metrics]
        task = line["task"]
        table.add_row(
            names.get(line["pack"], line["pack"][:12]),
            line["variant"],
            f"{task['name']} {task['digest'][:8]}",
            task["split"],
            str(task["n"]),
            *cells,
            against(line.get("against")),
        )
    return table


def against(difference: Mapping[str, Any] | None) -> str:
    """'-0.004 [-0.009, +0.001] accuracy against torch'."""
    if not difference:
        return ""
    found = difference["difference"]
    if found is None:
        return str(difference["why"])
    return (
        f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}] "
        f"{difference['metric']} against {difference['variant']}"
    )


def compare_tables(result: Mapping[str, Any]) -> list[Table]:
    """One table a group: a group is one Task and split, so that no two tests share an axis. A star is the front."""
    tables = []
    x, y = result["x"]["name"], result["y"]["name"]
    for group in result["groups"]:
        task = group["task"]
        title = f"{y} against {x}" + (f" · {task['name']}, {task['split']} split, n = {task['n']}" if task else "")
        table = Table(
            title=title, title_justify="left", caption="★ no other here is better in both", caption_justify="left"
        )
        for head in ("", "Pack", "form"):
            table.add_column(head)
        for head in (x, y, "on disk", "peak", "energy"):
            table.add_column(head, justify="right")
        table.add_column("")
        for p in group["points"]:
            words = (["noisy"] if p["noisy"] else []) + [_doubt(why) for why in p["assumed"]]
            words += [paired.words(p["against"])] if p.get("against") else []
            table.add_row(
                "★" if p["front"] else "",
                p["name"],
                p["variant"],
                _quantity(x, p, "x"),
                _quantity(y, p, "y"),
                size(p["disk_bytes"]),
                size(p["peak_bytes"]),
                _DASH if p["energy_j"] is None else f"{p['energy_j']:.3g} J",
                Text(", ".join(words), style="yellow"),
            )
        tables.append(table)
    return tables


def _doubt(why: str) -> str:
    """A predicted row's note says 'predicted by …' itself."""
    return why if why.startswith("predicted ") else f"assumed: {why}"


def _quantity(name: str, point: Mapping[str, Any], axis: str) -> str:
    value = point[axis]
    if name.endswith("_ms"):
        return milliseconds(value)
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_per_s") or name == "flops":
        return count(value)
    return interval({"value": value, "low": point.get(f"{axis}_low"), "high": point.get(f"{axis}_high")})
