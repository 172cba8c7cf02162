"""The survey's insights, each recomputed: *confirmed*, *refuted* or *not testable here*, with the data that says so.

``catalogue_insights`` needs the published scores and sizes alone, :mod:`.insights_cost` the published costs and the
formulas, and those about a device take cost rows that were measured on one. A verdict follows from a rule that is
stated in ``rule``; nobody writes it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hedgerow import run
from hedgerow.cost import Cost, formulas
from hedgerow.schema import Record
from hedgerow.weighing import catalogue
from hedgerow.weighing.catalogue import GROUPS, Model

Verdict = Literal["confirmed", "refuted", "not testable here"]
CONFIRMED: Verdict = "confirmed"
REFUTED: Verdict = "refuted"
NOT_HERE: Verdict = "not testable here"
_PER = 20.0  # training tokens a parameter that are called compute-optimal (Hoffmann et al. 2022)
_DRAWS = 2000


class Insight(Record):
    """One claim of the survey and what became of it."""

    id: str
    claim: str
    verdict: Verdict
    rule: str  # what decides
    found: str  # what was found, with its numbers
    data: str  # which data


def verdict(right: bool) -> Verdict:
    """Confirmed when the rule holds."""
    return CONFIRMED if right else REFUTED


# --- statistics on few models ----------------------------------------------------------------------------------------
def _models(since: str = "2022", until: str = "2024") -> dict[str, Model]:
    """Pure transformers of the table released in those years."""
    return {n: m for n, m in catalogue.load().model.items() if m.pure and since <= m.released[:4] <= until}


def _score(m: Model, group: str) -> float | None:
    value: float | None = getattr(m.scores, group)
    return value


def residuals(models: dict[str, Model], group: str) -> dict[str, float]:
    """Points above what a straight line in log N gives for models of the same set that have the score."""
    names = [n for n, m in models.items() if _score(m, group) is not None]
    size = np.log([formulas.parameters(models[n].geometry) for n in names])
    score = np.array([_score(models[n], group) for n in names], dtype=float)
    a = np.stack([np.ones_like(size), size], axis=1)
    x = np.linalg.lstsq(a, score, rcond=None)[0]
    return dict(zip(names, (score - a @ x).tolist(), strict=True))


def difference(values: dict[str, float], inside: Callable[[str], bool]) -> tuple[float, float, float, int, int]:
    """Mean of the values ``inside`` less that of the others, its 95 % bootstrap interval over models, both counts."""
    a = np.array([v for n, v in values.items() if inside(n)])
    b = np.array([v for n, v in values.items() if not inside(n)])
    rng = np.random.default_rng(0)
    draws = [rng.choice(a, len(a)).mean() - rng.choice(b, len(b)).mean() for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(a.mean() - b.mean()), float(low), float(high), len(a), len(b)


def _points(d: tuple[float, float, float, int, int]) -> str:
    return f"{d[0]:+.1f} points [{d[1]:+.1f}, {d[2]:+.1f}] ({d[3]} against {d[4]} models)"


_TABLE = "scores and sizes of the authors' table (68 models)"


# --- from the catalogue alone ----------------------------------------------------------------------------------------
def a1() -> Insight:
    """Grouped queries, gated SiLU, RMSNorm and a large vocabulary: habit, not a proven optimum."""
    models = _models("2024", "2024")
    have: dict[str, Callable[[Model], bool]] = {
        "grouped queries": lambda m: m.geometry.attention in ("gqa", "mqa"),
        "gated SiLU": lambda m: m.geometry.gated and m.geometry.activation == "silu",
        "RMSNorm": lambda m: m.geometry.norm == "rmsnorm",
        "V > 50,000": lambda m: m.geometry.vocabulary > 50_000,
    }
    shares = {name: sum(f(m) for m in models.values()) / len(models) for name, f in have.items()}
    d = difference(residuals(models, "commonsense"), lambda n: all(f(models[n]) for f in have.values()))
    habit, unproven = all(s > 0.5 for s in shares.values()), d[1] <= 0
    said = ", ".join(f"{name} {100 * s:.0f} %" for name, s in shares.items())
    return Insight(
        id="A1",
        claim="GQA, gated SiLU FFN, RMSNorm and a vocabulary above 50k are the habit, not a proven optimum",
        verdict=verdict(habit and unproven),
        rule="each in more than half of the models of 2024; no gain of having all four at equal size (95 % interval)",
        found=f"of 2024's {len(models)} models: {said}; all four together, commonsense at equal size: {_points(d)}",
        data=_TABLE,
    )


def a2() -> Insight:
    """No novelty of architecture is clearly better."""
    models = _models("2024", "2024")
    novel = {
        "MLA": {"MiniCPM3-4B"},
        "layer-wise sizes": {n for n in models if n.startswith("OpenELM")},
        "shared FFN": {"MobiLlama-05B"},
        "sliding window": {"gemma-2-2b"},
    }
    off = {g: residuals(models, g) for g in GROUPS[:2]}
    said, better = [], []
    for name, which in novel.items():
        z = []
        for values in off.values():
            rest = np.array([v for n, v in values.items() if n not in which])
            mine = [values[n] for n in which if n in values]
            z.append((float(np.mean(mine)) - rest.mean()) / (rest.std(ddof=1) / len(mine) ** 0.5))
        said.append(f"{name} {z[0]:+.1f}/{z[1]:+.1f}")
        if min(z) > 1.96:
            better.append(name)
    return Insight(
        id="A2",
        claim="no novelty of architecture was shown to be clearly better",
        verdict=verdict(not better),
        rule="no novelty lies more than 1.96 standard deviations above models of equal size in both groups",
        found=f"deviations in commonsense/problem solving: {', '.join(said)}; Griffin has no comparable size",
        data=_TABLE + "; one to three models a novelty, so only a large gain could be seen",
    )


def d1() -> Insight:
    """Quality of data beats its quantity."""
    models = _models("2024", "2024")
    filtered = {n for n, m in models.items() if {"FW", "DC"} & set(m.data)}
    d = difference(residuals(models, "problem_solving"), lambda n: n in filtered)
    tokens = [m.tokens_e9 for n, m in models.items() if m.tokens_e9 is not None]
    mine = [models[n].tokens_e9 or 0.0 for n in filtered]
    fewer = float(np.median(mine)) < float(np.median(tokens))
    return Insight(
        id="D1",
        claim="quality of data (filtered by a model: FineWeb-Edu, DCLM) beats quantity",
        verdict=CONFIRMED if d[1] > 0 and fewer else REFUTED if d[2] < 0 or not fewer else NOT_HERE,
        rule="models on filtered data, of fewer tokens than the median, lie above others of equal size (interval over "
        "0; one that holds 0 decides nothing)",
        found=f"problem solving at equal size: {_points(d)}; median tokens {np.median(mine):,.0f}·10⁹ against "
        f"{np.median(tokens):,.0f}·10⁹",
        data=_TABLE + ": " + ", ".join(sorted(filtered)),
    )


def d2() -> Insight:
    """Small models are trained far beyond 20 tokens a parameter."""
    models = {n: m for n, m in _models("2024", "2024").items() if m.tokens_e9 is not None}
    per = {n: (m.tokens_e9 or 0) * 1e9 / formulas.parameters(m.geometry) for n, m in models.items()}
    many = sum((m.tokens_e9 or 0) > 1500 for m in models.values()) / len(models)
    return Insight(
        id="D2",
        claim="over-training: more than 1.5 T tokens, against 20 a parameter that are compute-optimal",
        verdict=verdict(many > 0.5 and float(np.median(list(per.values()))) > _PER),
        rule="more than half of 2024's models of known tokens have over 1.5 T, and the median is over 20 a parameter",
        found=f"{100 * many:.0f} % of {len(models)} models; median {np.median(list(per.values())):,.0f} tokens a "
        f"parameter, least {min(per.values()):,.0f}",
        data=_TABLE,
    )


def c1() -> Insight:
    """Small models improved more than LLaMA did."""
    base = catalogue.load().baseline
    said, right = [], []
    for g in GROUPS:
        old, new = ([s for m in _models(y, y).values() if (s := _score(m, g)) is not None] for y in ("2022", "2024"))
        gain = float(np.mean(new) - np.mean(old))
        first, last = (getattr(base[n].scores, g) for n in ("LLaMA-7B", "Llama-3.1-8B"))
        right.append(gain > last - first)
        said.append(f"{g.replace('_', ' ')} {gain:+.1f} against {last - first:+.1f}")
    return Insight(
        id="C1",
        claim="2022 to 2024: small models gained more than the LLaMA family (paper: +10.4/+13.5/+13.5 against +7.5)",
        verdict=verdict(all(right)),
        rule="mean of 2024 less mean of 2022 exceeds Llama-3.1-8B less LLaMA-7B in each of the three groups",
        found="; ".join(said) + ". Plain means over models; the paper's own selection is not known",
        data=_TABLE + " and its four larger models",
    )


def c2() -> Insight:
    """Phi leads."""
    said, top = [], []
    for g in GROUPS:
        order = sorted(_models(), key=lambda n: _score(catalogue.load().model[n], g) or -1, reverse=True)
        said.append(f"{g.replace('_', ' ')}: {', '.join(order[:3])}")
        top.append(order[0].startswith("Phi"))
    return Insight(
        id="C2",
        claim="the Phi family is on top (over-fitting to the tests suspected)",
        verdict=verdict(all(top)),
        rule="a Phi model is first in each group; over-fitting cannot be told from means of public tests",
        found="; ".join(said),
        data=_TABLE,
    )


def c3() -> Insight:
    """Size helps, with exceptions."""
    models = _models("2024", "2024")
    size = {n: formulas.parameters(m.geometry) for n, m in models.items()}
    said, right, exceptions = [], [], 0
    for g in GROUPS:
        scored = [n for n in models if _score(models[n], g) is not None]
        pairs = [
            (_score(models[a], g) or 0) > (_score(models[b], g) or 0)
            for a in scored
            for b in scored
            if size[a] > 1.5 * size[b]
        ]
        share = sum(pairs) / len(pairs)
        exceptions += len(pairs) - sum(pairs)
        right.append(share > 0.5)
        said.append(f"{g.replace('_', ' ')} {100 * share:.0f} % of {len(pairs)} pairs")
    return Insight(
        id="C3",
        claim="size helps, with exceptions such as Qwen2-1.5B",
        verdict=verdict(all(right) and exceptions > 0),
        rule="of two models of 2024 the one 1.5 times larger scores more in most pairs of each group, not in all",
        found=f"the larger one wins: {', '.join(said)}",
        data=_TABLE,
    )


def c4() -> Insight:
    """Open data closes the gap in commonsense, not in mathematics."""
    models = _models("2024", "2024")
    by = {g: difference(residuals(models, g), lambda n: models[n].open_data) for g in ("commonsense", "mathematics")}
    gap, other = by["commonsense"], by["mathematics"]
    wrong = gap[2] < 0 or other[1] > 0
    return Insight(
        id="C4",
        claim="models on open data have caught up in commonsense, not in mathematics",
        verdict=CONFIRMED if gap[2] >= 0 and other[2] < 0 else REFUTED if wrong else NOT_HERE,
        rule="open less closed at equal size: interval holds 0 for commonsense and lies below 0 for mathematics; "
        "refuted when either lies on the other side",
        found="; ".join(f"{g} {_points(d)}" for g, d in by.items()),
        data=_TABLE,
    )


def k1() -> Insight:
    """Long context needs size."""
    found = {"Qwen1.5-0.5B": 22.1, "Qwen2-0.5B": 43.8, "Llama-3.2-3B": 57.8, "Qwen2.5-3B": 91.7}
    size = {n: formulas.parameters(catalogue.model(n).geometry) for n in found}
    same = sorted(found, key=lambda n: found[n]) == sorted(size, key=lambda n: size[n])
    return Insight(
        id="K1",
        claim="finding a needle in a long context needs size",
        verdict=CONFIRMED if same else NOT_HERE,
        rule="with four models only a perfect order of size and score is more than chance (1 in 24)",
        found="; ".join(f"{n} ({size[n] / 1e9:.2f} B) {v} %" for n, v in found.items())
        + ("" if same else ": both 3 B models beat both of 0.5 B, but inside each pair the smaller one wins"),
        data="four published scores of version 2",
    )


def catalogue_insights() -> list[Insight]:
    """Those that scores, sizes and training data decide."""
    return [a1(), a2(), d1(), d2(), c1(), c2(), c3(), c4(), k1()]


def all_insights(rows: Sequence[Cost] = ()) -> list[Insight]:
    """Every insight; ``rows``: cost rows with geometry, measured on one device (else those say so)."""
    from hedgerow.weighing import insights_cost

    return [*catalogue_insights(), *insights_cost.published_insights(), *insights_cost.device_insights(rows)]


def save(root: Path, rows: Sequence[Cost] = ()) -> list[Path]:
    """Write ``results/slm/insights/…``, one file an insight, from which docs/slm.md is drawn."""
    written = []
    for insight in all_insights(rows):
        said = insight.model_dump(mode="json")
        written.append(run.save_result(root, "slm", "insights", {"id": said.pop("id")}, 0, said, None, time.time()))
    return written
