"""Times that follow from a device's rates for a model that never ran there; each with its method and its error band.

Decode:  t = c0 + c1·L + Σ_q bytes_q / R_q + κ·Σ(H·h·positions seen)
Prefill: t = c0' + Σ_q 2·S·B_q / C_q + c1'·L·ceil(S/U) + 2·V·d / C_head + κ'·Σ(H·h·pairs)

Sources: roofline (Williams 2009), with the terms that it lacks: a step's and a layer's own cost, and an effective rate
for each format instead of one bandwidth. A measured value always wins over one of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from hedgerow.cost import formats
from hedgerow.cost.formulas import pairs, score_widths, step_bytes, weight_bytes
from hedgerow.cost.geometry import Geometry
from hedgerow.cost.rates import Band, Rates
from hedgerow.cost.records import Cost, Device
from hedgerow.cost.weights import Part, Weights
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record

Phase = Literal["decode", "prefill", "load"]
UNKNOWN_BAND = 0.5  # where nothing says how far predictions were off: the survey's data allow no better claim
MOST_TOKENS = 10_000_000


class Prediction(Record):
    """One predicted time in ms, what it is made of, and how far such predictions were off."""

    phase: Phase
    ms: float
    low_ms: float
    high_ms: float
    parts: dict[str, float]  # ms: step, layers, weights, attention, head
    method: str
    assumed: tuple[str, ...]  # rates not measured for this format and what stands for them, or measured noisily
    band: Band | None  # None: nobody measured it, and ± 50 % is only a warning
    measure: str  # the command that measures the same quantity

    def note(self) -> str:
        """One line: method, band, assumptions, and what measures it."""
        if self.assumed:  # one band, the wider one, and why
            off = max(UNKNOWN_BAND, self.band.p90 if self.band else 0.0)
            far = (
                f"± {100 * off:.0f} % or more, since no measured band covers what is assumed: {', '.join(self.assumed)}"
            )
        elif self.band:
            far = f"± {100 * self.band.p90:.0f} % (9 of 10; median {100 * self.band.median:.1f} %, {self.band.how})"
        else:
            far = f"error band not known, taken as ± {100 * UNKNOWN_BAND:.0f} %"
        return f"predicted by {self.method}, {far}; measured by `{self.measure}`"


# --- what the two formulas are linear in -----------------------------------------------------------------------------
def decode_terms(sizes: Geometry, held: Weights, depth: float) -> tuple[float, float, dict[str, float], float]:
    """(1, L, bytes by format, Σ H·h·positions) of one decode step after ``depth`` tokens."""
    seen = sum(w * min(depth, sizes.window_of(i) or math.inf) for i, w in enumerate(score_widths(sizes)))
    return 1.0, float(sizes.layers), step_bytes(held), seen


def prefill_terms(
    sizes: Geometry, held: Weights, prompt: int, past: float, ubatch: int
) -> tuple[float, float, dict[str, float], float, float]:
    """(1, L·ceil(S/U), FLOPs of the body by format, Σ H·h·pairs, FLOPs of one row of logits)."""
    body: dict[str, float] = {}
    wanted = {"attention": sizes.attention_body, "ffn": sizes.ffn_body}
    for part, parameters in wanted.items():
        stored = held.parts.get(part, {})  # type: ignore[call-overload]
        total = sum(stored.values())
        for name, n in stored.items():  # a shared FFN is stored once and computed in every layer
            body[name] = body.get(name, 0.0) + 2.0 * prompt * parameters * n / total
    scores = sum(w * pairs(prompt, past, sizes.window_of(i), False) for i, w in enumerate(score_widths(sizes)))
    batches = math.ceil(prompt / ubatch)
    return 1.0, float(sizes.layers * batches), body, scores, 2.0 * sizes.vocabulary * sizes.width


def head_format(held: Weights) -> str:
    """The format that most of the head has."""
    part: Part = "embedding" if held.tied else "head"
    stored = held.parts.get(part) or held.mix
    return max(stored, key=lambda name: stored[name]) if stored else "f16"


def nearest(name: str, known: dict[str, float]) -> str | None:
    """The known format of the same name, else the one with the nearest bits a weight (of the same family first)."""
    if name in known:
        return name
    if not known:
        return None

    def bits(f: str) -> float:
        block, size = formats.BLOCKS[f]
        return 8 * size / block

    return min(known, key=lambda f: (abs(math.log(bits(f) / bits(name))), f.endswith("_k") != name.endswith("_k"), f))


def _rate(name: str, known: dict[str, float], what: str, assumed: list[str], noisy: Sequence[str]) -> float:
    found = nearest(name, known)
    if found is None:
        raise HedgerowError(f"these rates hold no {what} of any format; probe the device: hedgerow weigh --probe")
    if found != name:
        assumed.append(f"{what} of {name} as of {found}")
    if f"{what} of {found}" in noisy:
        assumed.append(f"the noisy {what} of {found}")
    return known[found]


# --- predictions -----------------------------------------------------------------------------------------------------
def decode(rates: Rates, sizes: Geometry, held: Weights, depth: int = 0) -> Prediction:
    """Time of one decode step of one sequence after ``depth`` tokens.

    Without any rate of a format the plain read bandwidth stands for all (assumed, and said). Raises HedgerowError when
    the rates hold neither.
    """
    _check(depth, 0)
    assumed = list(rates.assumed)
    known = dict(rates.decode)
    if not known and rates.bandwidth is not None:
        known = dict.fromkeys(held.mix, rates.bandwidth)
        assumed.append("reading of every format at the plain bandwidth")
    one, layers, read, seen = decode_terms(sizes, held, depth)
    small = 0.005 * sum(read.values())
    weights = 0.0
    for name, size in read.items():  # vectors in f32 are too few to need a rate of their own
        weights += size / _rate(name, known, "rate of decode", assumed if size > small else [], rates.noisy)
    parts = {
        "step": rates.step_s * one,
        "layers": rates.layer_s * layers,
        "weights": weights,
        "attention": rates.attention_s * seen,
    }
    method = "c0 + c1·layers + bytes by format / rate + κ·heads·positions"
    measure = f"hedgerow weigh PACK --threads {rates.threads}"
    return _prediction("decode", parts, method, assumed, rates.band("decode"), measure)


def prefill(rates: Rates, sizes: Geometry, held: Weights, prompt: int, past: int = 0) -> Prediction:
    """Time of ``prompt`` tokens after ``past`` cached ones in one call, logits for the last row only."""
    _check(prompt, 1)
    _check(past, 0)
    assumed = list(rates.assumed)
    one, layers, body, scores, head = prefill_terms(sizes, held, prompt, past, rates.ubatch)
    work = sum(f / _rate(name, rates.prefill, "rate of prefill", assumed, rates.noisy) for name, f in body.items())
    last = rates.head or _rate(head_format(held), rates.prefill, "rate of prefill", assumed, rates.noisy)
    parts = {
        "step": rates.prefill_s * one,
        "layers": rates.prefill_layer_s * layers,
        "weights": work,
        "attention": rates.prefill_attention_s * scores,
        "head": head / last,
    }
    method = "c0' + body FLOPs by format / rate + c1'·layers·micro-batches + head FLOPs / rate + κ'·heads·pairs"
    measure = f"hedgerow weigh PACK --threads {rates.threads}"
    return _prediction("prefill", parts, method, assumed, rates.band("prefill"), measure)


def _check(tokens: int, least: int) -> None:
    if not least <= tokens <= MOST_TOKENS:
        raise HedgerowError(f"a number of tokens must be from {least} to {MOST_TOKENS:,}, not {tokens}")


def _prediction(
    phase: Phase, parts: dict[str, float], method: str, assumed: list[str], band: Band | None, measure: str
) -> Prediction:
    total = 1e3 * sum(parts.values())
    off = band.p90 if band else UNKNOWN_BAND
    if assumed:  # the band is that of rates that were measured
        off = max(off, UNKNOWN_BAND)
    if not math.isfinite(total * (1 + off)):
        raise HedgerowError(f"with these rates one {phase} would take for ever; probe the device again")
    return Prediction(
        phase=phase,
        ms=total,
        low_ms=total / (1 + off),
        high_ms=total * (1 + off),
        parts={name: 1e3 * value for name, value in parts.items()},
        method=method,
        assumed=tuple(dict.fromkeys(assumed)),
        band=band,
        measure=measure,
    )


def _library(rates: Rates) -> str:
    """A probe writes the runtime's own 'library', an import and older files 'name'."""
    return rates.runtime.get("name") or rates.runtime.get("library") or "a runtime without a name"


def rates_for(device: Device, threads: int, runtime: dict[str, str] | None = None) -> Rates:
    """The device's rates for that many threads, of that runtime's library when one is named, the newest of several.

    Raises HedgerowError naming what there is.
    """
    library = (runtime or {}).get("name")
    fitting = [r for r in device.rates if r.threads == threads and library in (None, _library(r))]
    if not fitting:
        have = ", ".join(sorted({f"{_library(r)} with {r.threads}" for r in device.rates if r.decode or r.prefill}))
        raise HedgerowError(
            f"{device.name} has no rates for {threads} threads{f' of {library}' if library else ''}: "
            + (f"it has {have}" if have else "probe it there with hedgerow weigh --probe FILE")
        )
    return max(fitting, key=lambda r: r.when)


def predict_rows(
    sizes: Geometry,
    held: Weights,
    device: Device,
    *,
    pack: str,
    variant: str,
    threads: int,
    prompt: int,
    new: int,
    runtime: dict[str, str] | None = None,
    memory_bytes: int | None = None,
    disk_bytes: int | None = None,
    when: str = "",
) -> list[Cost]:
    """Rows as ``weigh`` would measure them for one size {'prompt', 'new'}: prefill, one decode step, and load.

    Every row is marked 'predicted', with its band in ``low_ms`` and ``high_ms`` and its method in ``note``; ``p95_ms``
    is the upper end of the band. The decode step is that at half the new tokens. Loading is predicted only where the
    rates hold a rate of it. Raises HedgerowError when the device has no rates for ``threads``.
    """
    rates = rates_for(device, threads, runtime)
    bare = device.model_copy(update={"rates": ()})
    found = [prefill(rates, sizes, held, prompt), decode(rates, sizes, held, prompt + new // 2)]
    if rates.load is not None:
        seconds = {"weights": weight_bytes(held) / rates.load}
        measure = f"hedgerow weigh PACK --threads {threads}"
        found.append(_prediction("load", seconds, "bytes / rate of loading", list(rates.assumed), None, measure))
    rows = []
    for p in found:
        row = Cost(
            pack=pack,
            variant=variant,
            device=bare,
            runtime=rates.runtime,
            threads=threads,
            unit="token",
            phase=p.phase,
            size={} if p.phase == "load" else {"prompt": prompt, "new": new},
            units=float(prompt) if p.phase == "prefill" else 1.0,
            p50_ms=p.ms,
            p95_ms=p.high_ms,
            mean_ms=p.ms,
            low_ms=p.low_ms,
            high_ms=p.high_ms,
            peak_bytes=memory_bytes,
            weights_bytes=weight_bytes(held),
            disk_bytes=disk_bytes,
            source="predicted",
            note=p.note(),
            when=when,
        )
        rows.append(row)
    return rows


# --- peers -----------------------------------------------------------------------------------------------------------
def roofline_decode(held: Weights, bandwidth: float) -> float:
    """Seconds a step by the naive rule that most tools use: bytes of the weights / read bandwidth."""
    return weight_bytes(held) / bandwidth


def roofline_prefill(parameters: int, prompt: int, peak: float) -> float:
    """Seconds of a prompt by the naive rule: 2·S·N / peak, with all N parameters, embedding included."""
    return 2.0 * prompt * parameters / peak


def scaled_nearest(weight: float, known: list[tuple[float, float]]) -> float:
    """Seconds of the measured model nearest in ``weight`` (bytes or FLOPs), scaled in proportion.

    ``known``: (weight, seconds) of other models on the device. Raises HedgerowError when there is none.
    """
    if not known:
        raise HedgerowError("no other model was measured on this device, so none can be scaled")
    near, seconds = min(known, key=lambda k: abs(math.log(k[0] / weight)))
    return seconds * weight / near
