"""Insights about costs: from the survey's published costs and the formulas, and from rows measured on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hedgerow.cost import Cost, fitting, formulas
from hedgerow.cost.fitting import Sample
from hedgerow.weighing import catalogue
from hedgerow.weighing.insights import NOT_HERE, Insight, verdict

_FIGURE = "published figure (Jetson, 4 bits, prompt 50)"
_PHI = "published means of Phi-1.5 on the Jetson"
_PHONES = "authors' table, seven models on four phones"
_NONE = "no rows measured on a device were given"


def published_insights() -> list[Insight]:
    """Those that the published costs and the formulas decide."""
    return [r1(), r2(), r3(), q1(), q2(), q3(), h1(), h2(), h3(), b1(), b2(), t1()]


def _jetson() -> dict[str, dict[str, Any]]:
    return {r["model"]: r for r in catalogue.published()["jetson"]["rows"] if r["decode_ms"] is not None}


def _count(name: str) -> int:
    return formulas.parameters(catalogue.model(name).geometry)


def r1() -> Insight:
    """Architecture matters beyond size."""
    rows = _jetson()
    big, small = "Qwen1.5-0.5B", "Qwen2-0.5B"
    more = _count(big) / _count(small) - 1
    faster = 1 - rows[big]["first_token_ms"] / rows[small]["first_token_ms"]
    body = catalogue.model(big).geometry.body / catalogue.model(small).geometry.body - 1
    return Insight(
        id="R1",
        claim="architecture matters beyond size: more parameters, and yet faster",
        verdict=verdict(more > 0 and faster > 0),
        rule="a model of more parameters has the shorter first token",
        found=f"{big} has {100 * more:.1f} % more parameters than {small} and is {100 * faster:.1f} % faster to the "
        f"first token; but its body, which does the work, is {-100 * body:.0f} % smaller: the difference is embedding",
        data=_FIGURE,
    )


def r2() -> Insight:
    """Architecture matters more in prefill than in decode."""
    rows = _jetson()
    spread = {}
    for phase, key in (("prefill", "first_token_ms"), ("decode", "decode_ms")):
        spread[phase] = float(np.std(np.log([r[key] / _count(n) for n, r in rows.items()])))
    return Insight(
        id="R2",
        claim="architecture matters more in prefill than in decode",
        verdict=verdict(spread["prefill"] > spread["decode"]),
        rule="time per parameter spreads more in prefill (standard deviation of its logarithm over 20 models)",
        found=f"prefill {spread['prefill']:.2f}, decode {spread['decode']:.2f}",
        data=_FIGURE,
    )


def r3() -> Insight:
    """Memory is linear in N, except for large vocabularies."""
    rows = catalogue.published()["jetson"]["rows"]
    parts = ("weights_mib", "kv_mib", "compute_mib", "other_mib")
    n = np.array([_count(r["model"]) / 1e9 for r in rows])
    mib = np.array([sum(r[p] for p in parts) for r in rows])
    large = np.array([catalogue.model(r["model"]).geometry.vocabulary > 100_000 for r in rows])
    a = np.stack([np.ones_like(n), n], axis=1)
    x = np.linalg.lstsq(a[~large], mib[~large], rcond=None)[0]
    off = (mib - a @ x) / (a @ x)
    inside, outside = float(np.median(np.abs(off[~large]))), float(np.median(off[large]))
    return Insight(
        id="R3",
        claim="memory is linear in the number of parameters, except for large vocabularies",
        verdict=verdict(inside < 0.1 and outside > inside),
        rule="models with V ≤ 100,000 lie within 10 % of a line (median), those with more lie above it",
        found=f"median distance {100 * inside:.1f} % for {int((~large).sum())} models; {100 * outside:+.0f} % for "
        f"{int(large.sum())} with V > 100,000. The buffer is micro-batch × vocabulary, not hidden × vocabulary",
        data=_FIGURE,
    )


def q1() -> Insight:
    """Quantisation helps decode more than prefill."""
    d = catalogue.published()["phi_1_5"]
    pre, dec = (d[k]["f16"] / d[k]["q4_k_m"] for k in ("prefill_ms", "decode_ms"))
    return Insight(
        id="Q1",
        claim="quantisation helps decode more than prefill",
        verdict=verdict(dec > pre),
        rule="F16 against Q4_K_M: the ratio of times is larger in decode",
        found=f"decode {dec:.2f} times, prefill {pre:.2f} times faster",
        data=_PHI,
    )


def q2() -> Insight:
    """Its gain in prefill shrinks with the prompt."""
    at = catalogue.published()["phi_1_5"]["prefill_at"]
    short, long = (at[n]["f16"] / at[n]["q4_k_m"] for n in ("8", "50"))
    return Insight(
        id="Q2",
        claim="the gain of quantisation in prefill shrinks with the length of the prompt",
        verdict=verdict(long < short),
        rule="F16 against Q4_K_M at 8 and at 50 tokens",
        found=f"{short:.2f} times faster at 8 tokens, {long:.2f} at 50",
        data=_PHI,
    )


def q3() -> Insight:
    """Regular widths win."""
    d = catalogue.published()["phi_1_5"]
    wins = [d[k]["q4_k_m"] < d[k]["q3_k"] for k in ("prefill_ms", "decode_ms")]
    slow = [d[k][q] >= d[k]["q8_0"] for k in ("prefill_ms", "decode_ms") for q in ("q5_k", "q6_k")]
    five = d["decode_ms"]["q5_k"], d["decode_ms"]["q8_0"]
    return Insight(
        id="Q3",
        claim="regular widths win: 4 bits beat 3, and 5 and 6 bits are no faster than 8",
        verdict=verdict(all(wins) and all(slow)),
        rule="Q4_K_M under Q3_K, and Q5_K and Q6_K not under Q8_0, in prefill and decode",
        found=f"4 under 3 bits: {'yes' if all(wins) else 'no'}; 5 and 6 bits no faster than 8: {sum(slow)} of 4 cases "
        f"(5 bits decode in {five[0]} ms, 8 bits in {five[1]} ms)",
        data=_PHI,
    )


def h1() -> Insight:
    """A GPU's lead is larger in prefill."""
    board, phones = _jetson(), catalogue.published()["phones"]["rows"]
    leads = []
    for r in phones:
        if r["model"] in board:
            b = board[r["model"]]
            best = min(r["prefill_ms"].values()) / r["prompt"], min(r["decode_ms"].values())
            leads.append((best[0] / (b["first_token_ms"] / 50), best[1] / b["decode_ms"]))
    pre, dec = (float(np.median([lead[i] for lead in leads])) for i in (0, 1))
    return Insight(
        id="H1",
        claim="a GPU's lead over a CPU is larger in prefill than in decode",
        verdict=verdict(pre > dec),
        rule="best phone against Jetson, time a prompt token and time a step, median over models measured on both",
        found=f"{pre:.1f} times in prefill, {dec:.1f} times in decode ({len(leads)} models). Prompts are 8 to 15 "
        "tokens on the phones and 50 on the board, so a fixed cost counts against the phones",
        data=_FIGURE + " and " + _PHONES,
    )


def h2() -> Insight:
    """The board is steadier than a phone."""
    return Insight(
        id="H2",
        claim="the Jetson is steadier than a phone, which heats up",
        verdict=NOT_HERE,
        rule="spread of single runs on both",
        found="single runs were never published; see T1 for the one curve that was",
        data="none",
    )


def h3() -> Insight:
    """A newer chip is faster."""
    data = catalogue.published()["phones"]
    years = {p: int(text[:4]) for p, text in data["released"].items()}
    said, right = [], []
    for phase, key in (("decode", "decode_ms"), ("prefill", "prefill_ms")):
        mean = {p: float(np.exp(np.mean([np.log(r[key][p]) for r in data["rows"]]))) for p in years}
        pairs = [mean[a] < mean[b] for a in years for b in years if years[a] > years[b]]
        right.append(all(pairs))
        order = sorted(mean, key=lambda p: mean[p])
        said.append(f"{phase}: {', '.join(f'{p} ({years[p]}) {mean[p]:.0f} ms' for p in order)}")
    return Insight(
        id="H3",
        claim="a newer chip is faster",
        verdict=verdict(all(right)),
        rule="a phone of a later year has the shorter geometric mean over models, in decode and in prefill",
        found="; ".join(said),
        data=_PHONES,
    )


def b1() -> Insight:
    """Products of matrix and vector take most of the time."""
    low, high = catalogue.published()["matrix_vector_share"]
    return Insight(
        id="B1",
        claim="products of matrix and vector take more than 70 % of the time",
        verdict=verdict(low > 0.7),
        rule="the least published share is above 0.7",
        found=f"{low:.2f} to {high:.2f} in the figure (the text says over 80 %)",
        data="published figure of two models; no engine here reports time by kernel",
    )


def b2() -> Insight:
    """At 32k tokens the cache is more than 80 % of the memory."""
    said, shares = [], []
    for name in ("Qwen1.5-0.5B", "Qwen2-0.5B"):
        sizes = catalogue.model(name).geometry
        m = formulas.memory(sizes, formulas.weights(sizes, "q4_k_m"), 32_768, rule="2024")
        total, kv, compute = (float(v or 0) for v in (m.total, m.kv, m.compute))
        shares.append(kv / total)
        said.append(f"{name} {100 * kv / total:.0f} % (with the compute buffer {100 * (kv + compute) / total:.0f} %)")
    return Insight(
        id="B2",
        claim="at 32k tokens the KV cache takes more than 80 % of the memory",
        verdict=verdict(min(shares) > 0.8),
        rule="cache / (weights + cache + compute buffer) above 0.8 at 32,768 tokens for both Qwen of 0.5 B, by formula",
        found="; ".join(said),
        data="formulas (Q4_K_M, f16 cache, buffers of the engine of 2024), checked against the published memory",
    )


def counted(steps_ms: Sequence[float]) -> list[float]:
    """What a tool prints as ms a token for 1, 2, … tokens when the first token's step is missing from the sum.

    n − 1 steps divided by n: constant steps of t give t·(n − 1)/n, a curve that rises steeply and then flattens.
    """
    return [sum(steps_ms[: n - 1]) / n for n in range(1, len(steps_ms) + 1)]


def t1() -> Insight:
    """The curve that is read as heating."""
    d = catalogue.published()["thermal"]
    curve = counted([d["constant_ms"]] * d["points"])
    rise = curve[9] / curve[1] - 1, curve[47] / curve[9] - 1
    return Insight(
        id="T1",
        claim="decode slows down over the first ten tokens because the phone heats up",
        verdict=NOT_HERE,
        rule="single steps would decide; they are not published",
        found=f"constant steps of {d['constant_ms']} ms, n − 1 of them divided by n, rise {100 * rise[0]:.0f} % from "
        f"2 to 10 tokens and by {100 * rise[1]:.0f} % from 10 to 48: the published points lie within "
        f"{100 * d['largest_deviation']:.1f} % of that: the shape of a counting slip (our inference)",
        data="the published curve; time each step, as weigh does, and a constant engine is flat",
    )


# --- on a device -----------------------------------------------------------------------------------------------------
_ON_A_DEVICE = {
    "R1d": "here: architecture matters beyond size (models within 15 % of N differ)",
    "R2d": "here: more in prefill than in decode",
    "Q1d": "here: quantisation helps decode more than prefill",
    "Q2d": "here: its gain in prefill shrinks with the prompt",
    "Q3d": "here: 4 bits beat 3, and 5 and 6 bits are no faster than 8 (widths divisible by 256)",
}


def device_insights(rows: Sequence[Cost]) -> list[Insight]:
    """Those that one device decides; rows of one device, build and thread count: the most frequent is taken."""
    groups: dict[tuple[str, str, int], list[Cost]] = {}
    for row in rows:
        groups.setdefault((row.device.name, str(sorted(row.build.items())), row.threads), []).append(row)
    best = max(groups.values(), key=len, default=[])
    taken = fitting.samples(best)
    data = f"{len(taken)} rows on {best[0].device.name}, {best[0].threads} threads" if taken else _NONE
    tests = {"R1d": _r1, "R2d": _r2, "Q1d": _q1, "Q2d": _q2, "Q3d": _q3}
    found = []
    for key, claim in _ON_A_DEVICE.items():
        answer = tests[key](taken)
        right, rule, text = answer if answer is not None else (None, "", "rows that would decide it were not measured")
        found.append(
            Insight(
                id=key,
                claim=claim,
                verdict=NOT_HERE if right is None else verdict(right),
                rule=rule,
                found=text,
                data=data,
            )
        )
    return found


Answer = tuple[bool, str, str] | None


def _at(taken: Sequence[Sample], phase: str) -> list[Sample]:
    """Rows of one phase at its most frequent size, one a model: the fastest."""
    part = [s for s in taken if s.phase == phase and s.past == 0]
    if not part:
        return []
    counts: dict[int, int] = {}
    for s in part:
        counts[s.tokens] = counts.get(s.tokens, 0) + 1
    size = max(counts, key=lambda t: (counts[t], t))
    best: dict[tuple[str, str], Sample] = {}
    for s in part:
        key = (s.shape, s.format)
        if s.tokens == size and (key not in best or s.seconds < best[key].seconds):
            best[key] = s
    return list(best.values())


def _pairs_of_equal_size(taken: Sequence[Sample], phase: str) -> list[float]:
    """|log ratio of times| of two architectures of one format whose N are within 15 %."""
    part = _at(taken, phase)
    found = []
    for i, a in enumerate(part):
        for b in part[i + 1 :]:
            n = formulas.parameters(a.geometry) / formulas.parameters(b.geometry)
            if a.shape != b.shape and a.format == b.format and 1 / 1.15 <= n <= 1.15:
                found.append(abs(float(np.log(a.seconds / b.seconds))))
    return found


def _r1(taken: Sequence[Sample]) -> Answer:
    off = [*_pairs_of_equal_size(taken, "decode"), *_pairs_of_equal_size(taken, "prefill")]
    if not off:
        return None
    worst, middle = float(np.exp(max(off))), float(np.exp(np.median(off)))
    rule = "the median pair of equal size and format differs by more than 10 %"
    return middle > 1.1, rule, f"{len(off)} pairs: median {middle:.2f} times, at most {worst:.2f} times"


def _r2(taken: Sequence[Sample]) -> Answer:
    pre, dec = _pairs_of_equal_size(taken, "prefill"), _pairs_of_equal_size(taken, "decode")
    if not pre or not dec:
        return None
    a, b = (float(np.exp(np.median(p))) for p in (pre, dec))
    return a > b, "the median pair differs more in prefill", f"median {a:.2f} times in prefill, {b:.2f} in decode"


def _gains(taken: Sequence[Sample], phase: str, wide: str, narrow: tuple[str, ...]) -> dict[tuple[str, int], float]:
    """Time in ``wide`` over the best time in the ``narrow`` formats, by (architecture, tokens)."""
    by: dict[tuple[str, int], dict[str, float]] = {}
    for s in taken:
        if s.phase == phase and s.past == 0:
            times = by.setdefault((s.shape, s.tokens), {})
            times[s.format] = min(times.get(s.format, s.seconds), s.seconds)
    found = {}
    for key, times in by.items():
        have = [times[f] for f in narrow if f in times]
        if wide in times and have:
            found[key] = times[wide] / min(have)
    return found


_FOUR = ("q4_0", "q4_k")


def _q1(taken: Sequence[Sample]) -> Answer:
    pre, dec = (list(_gains(taken, p, "f16", _FOUR).values()) for p in ("prefill", "decode"))
    if not pre or not dec:
        return None
    a, b = float(np.median(pre)), float(np.median(dec))
    return b > a, "median of F16 / 4 bits is larger in decode", f"{b:.2f} times in decode, {a:.2f} in prefill"


def _q2(taken: Sequence[Sample]) -> Answer:
    gains = _gains(taken, "prefill", "f16", _FOUR)
    lengths = sorted({t for _, t in gains})
    if len(lengths) < 2:
        return None
    short, long = (float(np.median([g for (_, t), g in gains.items() if t == n])) for n in (lengths[0], lengths[-1]))
    found = f"{short:.2f} times at {lengths[0]} tokens, {long:.2f} at {lengths[-1]}"
    return long < short, "F16 / 4 bits at the shortest and longest prompt", found


def _q3(taken: Sequence[Sample]) -> Answer:
    part = [s for s in taken if s.geometry.width % 256 == 0 and all(f % 256 == 0 for f in s.geometry.ffn_of)]
    three = [g for p in ("prefill", "decode") for g in _gains(part, p, "q3_k", ("q4_k",)).values()]
    eight = [g for p in ("prefill", "decode") for f in ("q5_k", "q6_k") for g in _gains(part, p, f, ("q8_0",)).values()]
    if not three or not eight:
        return None
    right = sum(g > 1 for g in three), sum(g >= 1 for g in eight)
    found = (
        f"4 under 3 bits: {right[0]} of {len(three)} cases; 5 or 6 bits no faster than 8: {right[1]} of {len(eight)}"
    )
    return right == (len(three), len(eight)), "every case", found
