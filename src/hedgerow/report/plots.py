"""The pictures of the report; each takes plain JSON and gives an SVG text, wide or narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hedgerow.report.look import AMBER, GREEN, INK, RED, SOFT, Width, colour_of, digits, drawing, marker_of, plain, svg
from hedgerow.weighing.show import milliseconds, size

Json = Mapping[str, Any]
_TIMES = tuple(mantissa * 10.0**power for power in range(-3, 6) for mantissa in (1, 3))


def tradeoff(group: Json, x: str, y: str, width: Width, name: str = "tradeoff") -> str:
    """What each point of accuracy costs: a group of ``weighing.compare`` with milliseconds across and a score up.

    Colour is the Pack, marker the form, the ring's area the bytes on disk; the line joins those that nobody beats.
    """
    from matplotlib.ticker import MaxNLocator

    points = [p for p in group["points"] if p["x"] > 0]
    colours = colour_of([p["name"] for p in points])
    markers = marker_of(sorted({p["variant"] for p in points}))
    with drawing(width, 4.6 if width == "wide" else 4.9) as (figure, axes):
        axes.set_xscale("log")
        front = [p for p in points if p["front"]]
        axes.plot([p["x"] for p in front], [100 * p["y"] for p in front], color=GREEN, lw=1.2, ls=":", zorder=1)
        for p in points:
            colour = colours[p["name"]]
            if p.get("y_low") is not None and p.get("y_high") is not None:
                axes.vlines(p["x"], 100 * p["y_low"], 100 * p["y_high"], color=colour, lw=1.6, alpha=0.75, zorder=2)
            axes.scatter(p["x"], 100 * p["y"], s=_area(p["disk_bytes"]), color=colour, alpha=0.16, lw=0, zorder=1)
            face = "white" if p["assumed"] else colour
            axes.scatter(p["x"], 100 * p["y"], s=42, marker=markers[p["variant"]], facecolor=face, edgecolor=colour,
                         linewidth=1.5, zorder=3)  # fmt: skip
            if width == "wide":  # on a phone the table says it
                low = p["y_low"] if p.get("y_low") is not None else p["y"]
                axes.annotate(f"{p['variant']}\n{size(p['disk_bytes'])}", (p["x"], 100 * low), (0, -4), ha="center",
                              va="top", textcoords="offset points", fontsize=8, color=SOFT)  # fmt: skip
        _time_axis(axes, [p["x"] for p in points], width)
        axes.set_ylabel(f"{plain(y)}, % of texts" if y != "top1" else "right at first answer, % of texts")
        axes.set_xlabel("milliseconds for one text, logarithmic")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(y=0.2)
        _keys(figure, colours, markers, points, width)
        return svg(figure, f"{name}-{width}", f"{plain(y)} against {plain(x)} of {len(points)} forms")


def _area(nbytes: float | None) -> float:
    """Points² of the ring of a model: area follows bytes, 100 MB = 900."""
    return 60 + 9.0 * (nbytes or 0.0) / 1e6


def _time_axis(axes: Any, values: Sequence[float], width: Width) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    low, high = min(values, default=1.0) / 2, max(values, default=1.0) * 3
    times = _TIMES if width == "wide" else _TIMES[::2]
    ticks = [t for t in times if low <= t <= high] or [low, high]
    axes.set_xlim(min(low, ticks[0]), max(high, ticks[-1]))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticklabels([milliseconds(t) for t in ticks])


def _keys(
    figure: Any, colours: Mapping[str, str], markers: Mapping[str, str], points: Sequence[Json], width: Width
) -> None:
    """Packs and forms, above the picture so that nothing is covered."""
    from matplotlib.lines import Line2D

    def dot(label: str, **how: Any) -> Any:
        return Line2D([], [], ls="", label=label, **how)

    packs = [dot(plain(n, 24), marker="o", color=c, ms=7) for n, c in colours.items()]
    forms = [dot(n, marker=m, mfc="none", mec=INK, ms=6) for n, m in markers.items()]
    if any(p["assumed"] for p in points):
        forms.append(dot("hollow: score assumed", marker="o", mfc="white", mec=SOFT, ms=6))
    figure.legend(handles=[*packs, *forms], loc="outside upper left", ncols=2 if width == "narrow" else 5,
                  handletextpad=0.6, columnspacing=1.2, labelspacing=0.5, borderpad=0)  # fmt: skip


def placement(plan: Json, colours: Mapping[str, str], width: Width, name: str = "placement") -> str:
    """How many requests each device takes, and which model and form does them there."""
    rows = [(d, [s for s in plan["shares"] if s["device"] == d["name"]]) for d in plan["fleet"]["devices"]]
    most = max((s["jobs"] for s in plan["shares"]), default=1) or 1
    with drawing(width, 0.62 * len(rows) + 0.75) as (figure, axes):
        for y, (_, shares) in enumerate(rows):
            left = 0
            for share in shares:
                axes.barh(
                    y + 0.14, share["jobs"], left=left, height=0.4, color=colour_for(share["form"], colours), lw=0
                )
                left += share["jobs"]
            words = " + ".join(f"{plain(s['form'], 34)}: {s['jobs']}" for s in shares if s["jobs"])
            axes.text(0, y - 0.27, words or "no request", fontsize=9, color=INK if words else SOFT, va="center")
        axes.set_yticks(range(len(rows)), [plain(d["name"], 14) for d, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.55)
        axes.set_xlim(0, most * 1.02)
        axes.tick_params(length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"of {plan['requests']} requests")
        return svg(figure, f"{name}-{width}", f"requests per device of {plan['requests']}")


def colour_for(form: str, colours: Mapping[str, str]) -> str:
    """Colour of ``name/variant`` by the name."""
    return colours.get(form.rpartition("/")[0] or form, SOFT)


def timeline(
    scenarios: Sequence[tuple[str, Json]], devices: Sequence[str], colours: Mapping[str, str], width: Width,
    name: str = "timeline",
) -> str:  # fmt: skip
    """Simulated runs one above the other on one clock: who did what when, who was away, what was lost.

    A lane is a core slot of a device; hatched grey is a device that is away, a cross its death, red what was lost.
    """
    span = max((b["end"] for _, t in scenarios for b in t["bars"]), default=1.0)
    lanes = {d: 1 + max((b["lane"] for _, t in scenarios for b in t["bars"] if b["device"] == d), default=0)
             for d in devices}  # fmt: skip
    each = 0.19 * sum(lanes.values()) + 0.16 * len(devices) + 0.75
    with drawing(width, each * len(scenarios) + 0.3, nrows=len(scenarios), sharex=True, squeeze=False) as (
        figure,
        all_,
    ):
        for axes, (title, line) in zip(all_[:, 0], scenarios, strict=True):
            _lanes(axes, line, devices, lanes, colours, span)
            axes.set_title(plain(title, 60))
        all_[-1, 0].set_xlabel("seconds since the first request")
        return svg(figure, f"{name}-{width}", f"timeline of {len(scenarios)} simulated runs")


def _lanes(
    axes: Any, line: Json, devices: Sequence[str], lanes: Mapping[str, int], colours: Mapping[str, str], span: float
) -> None:
    base, ticks = 0.0, []
    for device in devices:
        high = 0.19 * lanes[device]
        ticks.append(base + high / 2)
        for down in (d for d in line["downs"] if d["device"] == device and d["start"] < span):
            end = min(down["end"], span)
            axes.broken_barh([(down["start"], end - down["start"])], (base, high), facecolor="#e3e6e4", hatch="////",
                             edgecolor="#b8bfbb", lw=0, zorder=1)  # fmt: skip
            axes.plot(down["start"], base + high / 2, marker="x", ms=8, mew=2.2, color=RED, zorder=5, clip_on=False)
        for (lane, form, what, lost), pieces in _merged(line, device, span / 500).items():
            colour = RED if lost else colour_for(form, colours)
            axes.broken_barh(pieces, (base + 0.19 * lane + 0.02, 0.15), facecolor=colour, lw=0,
                             alpha=0.4 if what == "load" else 1.0, zorder=4 if lost else 3)  # fmt: skip
        base += high + 0.16
    axes.set_yticks(ticks, [plain(d, 14) for d in devices])
    axes.set_ylim(base - 0.1, -0.08)
    axes.set_xlim(0, span)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _merged(line: Json, device: str, gap: float) -> dict[tuple[int, str, str, bool], list[tuple[float, float]]]:
    """(start, length) of the bars of one device by (lane, form, what, lost); those closer than ``gap`` are joined,
    which nobody sees and which keeps the picture small."""
    found: dict[tuple[int, str, str, bool], list[tuple[float, float]]] = {}
    for bar in sorted((b for b in line["bars"] if b["device"] == device), key=lambda b: b["start"]):
        pieces = found.setdefault((bar["lane"], bar["form"], bar["what"], bar["lost"]), [])
        if pieces and bar["start"] - sum(pieces[-1]) < gap and not bar["lost"]:
            pieces[-1] = (pieces[-1][0], bar["end"] - pieces[-1][0])
        else:
            pieces.append((bar["start"], bar["end"] - bar["start"]))
    return found


def policies(outcome: Json, measures: Sequence[str], width: Width, name: str = "policies") -> str:
    """Scenarios side by side, a dot and its 95 % interval over the seeds for each measure."""
    rows = outcome["rows"]
    shown = [m for m in measures if any(r["metrics"].get(m) for r in rows)]
    wide = width == "wide"
    height = 0.34 * len(rows) + 0.8
    shape = {"ncols": len(shown), "sharey": True} if wide else {"nrows": len(shown)}
    with drawing(width, height if wide else height * len(shown), squeeze=False, **shape) as (figure, all_):
        for axes, measure in zip(all_.ravel(), shown, strict=True):
            scale = SCALES.get(measure, (1.0, ""))[0]
            for y, row in enumerate(rows):
                line = row["metrics"].get(measure)
                if line:
                    colour = GREEN if y == 0 else AMBER if row["policy"] == rows[0]["policy"] else SOFT
                    axes.hlines(y, line["low"] * scale, line["high"] * scale, color=colour, lw=2.2)
                    axes.plot(line["value"] * scale, y, "o", color=colour, ms=6)
                    axes.annotate(digits(line["value"] * scale), (line["value"] * scale, y), (0, 6), ha="center",
                                  textcoords="offset points", fontsize=8.5, color=INK)  # fmt: skip
            axes.set_title(heading(measure))
            axes.set_yticks(range(len(rows)), [plain(r["label"], 30).replace(" without", "\nwithout") for r in rows])
            axes.set_ylim(len(rows) - 0.5, -0.65)
            axes.margins(x=0.18)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
        return svg(figure, f"{name}-{width}", f"{len(rows)} scenarios over {outcome['seeds'][1]} seeds")


def coverage(panels: Sequence[Json], width: Width, name: str = "coverage") -> str:
    """Accuracy of the answered texts against the share that is answered, a panel a question and a line a model.

    A marker is what a threshold that was set beforehand, for 90 or 95 % on dev, really came to on test.
    """
    fullest = max(panels, key=lambda panel: len(panel["order"]))
    keys = list(dict.fromkeys(key for panel in (fullest, *panels) for key in panel["order"]))
    labels = {key: panel["lines"][key]["label"] for panel in panels for key in panel["order"]}
    colours, styles = colour_of(keys), dict(zip(keys, ("-", "--", "-.", ":"), strict=False))
    wide = width == "wide"
    shape = {"ncols": len(panels), "sharey": True} if wide else {"nrows": len(panels)}
    with drawing(width, 3.9 if wide else 3.2 * len(panels), squeeze=False, **shape) as (figure, all_):
        for axes, panel in zip(all_.ravel(), panels, strict=True):
            for key in panel["order"]:
                line = panel["lines"][key]
                axes.plot([100 * c for c in line["coverage"]], [100 * a for a in line["accuracy"]],
                          color=colours[key], ls=styles.get(key, "-"), lw=1.7, zorder=2)  # fmt: skip
                for target, marker in AIMED.items():
                    if line.get(f"right_{target}") is not None:
                        axes.plot(100 * line[f"answered_{target}"], 100 * line[f"right_{target}"], marker, ms=6.5,
                                  mfc=colours[key], mec="white", mew=0.8, zorder=4, clip_on=False)  # fmt: skip
            for target in AIMED:
                axes.axhline(int(target), color=SOFT, lw=0.8, ls=(0, (1, 2)), zorder=1)
            missing = [plain(labels[key]) for key in keys if key not in panel["order"]]
            if missing:
                axes.text(3, 0.03, "not run: " + ", ".join(missing), transform=axes.get_xaxis_transform(), fontsize=8,
                          color=SOFT, va="bottom")  # fmt: skip
            axes.set_title(plain(panel["title"]))
            axes.set_xlim(0, 100)
            axes.set_ylim(top=101)
            axes.set_xlabel("answered, % of texts")
        all_[0, 0].set_ylabel("right among the answered, %")
        _coverage_keys(figure, keys, labels, colours, styles, width)
        return svg(figure, f"{name}-{width}", f"accuracy against share answered, {len(panels)} test sets")


AIMED = {"90": "o", "95": "D"}  # accuracy in % that a threshold of dev was set for -> marker


def _coverage_keys(
    figure: Any, keys: Sequence[str], labels: Mapping[str, str], colours: Mapping[str, str],
    styles: Mapping[str, str], width: Width,
) -> None:  # fmt: skip
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colours[k], ls=styles.get(k, "-"), lw=1.7, label=plain(labels[k])) for k in keys]
    handles += [Line2D([], [], ls="", marker=m, mfc=SOFT, mec="white", ms=7, label=f"threshold of dev for {t} %")
                for t, m in AIMED.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", ncols=3 if width == "wide" else 1, handlelength=2.6,
                  columnspacing=1.4, labelspacing=0.45, borderpad=0)  # fmt: skip


SCALES = {"latency_p95_ms": (1e-3, "s"), "latency_mean_ms": (1e-3, "s"), "latency_p50_ms": (1e-3, "s"),
          "makespan_s": (1.0, "s"), "unfinished": (100.0, "%"), "in_time": (100.0, "%"), "value": (100.0, "%"),
          "bytes_moved": (1e-6, "MB"), "wasted_s": (1.0, "s")}  # fmt: skip
TITLES = {"latency_p95_ms": "p95 wait", "latency_mean_ms": "mean wait", "latency_p50_ms": "median wait",
          "makespan_s": "all answered after", "unfinished": "unanswered", "in_time": "in time", "value": "accuracy",
          "bytes_moved": "sent over links", "wasted_s": "work lost", "cost": "cost"}  # fmt: skip


def heading(measure: str) -> str:
    """``p95 wait, s``."""
    unit = SCALES.get(measure, (1.0, ""))[1]
    return TITLES.get(measure, plain(measure)) + (f", {unit}" if unit else "")
