"""Packs whose scores and costs are written by hand: placing reads evidence, it never runs a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow.cost import Cost, Device
from hedgerow.files import digest
from hedgerow.kinds.base import Unit, Workload
from hedgerow.pack import Info, Pack, Scored, create, open_pack
from hedgerow.placing.fleet import Fleet

THIS = Device(name="bench", machine="x86_64", cpu="test", cores=2, memory_bytes=8 << 30, fingerprint="aaaaaaaaaaaa")
OTHER = Device(name="other", machine="aarch64", cpu="test", cores=4, memory_bytes=4 << 30, fingerprint="bbbbbbbbbbbb")
UNIT = Unit(
    "text",
    ({"words": 4}, {"words": 12}, {"words": 40}),
    lambda size, seed: "w " * size["words"],
    lambda size: 6 * size["words"],
    lambda size: 600,
)
GROUPED = {"name": "isic", "options": {"split": "grouped"}, "digest": "a" * 64, "split": "test", "n": 500}
ROWS = {"name": "isic", "options": {"split": "rows"}, "digest": "b" * 64, "split": "test", "n": 500}


def row(pack: Pack, variant: str, phase: str, p50: float, **more: Any) -> dict[str, Any]:
    """One cost row; p95 = 1.1 · p50 unless stated."""
    values: dict[str, Any] = {
        "pack": pack.digest, "variant": variant, "device": THIS, "runtime": {"name": "test"}, "threads": 1,
        "unit": "text", "phase": phase, "size": {} if phase == "load" else {"words": 12}, "p50_ms": p50,
        "p95_ms": 1.1 * p50, "mean_ms": p50, "peak_bytes": 50_000_000, "disk_bytes": 1_000_000, "when": "2026-01-01",
    }  # fmt: skip
    return Cost(**{**values, **more}).model_dump(mode="json")


def score(variant: str, accuracy: float, task: Mapping[str, Any] = GROUPED, **metrics: float) -> dict[str, Any]:
    """One score line; the interval of each metric is ± 0.03."""
    values = {"accuracy": accuracy, **metrics}
    lines = {k: {"value": v, "low": v - 0.03, "high": v + 0.03, "n": 500} for k, v in values.items()}
    return {"variant": variant, "task": dict(task), "metrics": lines, "when": "2026-01-01", "environment": {}}


def bare(path: Path, name: str, task: Mapping[str, Any] | None = GROUPED, kind: str = "text-classifier") -> Pack:
    """A Pack without evidence."""
    scored = Scored(name=task["name"], options=task["options"], digest=task["digest"]) if task else None
    with create(path / name, Info(name=name, kind=kind, config_digest=digest(name), task=scored)) as folder:
        (folder / "model.json").write_text(f'{{"name": "{name}"}}')
    return open_pack(path / name)


def pack(
    path: Path,
    name: str,
    ms: float,
    accuracy: float | None = None,
    memory: int = 50_000_000,
    variant: str = "numpy",
    load_ms: float = 100.0,
    p95: float | None = None,
    device: Device = THIS,
    **more: Any,
) -> Pack:
    """A Pack of one form with one score and one cost."""
    made = bare(path, name)
    if accuracy is not None:
        made.add_evidence("scores.jsonl", score(variant, accuracy))
    extra = {"peak_bytes": memory, "device": device, **more}
    made.add_evidence("costs.jsonl", row(made, variant, "load", load_ms, **extra))
    extra["p95_ms"] = 1.1 * ms if p95 is None else p95
    made.add_evidence("costs.jsonl", row(made, variant, "run", ms, **extra))
    return made


def trio(path: Path) -> list[Pack]:
    """Three rivals of the sizes that ISIC classifiers have: linear, encoder, language model."""
    linear = pack(path, "linear", 1.0, 0.56, memory=110_000_000)
    encoder = pack(path, "encoder", 10.0, 0.62, memory=260_000_000, variant="onnx-int8", load_ms=400)
    lm = pack(path, "lm", 110.0, 0.66, memory=700_000_000, variant="torch", load_ms=1500)
    return [linear, encoder, lm]


def workload(packs: Sequence[Pack], requests: int = 20, **more: Any) -> Workload:
    """Requests to rivals."""
    return Workload(tuple(packs), requests, **more)


def device(name: str, **more: Any) -> dict[str, Any]:
    """A device like this machine, never failing."""
    if not {"profile", "fingerprint"} & set(more):
        more = {"like": "this", "factor": 1.0, "source": "assumed: for a test", **more}
    return {"name": name, "tier": "edge", "memory": "1GB", "cores": 1, **more}


def link(source: str, target: str, mbps: float = 8.0, rtt_ms: float = 0.0, **more: Any) -> dict[str, Any]:
    """A link of 1 MB/s without delay."""
    return {"from": source, "to": target, "mbps": mbps, "rtt_ms": rtt_ms, "source": "measured: for a test", **more}


def fleet(devices: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]] = (), home: Any = None) -> Fleet:
    """A fleet from plain values; the first device is home."""
    return Fleet.of({"home": home or devices[0]["name"], "devices": list(devices), "links": list(links)}, "test.toml")
