"""What a probe learns about a device: the constants of the two formulas for time (see :mod:`hedgerow.cost.predict`).

Decode, one token at depth p:  t = c0 + c1·L + Σ_q bytes_q / R_q + κ·Σ(H·h)·p
Prefill, S tokens:             t = c0' + Σ_q 2·S·B_q / C_q + c1'·L·ceil(S/U) + 2·V·d / C_head + κ'·Σ(H·h)·S²

Formats are those of the elements (q4_0, q6_k, f16), never the name of a mix such as Q4_K_M. Bytes do not predict
prefill: a kernel's speed depends on the format, and on whether the build repacks it for wide instructions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hedgerow.cost.formats import BLOCKS
from hedgerow.schema import Record

Positive = Annotated[float, Field(gt=0)]


def _known(name: str) -> str:
    if name not in BLOCKS:
        raise ValueError(f"'{name}' is no format of elements (q4_0, q6_k, f16, …)")
    return name


Format = Annotated[str, AfterValidator(_known)]
NotNegative = Annotated[float, Field(ge=0)]


class Band(Record):
    """How far predictions with these rates were from rows that took no part in the fit: |predicted/measured − 1|."""

    phase: Literal["decode", "prefill"]
    median: NotNegative
    p90: NotNegative
    rows: int = Field(ge=1)
    how: str = ""  # what was held out: 'one architecture at a time', 'the rows of the fit itself'


class Rates(Record):
    """One device, one runtime build, one number of threads."""

    threads: int = Field(ge=1)
    runtime: dict[str, str]  # library, version, build, CPU features: never used for another build silently
    repacked: tuple[str, ...] | None = None  # formats that this build repacks; None: not known
    bandwidth: Positive | None = None  # bytes/s: plain reading over 8 × the last cache and more
    decode: dict[Format, Positive] = {}  # R_q, bytes/s, by format of the elements
    prefill: dict[Format, Positive] = {}  # C_q, FLOP/s, by format of the elements
    step_s: NotNegative = 0.0  # c0: seconds a decode step costs beside its layers
    layer_s: NotNegative = 0.0  # c1: seconds of one layer's small operators, in decode
    attention_s: NotNegative = 0.0  # κ: seconds for each H·h and cached position, in decode
    prefill_s: NotNegative = 0.0  # c0': seconds a prefill costs beside everything else
    prefill_layer_s: NotNegative = 0.0  # c1': seconds for each layer and micro-batch
    prefill_attention_s: NotNegative = 0.0  # κ': seconds for each H·h and pair of positions
    head: Positive | None = None  # C_head, FLOP/s; None: the rate of the head's own format
    load: Positive | None = None  # bytes/s from file into a ready model, warm file cache
    ubatch: int = Field(default=512, ge=1)  # U: tokens that prefill takes at a time
    bands: tuple[Band, ...] = ()
    source: Literal["probed", "fitted", "imported"] = "probed"
    assumed: tuple[str, ...] = ()  # names of fields above that were not measured, and whose value is a default
    noisy: tuple[str, ...] = ()  # what was timed while the machine was busy: 'rate of decode of f16'
    when: str = ""
    note: str = ""

    def band(self, phase: Literal["decode", "prefill"]) -> Band | None:
        """The error band of a phase, None where none was measured."""
        return next((b for b in self.bands if b.phase == phase), None)
