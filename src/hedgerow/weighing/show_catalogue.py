"""Rich tables of the catalogue; they hold nothing that its JSON does not."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.cost import Device
from hedgerow.cost.predict import Prediction
from hedgerow.weighing import catalogue
from hedgerow.weighing.catalogue import GROUPS, Entry, Query
from hedgerow.weighing.fits import Fit
from hedgerow.weighing.show import count, milliseconds

_DASH = "–"
_DETAILED = 3  # so few rows are explained below the table
_NAME = 24
_WIDTHS = {"model": 20, "attention": 11, "L × d": 9}


def mebibytes(value: float | None) -> str:
    """'92', '1,203', '0.4': MiB without the unit."""
    if value is None:
        return _DASH
    mib = value / 2**20
    return f"{mib:,.0f}" if mib >= 10 else f"{mib:.1f}"


# head, right-aligned, and the width of terminal from which on the column is shown
_COLUMNS = (
    ("model", False, 0), ("released", False, 152), ("params", True, 0), ("body", True, 98), ("L × d", True, 0),
    ("attention", False, 0), ("weights", True, 0), ("KV", True, 0), ("buffers", True, 88), ("total", True, 0),
    ("FLOPs/token", True, 140), ("comm.", True, 126), ("prob.", True, 126), ("math", True, 126),
)  # fmt: skip


def catalogue_tables(
    query: Query, own: Sequence[Entry], survey: Sequence[Entry], width: int = 10_000
) -> list[RenderableType]:
    """The rows, then the details of few, then which count this is and where the numbers come from.

    ``width``: of the terminal; columns that people need least are left out where it is narrow.
    """
    shown = [i for i, (_, _, least) in enumerate(_COLUMNS) if width >= least]
    table = Table(title=_title(query, bool(survey)), title_justify="left", title_style="bold")
    for i in shown:
        head, right, _ = _COLUMNS[i]
        table.add_column(head, justify="right" if right else "left", min_width=_WIDTHS.get(head))
    for rows in (own, survey):
        for entry in rows:
            cells = _row(entry)
            table.add_row(*(cells[i] for i in shown))
        if rows is own and own and survey:
            table.add_section()
    few = [*own, *survey]
    parts: list[RenderableType] = [table if few else Text("No model passes this query.")]
    if few and len(few) <= _DETAILED:
        parts.extend(Text(line) for entry in few for line in _details(entry))
        parts.append(Text())
    short = {} if own and not survey else catalogue.too_short(query)
    if short:
        names = ", ".join(f"{name} ({positions:,})" for name, positions in short.items())
        parts.append(Text(f"Left out, since their positions are fewer than {query.context:,}: {names}."))
    parts.append(Text(_below(query, len(survey), len(own), bool(few)), style="dim"))
    return parts


def _title(query: Query, survey: bool) -> str:
    cache = "" if query.cache_k == query.cache_v == "f16" else f", {query.cache_k}/{query.cache_v} cache"
    room = "" if query.budget is None else f", room for {mebibytes(query.budget)}"
    kind = f"{query.format} weights" if survey else "weights as stored"
    return f"MiB with {kind} and {query.context:,} tokens of context{cache}{room}"


def _row(e: Entry) -> list[str | Text]:
    g = e.geometry
    heads = f"{_spread(g.heads)}/{_spread(g.kv_heads)}" if e.attention != "mla" else f"{_spread(g.heads)}"
    memory = e.memory
    scores = [getattr(e.scores, group) for group in GROUPS]
    return [
        Text(e.name if len(e.name) <= _NAME else e.name[: _NAME - 1] + "…", style="bold" if e.layout else ""),
        e.released,
        _millions(e.parameters),
        _millions(e.body),
        f"{g.layers} × {g.width}",
        f"{e.attention} {heads}" + (" ~" if g.window else ""),
        mebibytes(memory.weights if memory else None),
        mebibytes(memory.kv if memory else None),
        mebibytes(memory.compute if memory else None),
        Text(mebibytes(memory.total if memory else None), style="red" if e.fits is False else ""),
        count(e.flops_per_token),
        *("" if e.layout else _DASH if v is None else f"{v:.1f}" for v in scores),
    ]


def _millions(value: int | None) -> str:
    return _DASH if value is None else f"{value / 1e6:,.0f} M"


def _spread(value: int | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, int) else f"{min(value)}–{max(value)}"


def _details(e: Entry) -> list[str]:
    g = e.geometry
    names = catalogue.load().data_sets
    lines = [f"{e.name}" + (f" ({e.owner})" if e.owner else "") + (f": {e.where}" if e.where != "survey" else "")]
    ffn = f"FFN {_spread(g.ffn)}{' gated' if g.gated else ''}, {g.activation}".rstrip(", ")
    shape = f"head {g.head}, {ffn}, {g.norm or 'norm not stated'}, {g.vocabulary:,} tokens"
    lines.append(f"  shape     {shape} ({'tied' if g.tied else 'untied'} head), {g.positions:,} positions")
    if g.window:
        seen = "every layer" if g.windowed is None else f"{len(g.windowed)} of {g.layers} layers"
        lines.append(f"  window    {g.window:,} tokens in {seen}")
    if e.mix:
        total = sum(e.mix.values())
        shares = ", ".join(f"{100 * n / total:.0f} % {f}" for f, n in e.mix.items() if n >= 0.005 * total)
        lines.append(f"  weights   {e.format}: {shares}; {e.bits_per_weight:.2f} bits a weight")
    if e.where == "survey":
        sets = ", ".join(names[key] for key in e.data) if e.data else "not open"
        tokens = "unknown" if e.tokens_e9 is None else f"{e.tokens_e9:,.0f}·10⁹"
        lines.append(
            f"  trained   {tokens} tokens; data: {sets}; {', '.join(e.algorithm) or 'no special algorithm known'}"
        )
    lines += [f"  differs   {d.field}: authors' table {d.table}; {d.other} ({d.source})" for d in e.differs]
    lines += [f"  context   {e.beyond}"] if e.beyond else []
    lines += [f"  note      {e.note}"] if e.note else []
    return lines


def _below(query: Query, shown: int, mine: int, any_rows: bool) -> str:
    known = catalogue.load()
    lines = [catalogue.counts(shown, mine)]
    if any_rows:
        lines.append(
            "By formula, nothing measured. Body: parameters that every token is multiplied by, more than params (those "
            "stored) where layers share one FFN; comm., prob., math: published means; attention: query and "
            f"key-value heads, ~ sliding window; buffers: llama.cpp, flash attention, micro-batch {query.ubatch}; "
            f"FLOPs of one token at depth {query.context // 2:,}. The runtime itself comes on top (tens of MiB)."
        )
    if shown and any_rows:
        later = ", ".join(known.later)
        lines.append(f"Scores in %: {known.source['scores']}. Only in version 3, sizes partly unknown: {later}.")
    return "\n".join(lines)


def times_table(found: Sequence[Entry], device: Device, threads: int, prompt: int, depth: int) -> list[RenderableType]:
    """Predicted times on a device, with band; below it the method, what is assumed, and what would measure it."""
    title = f"Predicted on {device.name}, {threads} thread{'s' if threads > 1 else ''}: nothing of this was measured"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("model", min_width=20)
    for head in (f"{prompt:,} tokens of prompt", "from – to", f"a step at depth {depth:,}", "from – to", "tokens/s"):
        table.add_column(head, justify="right")
    notes: dict[str, Prediction] = {}
    for e in found:
        cells = [e.name if len(e.name) <= _NAME else e.name[: _NAME - 1] + "…"]
        if not e.predicted:
            table.add_row(
                *cells,
                Text(
                    ("too few positions" if e.beyond else "does not fit") if e.memory else _DASH,
                    style="red" if e.memory else "",
                ),
            )
            continue
        for phase in ("prefill", "decode"):
            p = e.predicted[phase]
            cells += [milliseconds(p.ms), f"{milliseconds(p.low_ms)} – {milliseconds(p.high_ms)}"]
            before = notes[phase].assumed if phase in notes else ()
            notes[phase] = p.model_copy(update={"assumed": tuple(dict.fromkeys([*before, *p.assumed]))})
        table.add_row(*cells, f"{1e3 / e.predicted['decode'].ms:.3g}")
    return [table, *(Text(f"{phase}: {p.note()}", style="dim") for phase, p in notes.items())]


def fit_table(answers: Sequence[Fit]) -> Table:
    """Needed against available, part by part."""
    table = Table(title="Does it fit?", title_justify="left", title_style="bold")
    for head in ("model", "context"):
        table.add_column(head)
    for head in ("weights", "KV cache", "buffers", "repacked", "needed", "available MiB", "longest context"):
        table.add_column(head, justify="right")
    table.add_column("")
    for a in answers:
        n = a.needed
        parts = [mebibytes(v) for v in (n.weights, n.kv, n.compute, n.other, n.total, a.available)]
        longest = _DASH if a.largest_context is None else f"{a.largest_context:,}"
        wrong = "too few positions" if a.context > a.positions else "does not fit"
        verdict = Text("fits", style="green") if a.fits else Text(wrong, style="red")
        table.add_row(a.name, f"{a.context:,}", *parts, longest, verdict)
    return table
