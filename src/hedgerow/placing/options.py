"""For every device the menu of forms it could run, what each would cost there, which is chosen, and what stands in the
way of a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.placing.dag import App, Work
from hedgerow.placing.fleet import Device, Fleet
from hedgerow.placing.network import Network
from hedgerow.placing.quantities import Constraint, in_words, parse_limits, parse_needs
from hedgerow.placing.scoring import Scores, gather_scores, ranking
from hedgerow.placing.timing import Evidence, Timing, gather, timing_of_pack, timing_of_work
from hedgerow.runtimes import runtime_of


@dataclass(frozen=True)
class Refusal:
    """One reason why a form may not run on a device."""

    constraint: str  # 'p95<=200ms', 'accuracy>=0.55', 'memory of phone1', 'costs', 'score', …
    why: str  # 'p95 is 310ms, 110ms over'
    miss: float = np.inf  # relative to the bound, to find the nearest miss; infinite where there is no number

    def to_json(self) -> dict[str, str]:
        """As plain values."""
        return {"constraint": self.constraint, "why": self.why}


@dataclass(frozen=True)
class Option:
    """One form of one Pack (or a plain program) on one device."""

    device: int
    pack: str  # digest, "" for a plain program
    name: str
    variant: str
    timing: Timing | None  # None: unknown
    score: Mapping[str, Any] | None  # of the ranking metric: value, low, high, n
    score_note: str
    net_ms: float  # transfers from and to the farthest home on idle links
    cost: float | None  # money for one request
    refusals: tuple[Refusal, ...]

    @property
    def eligible(self) -> bool:
        """Whether nothing stands in its way."""
        return not self.refusals

    @property
    def source(self) -> str:
        """measured, predicted, assumed or unknown: what its times rest on."""
        return self.timing.source if self.timing else "unknown"

    def to_json(self, chosen: bool) -> dict[str, Any]:
        """As plain values; times in ms, sizes in bytes."""
        t = self.timing
        return {
            "pack": self.pack,
            "name": self.name,
            "variant": self.variant,
            "chosen": chosen,
            "eligible": self.eligible,
            "refusals": [r.to_json() for r in self.refusals],
            "score": dict(self.score) if self.score else None,
            "score_note": self.score_note,
            "p50_ms": t.p50_ms if t else None,
            "p95_ms": t.p95_ms if t else None,
            "net_ms": self.net_ms if np.isfinite(self.net_ms) else None,
            "load_ms": t.load_ms if t else None,
            "memory_bytes": t.memory_bytes if t else None,
            "disk_bytes": t.disk_bytes if t else None,
            "threads": t.threads if t else None,
            "cost": self.cost,
            "source": self.source,
            "note": t.note if t else "",
        }


@dataclass(frozen=True)
class DeviceMenu:
    """All options of one device, best score first, and which one is chosen."""

    device: str
    tier: str
    options: tuple[Option, ...]
    chosen: int | None
    next_better: int | None  # the refused option with the next higher score
    next_cheaper: int | None  # the faster option with the highest score

    @property
    def binding(self) -> str:
        """What keeps a better-scoring form off this device, in words."""
        if self.chosen is None:
            return "nothing may run here: " + "; ".join(_first_refusals(self.options))
        if self.next_better is None:
            return "none: no form that is known scores higher"
        better = self.options[self.next_better]
        return f"{better.name}/{better.variant}: " + "; ".join(r.why for r in better.refusals)

    def to_json(self) -> dict[str, Any]:
        """As plain values; ``chosen``, ``next_better`` and ``next_cheaper`` are positions in ``options``."""
        return {
            "device": self.device,
            "tier": self.tier,
            "chosen": self.chosen,
            "binding": self.binding,
            "next_better": self.next_better,
            "next_cheaper": self.next_cheaper,
            "options": [o.to_json(i == self.chosen) for i, o in enumerate(self.options)],
        }


def _first_refusals(options: Sequence[Option]) -> list[str]:
    """One reason a form, each reason once."""
    said: dict[str, list[str]] = {}
    for o in options:
        said.setdefault(o.refusals[0].why, []).append(f"{o.name}/{o.variant}")
    return [f"{', '.join(names)}: {why}" for why, names in said.items()] or ["there is no form"]


@dataclass(frozen=True)
class Menu:
    """The menus of all devices for one Work, and by what they were chosen."""

    work: str
    metric: str | None
    more_is_better: bool
    task: Mapping[str, Any] | None
    needs: tuple[Constraint, ...]
    limits: tuple[Constraint, ...]
    devices: tuple[DeviceMenu, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "work": self.work,
            "metric": self.metric,
            "more_is_better": self.more_is_better,
            "task": dict(self.task) if self.task else None,
            "needs": [n.text for n in self.needs],
            "limits": [x.text for x in self.limits],
            "devices": [d.to_json() for d in self.devices],
        }


def menus_of(
    app: App,
    fleet: Fleet,
    need: Sequence[str] = (),
    limit: Sequence[str] = (),
    by: str | None = None,
    task: str | None = None,
    this: str | None = None,
) -> tuple[Menu, ...]:
    """One Menu for each Work of ``app``. Needs hold for jobs that run Packs, limits for all.

    Raises HedgerowError for a bad need or limit, Packs scored on different Tasks, and a Work that no device may do
    (which constraint excludes what, and by how much).
    """
    evidence = gather([p for w in app.works for p in w.packs], fleet, this)
    network = Network.of(fleet)
    return tuple(_menu(w, fleet, network, evidence, need, limit, by, task) for w in app.works)


def _menu(
    work: Work,
    fleet: Fleet,
    network: Network,
    evidence: Evidence,
    need: Sequence[str],
    limit: Sequence[str],
    by: str | None,
    task: str | None,
) -> Menu:
    limits = parse_limits((*limit, *work.limit))
    needs = parse_needs((*need, *work.need)) if work.packs else ()
    scores = gather_scores(work.packs, task)
    metric, more = ranking(work.packs, scores, needs, by) if work.packs else (None, True)
    net_ms, money = _transfers(work, fleet, network)
    devices = []
    for i, device in enumerate(fleet.devices):
        context = _Context(i, device, float(net_ms[i]), float(money[i]), needs, limits, metric)
        options = [
            _option(context, pack, variant, timing_of_pack(pack, variant, device, work, fleet, evidence), scores)
            for pack in work.packs
            for variant in _forms(pack, evidence, scores)
        ]
        if not work.packs:
            options = [_option(context, None, "", timing_of_work(work, device, fleet, evidence), scores, work.name)]
        devices.append(_choose(device, options, more))
    menu = Menu(work.name, metric, more, scores.task, needs, limits, tuple(devices))
    if all(d.chosen is None for d in menu.devices):
        raise HedgerowError(_nobody(menu, fleet))
    return menu


def _forms(pack: Pack, evidence: Evidence, scores: Scores) -> list[str]:
    """Every form that anybody weighed or scored; those that a Pack merely could have are unknown to placing."""
    scored = {variant for digest, variant in scores.lines if digest == pack.digest}
    return sorted(evidence.forms(pack.digest) | scored | set(pack.variants)) or ["base"]


def _transfers(work: Work, fleet: Fleet, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(ms, money) [D] of moving input and answer of one request between the farthest home and each device.

    A home that cannot reach a device does not count; a device that no home reaches has infinite ms. A device that
    serves only its own requests needs no network.
    """
    up = np.ones(len(fleet.devices), bool)
    ms, money = np.full(len(up), -np.inf), np.zeros(len(up))
    for home in fleet.home:
        at = fleet.index(home)
        there, back = network.routes(at, up), network.routes(at, up, back=True)
        took = 1e3 * (there.seconds(work.bytes_in) + back.seconds(work.bytes_out))
        paid = there.price_per_byte * work.bytes_in + back.price_per_byte * work.bytes_out
        own = np.array([d.rules.own_only and i != at for i, d in enumerate(fleet.devices)])
        counts = np.isfinite(took) & ~own
        ms = np.where(counts, np.maximum(ms, took), ms)
        money = np.where(counts, np.maximum(money, paid), money)
    return np.where(np.isfinite(ms), ms, np.inf), money


@dataclass(frozen=True)
class _Context:
    index: int
    device: Device
    net_ms: float
    money: float
    needs: tuple[Constraint, ...]
    limits: tuple[Constraint, ...]
    metric: str | None


def _option(
    context: _Context, pack: Pack | None, variant: str, timing: Timing | str, scores: Scores, name: str = ""
) -> Option:
    refusals: list[Refusal] = []
    metrics, note = scores.of(pack, variant) if pack else (None, "")
    known = timing if isinstance(timing, Timing) else None
    if isinstance(timing, str):
        refusals.append(Refusal("costs", timing))
    if pack is not None and scores.task is not None and metrics is None:
        refusals.append(Refusal("score", f"the form '{variant}' was never scored on this Task"))
    refusals += _missed_needs(context.needs, metrics)
    money = None
    if known is not None:
        money = context.money + context.device.price_per_s * known.p50_ms / 1e3
        refusals += _missed_limits(context, known, money)
        refusals += _house_rules(context.device, variant, known)
    if not np.isfinite(context.net_ms):
        own = "its owner lets it serve only its own requests, and none arise there"
        lost = f"{context.device.name} cannot be reached from home, or cannot answer"
        refusals.append(Refusal("network", own if context.device.rules.own_only else lost))
    score = (metrics or {}).get(context.metric) if context.metric else None
    return Option(
        context.index,
        pack.digest if pack else "",
        pack.info.name if pack else name,
        variant,
        known,
        score,
        note,
        context.net_ms,
        money,
        tuple(refusals),
    )


def _missed_needs(needs: Sequence[Constraint], metrics: Mapping[str, Mapping[str, Any]] | None) -> list[Refusal]:
    found = []
    for need in needs if metrics is not None else ():
        line = metrics.get(need.name) if metrics is not None else None
        value = line.get("low" if need.low_end else "value") if line else None
        if value is None:
            what = f"an interval of {need.name}" if line else f"a score {need.name}"
            found.append(Refusal(need.text, f"it has no {what.removeprefix('an ').removeprefix('a ')}"))
        elif not need.holds(value):
            found.append(Refusal(need.text, need.miss(value), abs(value - need.bound) / (abs(need.bound) or 1.0)))
    return found


def _missed_limits(context: _Context, timing: Timing, money: float) -> list[Refusal]:
    values = {
        "p50": timing.p50_ms,
        "p95": timing.p95_ms,
        "reply_p50": timing.p50_ms + context.net_ms,
        "reply_p95": timing.p95_ms + context.net_ms,
        "load": timing.load_ms,
        "memory": float(timing.memory_bytes),
        "bytes": float(timing.disk_bytes),
        "cost": money,
    }
    missed = [x for x in context.limits if np.isfinite(values[x.name]) and not x.holds(values[x.name])]
    return [
        Refusal(x.text, x.miss(values[x.name]), abs(values[x.name] - x.bound) / (abs(x.bound) or 1.0)) for x in missed
    ]


def _house_rules(device: Device, variant: str, timing: Timing) -> list[Refusal]:
    found = []
    room = device.usable_memory
    if timing.memory_bytes > room:
        whose = "its owner allows" if device.rules.max_memory and room == device.rules.max_memory else "it has"
        over = in_words(timing.memory_bytes - room, "bytes")
        why = f"memory is {in_words(timing.memory_bytes, 'bytes')}, {over} more than {whose}"
        found.append(Refusal(f"memory of {device.name}", why, (timing.memory_bytes - room) / room))
    allowed = device.rules.runtimes
    if variant and allowed is not None and runtime_of(variant) not in allowed:
        found.append(
            Refusal(f"runtimes of {device.name}", f"its owner allows {', '.join(allowed) or 'no runtime'} only")
        )
    return found


def _choose(device: Device, options: Sequence[Option], more: bool) -> DeviceMenu:
    """Best score first; equal scores: faster first; equal times: by name. Without scores the fastest comes first."""

    def merit(o: Option) -> float:
        return -np.inf if o.score is None else float(o.score["value"]) * (1 if more else -1)

    def order(o: Option) -> tuple[float, float, str, str]:
        return -merit(o), o.timing.p95_ms if o.timing else np.inf, o.name, o.variant

    ranked = tuple(sorted(options, key=order))
    chosen = next((i for i, o in enumerate(ranked) if o.eligible), None)
    if chosen is None:
        return DeviceMenu(device.name, device.tier, ranked, None, None, None)
    mine = ranked[chosen]
    better = [i for i in range(chosen) if merit(ranked[i]) > merit(mine)]
    p50 = mine.timing.p50_ms if mine.timing else np.inf
    faster = [i for i, o in enumerate(ranked) if o.timing is not None and o.timing.p50_ms < p50]
    cheaper = [i for i in faster if i > chosen and ranked[i].score is not None]
    return DeviceMenu(
        device.name, device.tier, ranked, chosen, better[-1] if better else None, cheaper[0] if cheaper else None
    )


def _nobody(menu: Menu, fleet: Fleet) -> str:
    """One line: which constraint excludes how many forms, and by how much the nearest of them misses it."""
    every = [(o, r) for d in menu.devices for o in d.options for r in o.refusals]
    by_constraint: dict[str, list[tuple[Option, Refusal]]] = {}
    for o, r in every:
        by_constraint.setdefault(r.constraint, []).append((o, r))
    total = sum(len(d.options) for d in menu.devices)
    said = []
    for constraint, found in sorted(by_constraint.items(), key=lambda item: (-len(item[1]), item[0])):
        option, nearest = min(found, key=lambda pair: pair[1].miss)
        who = f"{option.name}/{option.variant}" if option.variant else option.name
        where = fleet.names[option.device]
        said.append(f"{constraint} excludes {len(found)} of {total} (nearest: {who} on {where}: {nearest.why})")
    return f"no device may run '{menu.work}': " + "; ".join(said)
