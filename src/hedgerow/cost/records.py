"""Cost: what one form of a Pack was measured to need on one device, and what follows for a device it never ran on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from hedgerow.cost.geometry import Geometry
from hedgerow.cost.rates import Rates
from hedgerow.cost.weights import Weights
from hedgerow.schema import Record

_TRUST = {"assumed": 0, "predicted": 1, "measured": 2}


class Device(Record):
    """A probed device (``device.json``): what the fingerprint is made from."""

    name: str
    machine: str  # x86_64, aarch64
    cpu: str
    cores: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)
    features: tuple[str, ...] = ()  # CPU features that change a kernel's choice: avx2, avx512f, avx512_bf16, …
    system: str = ""
    fingerprint: str  # 12 hex digits of the digest of the fields above, without the name
    rates: tuple[Rates, ...] = ()  # what `weigh --probe` measured or `--import` read; rows of costs leave it out


class Memory(Record):
    """Bytes of one loaded model by what they are for; None: that source does not say."""

    weights: int | None = None
    kv: int | None = None  # the cache of keys and values
    compute: int | None = None  # buffers of activations and logits: reserved, not always touched
    other: int | None = None
    total: int | None = None


class Cost(Record):
    """One row of ``costs.jsonl``: one phase of one form on one device, at one size, batch and thread count.

    Times are milliseconds for the whole call (all ``batch`` units), wall clock; memory is bytes.
    """

    pack: str  # digest of the Pack
    variant: str  # 'numpy', 'torch', 'onnx', 'onnx-int8', …
    device: Device
    runtime: dict[str, str]  # library, version, build: never compared across builds silently
    threads: int = Field(ge=1)
    unit: str  # the kind's unit of work: text, token, image, voxel
    phase: str  # load, run, prefill, decode
    size: dict[str, int] = {}  # {'words': 12}, {'prompt': 64, 'new': 16}, {'pixels': 1024}
    batch: int = 1
    units: float = 1  # units of work in one call; throughput is units / p50
    repeats: int = Field(default=1, ge=1)
    p50_ms: float
    p95_ms: float
    mean_ms: float
    min_ms: float | None = None
    samples_ms: tuple[float, ...] = ()  # every timed call in order, where a row keeps them
    peak_bytes: int | None = None  # peak resident memory of a fresh process
    baseline_bytes: int | None = None  # of it: interpreter and runtime, before the Pack was loaded
    weights_bytes: int | None = None  # of the arrays that the runtime holds
    disk_bytes: int | None = None
    flops: float | None = None  # of one call
    flops_cover: str = ""  # what the count covers
    energy_j: float | None = None  # None where no counter can be read
    noisy: bool = False  # p95/p50 > 1.5, or the machine was loaded
    load: float | None = None  # 1-minute load average when it started
    when: str = ""
    source: Literal["measured", "assumed", "predicted"] = "measured"
    note: str = ""  # where an assumed row comes from, how a predicted one was found; a load row: what it is made of
    low_ms: float | None = None  # a predicted row: the p50 less and plus its error band
    high_ms: float | None = None
    options: dict[str, str | int | float | bool] = {}  # what else decides the time: cache_k, cache_v, context, ubatch
    memory: dict[str, Memory] = {}  # 'formula', 'printed' by the engine, 'resident' in a fresh process
    file_sha256: str = ""  # of the weights, where they are one file
    geometry: Geometry | None = None  # of a decoder, with ``weights``: what its prediction needs
    weights: Weights | None = None

    @property
    def build(self) -> dict[str, str]:
        """The runtime less what it says of this row's file: which of its formats the build repacked."""
        return {name: value for name, value in self.runtime.items() if name != "repacked"}

    @property
    def trust(self) -> tuple[int, str]:
        """Orders rows that speak of the same: measured before predicted before assumed, then the newest."""
        return _TRUST[self.source], self.when


def scaled(cost: Cost, device: Device, factor: float, note: str) -> Cost:
    """The same row for a device that is ``factor`` times slower, marked as assumed with its reason."""
    measured = {key: getattr(cost, key) for key in ("p50_ms", "p95_ms", "mean_ms", "min_ms")}
    times = {key: value * factor for key, value in measured.items() if value is not None}
    update: dict[str, Any] = {**times, "device": device, "source": "assumed", "note": note, "energy_j": None}
    update |= {"low_ms": None, "high_ms": None}
    return cost.model_copy(update=update)


def latest(costs: Iterable[Cost]) -> list[Cost]:
    """The newest row of each (Pack, form, device, runtime, threads, phase, size, batch, options).

    A measured row beats a predicted one, and that one an assumed one.
    """
    best: dict[tuple[Any, ...], Cost] = {}
    for cost in costs:
        runtime = tuple(sorted(cost.runtime.items()))
        size = tuple(sorted(cost.size.items()))
        options = tuple(sorted(cost.options.items()))
        where = (cost.device.fingerprint, runtime, cost.threads)
        key = (cost.pack, cost.variant, *where, cost.phase, size, cost.batch, options)
        old = best.get(key)
        if old is None or cost.trust >= old.trust:
            best[key] = cost
    return list(best.values())


def latency_at(costs: Sequence[Cost], batch: int, quantile: Literal["p50", "p95"] = "p50") -> float | None:
    """Milliseconds of one call with ``batch`` units, linear between the measured batches and beyond the last.

    All rows must be of one variant, device, phase and size. None when there is no row.
    """
    points = sorted({c.batch: getattr(c, f"{quantile}_ms") for c in costs}.items())
    if not points:
        return None
    if len(points) == 1:
        size, time = points[0]
        return float(time * max(1.0, batch / size))
    low, high = points[-2], points[-1]
    for left, right in pairwise(points):
        if batch <= right[0]:
            low, high = left, right
            break
    slope = max(0.0, (high[1] - low[1]) / (high[0] - low[0]))
    return float(max(0.0, low[1] + slope * (batch - low[0])))
