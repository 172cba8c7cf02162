"""What every kind of Pack declares, and what a loaded model can do. Nothing here knows text from images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hedgerow.cost import Geometry, Memory, Weights
from hedgerow.pack import Pack

Size = Mapping[str, int]


@dataclass(frozen=True)
class Unit:
    """The unit of work of a kind: ``weigh`` sweeps its sizes and ``place`` builds its jobs from the same record."""

    name: str  # text, token, image, pixel
    sizes: tuple[dict[str, int], ...]  # from small to large; the middle one is the usual one
    make: Callable[[Size, int], Any]  # (size, seed) -> one input of that size
    bytes_in: Callable[[Size], int]  # bytes that one input takes on the wire
    bytes_out: Callable[[Size], int]  # bytes that its answer takes
    full: tuple[tuple[dict[str, int], int], ...] = ()  # (size, batch) of the full grid; (): the sizes at usual batches
    settings: tuple[str, ...] = ()  # what else of loading decides the cost, by name: cache_k, context, …

    @property
    def usual(self) -> dict[str, int]:
        """The size that stands for everyday use."""
        return self.sizes[len(self.sizes) // 2]


@dataclass(frozen=True)
class Held:
    """What a loaded form holds, for the rows of its costs: read after the phase has run."""

    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)  # that decide the time: cache_k, …
    memory: Callable[[], Mapping[str, Memory]] = dict  # 'formula', 'printed'
    geometry: Geometry | None = None
    weights: Weights | None = None
    file_sha256: str = ""


@dataclass(frozen=True)
class Phase:
    """One thing to time: ``run()`` does ``units`` units of work; ``prepare()`` comes before each run, untimed."""

    name: str  # run, prefill, decode
    units: float
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    held: Held | None = None


@dataclass(frozen=True)
class Flops:
    """Floating point operations of one call (a multiply-add counts as two) and what the count covers."""

    count: float
    cover: str


class Engine(Protocol):
    """One form of a Pack, loaded and ready."""

    runtime: dict[str, str]  # library, version, build or CPU features
    weights_bytes: int  # bytes of the arrays that are held

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One JSON-able answer per input, in order, as the kind's schema says."""
        ...

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """What ``weigh`` times for a batch of inputs of one size."""
        ...

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """Counted or derived operations of one phase, None where nobody can say."""
        ...


class Kind(Protocol):
    """A kind of Pack. Each module in ``hedgerow.kinds`` ends with one object of this shape named ``KIND``."""

    name: str
    summary: str
    unit: Unit
    schema: dict[str, Any]  # JSON Schema of one line of `use --json`
    options: dict[str, Any]  # options of predict with their defaults, e.g. {'top': 5}
    explains: dict[
        str, Any
    ]  # those that `use` sets besides where whole answers are read: they cost more than they weigh
    needs: tuple[str, ...]  # columns that an input row must have, e.g. ('text',)
    columns: tuple[str, ...]  # answer columns of `use --in file.csv`
    metrics: tuple[str, ...]  # names of its headline scores, the first is the default

    def read(self, row: Mapping[str, Any], base: Path) -> Any:
        """An input from one row (CSV or JSON object; file names relative to ``base``); HedgerowError for a bad one."""
        ...

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as one value per name in ``columns``."""
        ...

    def line(self, answer: Mapping[str, Any]) -> str:
        """The answer in one or a few lines for a terminal."""
        ...

    def check(self, pack: Pack) -> None:
        """Whether the parts of a Pack fit one another; HedgerowError names the part that does not."""
        ...

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """Every form that the Pack can be loaded in, the base form first, whether or not this machine can run it."""
        ...

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """Bytes that a device must hold to run this form, trunk included."""
        ...

    def load(self, pack: Pack, variant: str, threads: int) -> Engine:
        """Load one form; HedgerowError says what to install when its runtime is missing.

        A kind whose ``unit`` names settings takes these by name besides.
        """
        ...

    def export(self, pack: Pack, to: str) -> Pack:
        """Add the form ``to`` ('onnx', 'onnx-int8'); HedgerowError when the kind has no such form."""
        ...


@dataclass(frozen=True)
class Workload:
    """A stream of requests to any of some rival Packs: what ``place`` turns into a DAG of jobs."""

    packs: tuple[Pack, ...]
    requests: int
    batch: int = 1  # units of work in one request
    every_ms: float = 0.0  # time between arrivals; 0 = all at once
    size: dict[str, int] = field(default_factory=dict)  # of one unit; {} = the kind's usual
