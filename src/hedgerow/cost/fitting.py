"""Rates of a device from rows that were measured on it: non-negative least squares of relative errors, numpy only.

The two formulas for time are linear in 1/R_q, c0, c1 and κ, so the fit has one answer, and no coefficient may be
negative. Rows are divided by their own time: 5 % of a fast row weighs as much as 5 % of a slow one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hedgerow import files
from hedgerow.cost import formats, formulas, predict
from hedgerow.cost.geometry import Geometry
from hedgerow.cost.rates import Band, Rates
from hedgerow.cost.records import Cost
from hedgerow.cost.weights import Weights
from hedgerow.errors import HedgerowError

Phase = Literal["decode", "prefill"]
_SHARE = 0.02  # formats with less of the bytes than this in every row get no rate of their own
_FASTEST = 1e13  # bytes/s: no device reads faster, so 1/R is never taken below its inverse
_FASTEST_FLOPS = 1e16


@dataclass(frozen=True)
class Sample:
    """One measured time of one model."""

    phase: Phase
    geometry: Geometry
    weights: Weights
    tokens: int  # decode: depth; prefill: length of the prompt
    seconds: float
    past: int = 0  # prefill: tokens cached before
    label: str = ""

    @property
    def shape(self) -> str:
        """Same architecture, same text: what is held out together."""
        return files.digest(self.geometry.model_dump(mode="json"))[:12]

    @property
    def format(self) -> str:
        """The format that most elements of the body have."""
        body = {**self.weights.parts.get("ffn", {})} or self.weights.mix
        return max(body, key=lambda name: body[name])


def samples(rows: Iterable[Cost]) -> list[Sample]:
    """Measured prefill and decode rows of decoders whose geometry and weights stand in the row; others are left out.

    Size: prefill {'prompt', optionally 'depth'}; decode {'depth'}, or {'prompt', 'new', optionally 'depth'}: the mean
    step is then taken as one at depth depth + prompt + new/2.
    """
    found = []
    for row in rows:
        phase = row.phase
        if row.source != "measured" or row.geometry is None or row.weights is None or row.batch != 1:
            continue
        depth = row.size.get("depth")
        seconds = row.p50_ms / 1e3
        if phase == "prefill" and "prompt" in row.size:
            found.append(
                Sample("prefill", row.geometry, row.weights, row.size["prompt"], seconds, depth or 0, row.variant)
            )
        elif phase == "decode" and (depth is not None or "prompt" in row.size):
            at = (depth or 0) + row.size.get("prompt", 0) + row.size.get("new", 0) // 2
            found.append(Sample("decode", row.geometry, row.weights, at, seconds, 0, row.variant))
    return found


def nnls(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """x ≥ 0 that makes |matrix·x − target|² least; [m, n] and [m] give [n]. Lawson and Hanson (1974), active sets.

    Columns are scaled to length 1 first, so that constants of very different units do no harm.
    """
    lengths = np.linalg.norm(matrix, axis=0)
    lengths[lengths == 0] = 1.0
    a = matrix / lengths
    n = a.shape[1]
    free = np.zeros(n, dtype=bool)
    x = np.zeros(n)
    for _ in range(10 * n + 10):
        gradient = a.T @ (target - a @ x)
        gradient[free] = -np.inf
        best = int(np.argmax(gradient)) if n else 0
        if not n or gradient[best] <= 1e-12 * max(1.0, float(np.abs(target).max(initial=0.0))):
            break
        free[best] = True
        while True:
            trial = np.zeros(n)
            trial[free] = np.linalg.lstsq(a[:, free], target, rcond=None)[0]
            below = free & (trial <= 0)
            if not below.any():
                break
            step = float(np.min(x[below] / np.maximum(x[below] - trial[below], 1e-300)))
            x = x + step * (trial - x)
            free &= x > 1e-15
            x[~free] = 0.0
        x = trial
    return np.asarray(x / lengths)


@dataclass(frozen=True)
class _Plan:
    """Which formats get a column, and which column stands for each format that occurs."""

    own: tuple[str, ...]
    of: dict[str, str]


def _plan(parts: Sequence[dict[str, float]]) -> _Plan:
    shares: dict[str, float] = {}
    for row in parts:
        total = sum(row.values()) or 1.0
        for name, value in row.items():
            shares[name] = max(shares.get(name, 0.0), value / total)
    own = {name: 1.0 for name, share in shares.items() if share >= _SHARE}
    return _Plan(tuple(sorted(own)), {name: predict.nearest(name, own) or name for name in shares})


def _columns(plan: _Plan, parts: dict[str, float]) -> list[float]:
    summed = dict.fromkeys(plan.own, 0.0)
    for name, value in parts.items():
        summed[plan.of[name]] += value
    return [summed[name] for name in plan.own]


def solve(matrix: Sequence[Sequence[float]], seconds: Sequence[float], least: Sequence[float]) -> np.ndarray:
    """Coefficients ≥ ``least`` of the smallest relative squared error; rows far off count less (Huber at 5 %).

    ``matrix``: a row of terms for each time in ``seconds`` (any unit).
    """
    a, t = np.asarray(matrix, dtype=float), np.asarray(seconds, dtype=float)
    low = np.asarray(least, dtype=float)
    rest = 1.0 - a @ low / t
    relative = a / t[:, None]
    weight = np.ones(len(t))
    x = np.zeros(a.shape[1])
    for _ in range(8):
        x = nnls(relative * weight[:, None], rest * weight)
        off = np.abs(rest - relative @ x)
        weight = np.sqrt(np.minimum(1.0, 0.05 / np.maximum(off, 1e-12)))
    return np.asarray(x + low)


def fit(
    rows: Sequence[Sample],
    *,
    threads: int,
    runtime: dict[str, str],
    ubatch: int = 512,
    bandwidth: float | None = None,
    repacked: tuple[str, ...] | None = None,
    when: str = "",
    held_out: bool = True,
    rates_only: Collection[Phase] = (),
) -> Rates:
    """Rates of both phases from measured rows of one device, build and thread count.

    With three architectures or more the error bands come from predictions of rows whose architecture took no part in
    the fit (``held_out``); else from the fit's own rows, which is too kind, and the band says so. ``rates_only``:
    phases whose constants stay 0, since rows of one model cannot tell them from its rates. Raises HedgerowError when
    there is no row, or a time that is not above 0.
    """
    if not rows:
        raise HedgerowError("no measured row of a decoder to fit rates to")
    if any(not r.seconds > 0 for r in rows):
        raise HedgerowError("a measured time is not above 0; measure again")
    values: dict[str, Any] = {}
    decode, prefill = ([r for r in rows if r.phase == p] for p in ("decode", "prefill"))
    if decode:
        values |= {"decode": _alone(decode, ubatch)} if "decode" in rates_only else _fit_decode(decode)
    if prefill:
        values |= {"prefill": _alone(prefill, ubatch)} if "prefill" in rates_only else _fit_prefill(prefill, ubatch)
    rates = Rates(threads=threads, runtime=runtime, ubatch=ubatch, bandwidth=bandwidth, repacked=repacked,
                  source="fitted", when=when, **values)  # fmt: skip
    if not held_out:
        return rates
    bands = [b for part in (decode, prefill) if part for b in [_band(part, rates)]]
    return rates.model_copy(update={"bands": tuple(bands)})


def _fit_decode(rows: Sequence[Sample]) -> dict[str, Any]:
    terms = [predict.decode_terms(r.geometry, r.weights, r.tokens) for r in rows]
    plan = _plan([t[2] for t in terms])
    matrix = [[one, layers, seen, *_columns(plan, read)] for one, layers, read, seen in terms]
    x = solve(matrix, [r.seconds for r in rows], [0.0] * 3 + [1 / _FASTEST] * len(plan.own))
    return {
        "step_s": float(x[0]), "layer_s": float(x[1]), "attention_s": float(x[2]),
        "decode": {name: float(1 / v) for name, v in zip(plan.own, x[3:], strict=True)},
    }  # fmt: skip


def _fit_prefill(rows: Sequence[Sample], ubatch: int) -> dict[str, Any]:
    terms = [predict.prefill_terms(r.geometry, r.weights, r.tokens, r.past, ubatch) for r in rows]
    plan = _plan([t[2] for t in terms])
    matrix = [[one, layers, pairs, head, *_columns(plan, body)] for one, layers, body, pairs, head in terms]
    x = solve(matrix, [r.seconds for r in rows], [0.0] * 3 + [1 / _FASTEST_FLOPS] * (1 + len(plan.own)))
    return {
        "prefill_s": float(x[0]), "prefill_layer_s": float(x[1]), "prefill_attention_s": float(x[2]),
        "head": float(1 / x[3]), "prefill": {name: float(1 / v) for name, v in zip(plan.own, x[4:], strict=True)},
    }  # fmt: skip


def _alone(rows: Sequence[Sample], ubatch: int) -> dict[str, float]:
    """Bytes/s (decode) or FLOP/s (prefill, head included) of whole files: the median over rows of the same format.

    One rate stands for all formats of a file; a format that is the main one of no file has that of the file of which
    it is the largest share.
    """
    amounts = []
    for r in rows:
        if r.phase == "decode":
            amounts.append(dict(predict.decode_terms(r.geometry, r.weights, r.tokens)[2]))
            continue
        _, _, body, _, head = predict.prefill_terms(r.geometry, r.weights, r.tokens, r.past, ubatch)
        last = predict.head_format(r.weights)
        amounts.append({**body, last: body.get(last, 0.0) + head})
    speeds: dict[str, list[float]] = {}
    shares: dict[str, dict[str, float]] = {}  # format -> main format of a file -> share of that file
    for r, amount in zip(rows, amounts, strict=True):
        total = sum(amount.values())
        speeds.setdefault(r.format, []).append(total / r.seconds)
        for name, value in amount.items():
            if value < _SHARE * total:
                continue
            shares.setdefault(name, {})[r.format] = value / total
    own = {name: float(np.median(found)) for name, found in speeds.items()}
    return {name: own[max(among, key=lambda f: among[f])] for name, among in shares.items()} | own


def predicted(rates: Rates, row: Sample) -> float:
    """Seconds that the rates give for the row's model and size."""
    if row.phase == "decode":
        return predict.decode(rates, row.geometry, row.weights, row.tokens).ms / 1e3
    return predict.prefill(rates, row.geometry, row.weights, row.tokens, row.past).ms / 1e3


def held_out_errors(
    rows: Sequence[Sample], group: Callable[[Sample], str], ubatch: int = 512
) -> list[tuple[Sample, float]]:
    """(row, predicted / measured − 1) with the whole ``group`` of the row left out of the fit.

    Rows whose format no other group has are predicted with the nearest format's rate, as for a new format.
    """
    found = []
    for left in sorted({group(r) for r in rows}):
        inside, outside = [r for r in rows if group(r) == left], [r for r in rows if group(r) != left]
        phases = {r.phase for r in outside}
        if not outside:
            continue
        rates = fit(outside, threads=1, runtime={}, ubatch=ubatch, held_out=False)
        found += [(r, predicted(rates, r) / r.seconds - 1) for r in inside if r.phase in phases]
    return found


def _band(rows: Sequence[Sample], rates: Rates) -> Band:
    """Relative errors of one phase: held out by architecture where there are enough, else of the fit itself."""
    if len({r.shape for r in rows}) >= 3:
        off = [abs(e) for _, e in held_out_errors(rows, lambda r: r.shape, rates.ubatch)]
        how = "one architecture left out at a time"
    else:
        off = [abs(predicted(rates, r) / r.seconds - 1) for r in rows]
        how = "the rows of the fit itself, which is too kind"
    return Band(
        phase=rows[0].phase,
        median=float(np.median(off)),
        p90=float(np.quantile(off, 0.9)),
        rows=len(off),
        how=how,
    )


def best_format(rates: Rates, sizes: Geometry, names: Sequence[str], phase: Phase, tokens: int) -> str:
    """ "Which format on this machine": the named mix with the shortest predicted time for these sizes."""
    times = {}
    for name in names:
        held = formulas.weights(sizes, formats.known(name))
        times[name] = predicted(rates, Sample(phase, sizes, held, tokens, 1.0))
    return min(times, key=lambda name: times[name])
