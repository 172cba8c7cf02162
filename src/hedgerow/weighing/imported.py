"""A device that cannot install hedgerow, such as a phone: its rates from what llama-bench wrote there (``-o json``).

llama-bench says which file it ran and how long, not what the model looks like. The geometry comes from the header of
the same GGUF file here, else from the catalogue's model of that many parameters and bytes; where neither is known,
plain bytes and operations stand for it, and the rates say that this was assumed.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hedgerow import files
from hedgerow.cost import Device, Geometry, Rates, Weights, fitting, formulas
from hedgerow.cost.fitting import Sample
from hedgerow.errors import HedgerowError
from hedgerow.schema import check
from hedgerow.weighing import catalogue, headers

_MOST_BYTES = 1 << 26
_MOST_ROWS = 10_000
_BIG = 10**18
_PHASES: tuple[fitting.Phase, ...] = ("decode", "prefill")
_SIZE_OFF = 0.03  # a catalogue's model is taken when its bytes by formula are that near to the file's


class BenchRow(BaseModel):
    """One row of llama-bench's JSON, as far as it is needed; newer builds add fields, so others are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    model_filename: str
    model_type: str = ""
    model_size: int = Field(ge=1, le=_BIG)
    model_n_params: int = Field(ge=1, le=_BIG)
    n_threads: int = Field(ge=1, le=4096)
    n_ubatch: int = Field(default=512, ge=1, le=1 << 20)
    n_prompt: int = Field(ge=0, le=10_000_000)
    n_gen: int = Field(ge=0, le=10_000_000)
    n_depth: int = Field(default=0, ge=0, le=10_000_000)
    type_k: str = "f16"
    type_v: str = "f16"
    n_gpu_layers: int = 0
    cpu_info: str = ""
    gpu_info: str = ""
    backends: str = ""
    build_commit: str = ""
    build_number: int = 0
    test_time: str = ""
    avg_ns: float = Field(gt=0, le=_BIG)
    samples_ns: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """``weigh --format llama-bench`` writes null where it cannot tell."""
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @property
    def seconds(self) -> float:
        """Median of the repetitions, the mean where they are not listed."""
        return (statistics.median(self.samples_ns) if self.samples_ns else self.avg_ns) / 1e9


def import_bench(
    path: Path,
    models: Sequence[Path] = (),
    *,
    name: str | None = None,
    cores: int | None = None,
    memory_bytes: int = 0,
) -> Device:
    """A device with rates, from a JSON (or JSON Lines) file of llama-bench; one set for each build, thread
    count, micro-batch and cache type.

    ``models``: GGUF files that ran, or folders that hold them: their headers give the geometry. ``memory_bytes``: of
    the device, which the file does not say (0: not known). Raises HedgerowError with the row's number for a broken row.
    """
    rows = read(path)
    known = {file.name: file for m in models for file in (sorted(m.glob("*.gguf")) if m.is_dir() else [m])}
    groups: dict[tuple[Any, ...], list[BenchRow]] = {}
    for row in rows:  # what changes a time beside model and size is never mixed into one set
        build = row.build_commit, row.backends, row.n_gpu_layers > 0, row.n_threads
        groups.setdefault((*build, row.n_ubatch, row.type_k, row.type_v), []).append(row)
    rates = tuple(r for group in groups.values() if (r := _rates(group, known)) is not None)
    if not rates:
        raise HedgerowError(
            f"{path}: no row is a plain prompt or a plain generation test (-p or -n), so nothing follows"
        )
    first = rows[0]
    hardware = {"cpu": first.cpu_info, "gpu": first.gpu_info, "system": first.backends}
    threads = max(r.n_threads for r in rows)
    return Device(
        name=name or first.cpu_info or first.gpu_info or path.stem,
        machine="",
        cpu=first.cpu_info,
        cores=cores or threads,
        memory_bytes=memory_bytes,
        system=first.backends,
        fingerprint=files.digest({**hardware, "name": name or "", "cores": cores or threads})[:12],
        rates=rates,
    )


def read(path: Path) -> list[BenchRow]:
    """The file's rows; HedgerowError names the first that is broken."""
    if not path.is_file():
        raise HedgerowError(f"{path} is missing; it should be what `llama-bench -o json` wrote")
    if path.stat().st_size > _MOST_BYTES:
        raise HedgerowError(f"{path} has {path.stat().st_size:,} bytes, which no table of llama-bench has; refused")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        data = _lines(text, path)
    items = data if isinstance(data, list) else [data]
    if not items or len(items) > _MOST_ROWS:
        raise HedgerowError(f"{path} holds {len(items):,} rows of llama-bench")
    found = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise HedgerowError(f"{path}, row {number}: expected a JSON object as `llama-bench -o json` writes it")
        row = check(BenchRow, item, f"{path}, row {number}")
        if any(not s > 0 for s in row.samples_ns):
            raise HedgerowError(f"{path}, row {number}: samples_ns holds a time that is not above 0")
        found.append(row)
    return found


def _lines(text: str, path: Path) -> list[Any]:
    """JSON Lines (``-o jsonl``); HedgerowError when it is neither."""
    found = []
    for number, line in enumerate((part for part in text.splitlines() if part.strip()), start=1):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as e:
            raise HedgerowError(f"{path}, row {number}: not JSON; run llama-bench with -o json") from e
    return found


def _rates(rows: Sequence[BenchRow], known: dict[str, Path]) -> Rates | None:
    """One set of rates; None when no row is usable."""
    taken: list[Sample] = []
    guessed: list[str] = []
    for row in rows:
        shape = _shape(row, known)
        if shape is None:
            shape = _stand_in(row)
            guessed.append(Path(row.model_filename).name)
        sizes, held = shape
        if row.n_prompt and not row.n_gen:
            taken.append(Sample("prefill", sizes, held, row.n_prompt, row.seconds, row.n_depth, row.model_type))
        elif row.n_gen and not row.n_prompt:
            depth = row.n_depth + row.n_gen // 2
            taken.append(Sample("decode", sizes, held, depth, row.seconds / row.n_gen, 0, row.model_type))
    if not taken:
        return None
    first = rows[0]
    runtime = {
        "name": "llama.cpp",
        "version": str(first.build_number),
        "build": first.build_commit,
        "backends": first.backends,
    }
    shapes = {phase: len({s.shape for s in taken if s.phase == phase}) for phase in _PHASES}
    alone = tuple(phase for phase in _PHASES if shapes[phase] == 1)
    found = fitting.fit(taken, threads=first.n_threads, runtime=runtime, ubatch=first.n_ubatch, when=first.test_time,
                        rates_only=alone)  # fmt: skip
    assumed = [f"sizes of {n}, taken as one block of its parameters" for n in dict.fromkeys(guessed)]
    if alone:
        assumed.append(f"cost of a layer, a step and a cached position in {' and '.join(alone)} as 0, since rows of 1 "
                       "model only cannot tell it: times go with bytes and FLOPs")  # fmt: skip
    if (few := max(shapes.values())) == 2:
        assumed.append(f"cost of a layer and of a step, told from {few} models only")
    return found.model_copy(update={"source": "imported", "assumed": tuple(assumed), "note": "llama-bench"})


def _shape(row: BenchRow, known: dict[str, Path]) -> tuple[Geometry, Weights] | None:
    """Geometry and weights from the file itself, else from the catalogue's model of that size and format."""
    name = re.split(r"[\\/]", row.model_filename)[-1]
    if name in known:
        header = headers.read(known[name])
        return header.geometry, header.weights
    mix = mix_of(row.model_type)
    if mix is None:
        return None
    best: tuple[float, Geometry, Weights] | None = None
    for model in catalogue.load().model.values():
        if not model.pure or abs(formulas.parameters(model.geometry) / row.model_n_params - 1) > _SIZE_OFF:
            continue
        held = formulas.weights(model.geometry, mix)
        off = abs(formulas.weight_bytes(held) / row.model_size - 1)
        arch = 0.0 if row.model_type.startswith(model.geometry.architecture) else 0.01  # of equals, the named family
        if off <= _SIZE_OFF and (best is None or off + arch < best[0]):
            best = (off + arch, model.geometry, held)
    return None if best is None else best[1:]


def mix_of(model_type: str) -> str | None:
    """'qwen2 1.5B Q4_K - Medium' -> 'q4_k_m'; None for a format whose mix is not known here."""
    from hedgerow.cost.formats import MIXES

    found = re.search(r"\b(BF16|F16|F32|I?Q\d\w*?)(?: - (Small|Medium|Large))?$", model_type.strip())
    if found is None:
        return None
    base = found[1].lower()
    for name in (f"{base}_{found[2][0].lower()}" if found[2] else base, base):
        if name in MIXES:
            return name
    return None


def _stand_in(row: BenchRow) -> tuple[Geometry, Weights]:
    """One layer that holds all parameters, in the one format whose bytes come nearest to the file's."""
    bits = 8 * row.model_size / row.model_n_params
    name = min(("q4_0", "q5_0", "q8_0", "f16", "f32"), key=lambda f: abs(_BITS[f] - bits))
    width = 1024
    ffn = max(1, min(10_000_000, row.model_n_params // (3 * width)))
    sizes = Geometry(
        layers=1, width=width, heads=16, kv_heads=16, head=64, ffn=ffn, gated=True, vocabulary=1, tied=True
    )
    return sizes, Weights(parts={"ffn": {name: row.model_n_params}}, tied=True)


_BITS = {"q4_0": 4.5, "q5_0": 5.5, "q8_0": 8.5, "f16": 16.0, "f32": 32.0}
